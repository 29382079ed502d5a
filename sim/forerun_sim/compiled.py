"""Inner loops that a C compiler made quick, where there was one when Forerun was installed (see ``EXTENSIONS`` in setup.py).

Each has a twin in Python beside it, which gives the same numbers to the last bit, so that a seed means the same everywhere; a
test holds them equal.
"""

from __future__ import annotations

import importlib
from typing import TypeVar, cast

T = TypeVar("T")


def compiled(module: str, twin: type[T]) -> type[T]:
    """The class of ``module`` that is called as ``twin`` is and does the same; ``twin`` where it was not built, or lacks a method
    because it was built for another version of Forerun."""
    try:
        found = getattr(importlib.import_module(module), twin.__name__)
    except ImportError:
        return twin
    whole = all(hasattr(found, name) for name in vars(twin) if not name.startswith("_"))
    return cast(type[T], found) if whole else twin
