"""What an executor is, and the one that runs everything in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager
from typing import Generic, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Item_contra = TypeVar("Item_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)

Begin = Callable[[], AbstractContextManager[Callable[[Item], Result]]]
"""Makes, once in each worker, the function from an item to its result; leaving its block gives back what it holds. It travels to
other processes, and so must be importable (no lambda)."""

TRIES = 3
"""How often an item is begun before the executor gives up on it, because the workers that had it all died."""


class Executor(Protocol):
    """Runs independent pieces of work. The results are those of running the items one after another.

    Attributes:
        shares_files: whether the workers see the files that this process sees.
    """

    @property
    def shares_files(self) -> bool: ...

    def run(
        self, begin: Begin[Item, Result], items: Iterable[Item], *, window: int | None = None
    ) -> Generator[Result, None, None]:
        """The results of ``items``, in their order, each once.

        Args:
            begin: makes the function that does the work.
            items: drawn while the results come, never more than ``window`` ahead of them, so that memory stays bounded. With a
                ``window`` exactly that many are ahead when the next result is waited for: what an item is made of may then
                depend on the results before it, and does not depend on the executor.
            window: how many items are under way at most; what suits the executor if absent.

        Raises:
            ForerunError: workers died over the same item time and again.
            Exception: what the work raised.
        """
        ...


class Here:
    """Runs everything in this process."""

    shares_files = True

    def run(
        self, begin: Begin[Item, Result], items: Iterable[Item], *, window: int | None = None
    ) -> Generator[Result, None, None]:
        drawn = Drawn(items, window or 1)
        with begin() as work:
            while drawn.more():
                yield work(drawn.waiting.popleft())


class Drawn(Generic[Item]):
    """Items as an executor draws them: ``waiting`` are those whose results nobody has yet, at most ``window`` of them."""

    def __init__(self, items: Iterable[Item], window: int) -> None:
        self.waiting: deque[Item] = deque()
        self._items = iter(items)
        self._window = window

    def more(self) -> bool:
        """Draws what the window has room for. Whether anything waits."""
        while len(self.waiting) < self._window:
            try:
                self.waiting.append(next(self._items))
            except StopIteration:
                break
        return bool(self.waiting)
