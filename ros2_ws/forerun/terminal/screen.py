"""A view as lines for people: what matters first, in colours that follow the diagnostics' levels."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.console import Group
from rich.markup import escape
from rich.table import Table

from forerun.terminal.heard import Measured
from forerun.terminal.view import NodeView, Part, Value, View

_COLOURS = {"OK": "green", "WARN": "yellow", "ERROR": "bold red", "STALE": "bold red"}
_DIGITS = 12


def screen(view: View) -> Group:
    """For a rich console."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in _rows(view):
        table.add_row(name, text)
    return Group(table)


def _rows(view: View) -> Iterator[tuple[str, str]]:
    if view.controller is not None:
        yield from _controller(view.controller)
    yield "streams", f"states {_stream(view.states)}; commands {_stream(view.commands)}"
    if view.controller is not None:
        yield from _loop(view.controller)
        yield "model", _model(view)
        yield from _safety(view.controller)
    if view.announced:
        yield "announced", escape(view.announced)
    for node in view.others:
        for name, part in node.parts.items():
            title = f"{node.name}: {name}" if name != node.name else name
            yield escape(title), _said(part) + (f" [bold red](silent for {node.age:.0f} s)[/]" if node.silent else "")
            yield from (("", f"[dim]{escape(key)}:[/] {_text(value)}") for key, value in part.values.items())
    for sentence in view.missing:
        yield "[bold red]missing[/]", escape(sentence)


def _controller(node: NodeView) -> Iterator[tuple[str, str]]:
    if "control" in node.parts:
        silent = f" [bold red](silent for {node.age:.0f} s)[/]" if node.silent else ""
        yield escape(node.name), _said(node.parts["control"]) + silent
    get = _getter(node, "bundle")
    if "bundle" in node.parts:
        part = node.parts["bundle"]
        told = f"{get('bundle')[:_DIGITS]}: {get('agent')} agent for {get('robot')}, task {get('task')}; {get('path')}"
        yield "bundle", told if part.level == "OK" else f"{told}\n{_said(part)}"
        compared = [name for name in part.values if name.startswith("prediction error")]
        swap = [f"candidate {get('candidate')}", f"swaps {get('swaps')}", f"refused {get('refused bundle')}"]
        yield "", "; ".join([*swap, f"parent {get('parent')[:_DIGITS]}", *(f"{name} {get(name)}" for name in compared)])


def _loop(node: NodeView) -> Iterator[tuple[str, str]]:
    get = _getter(node, "timing")
    if "timing" in node.parts:
        part = node.parts["timing"]
        told = f"{get('rate [Hz]')} of {get('rate, nominal [Hz]')} Hz, commands {get('rate of commands [Hz]')} Hz"
        for name in ("period", "compute", "latency"):
            if f"{name} p50 [ms]" in part.values:
                told += f"; {name} p50 {get(f'{name} p50 [ms]')}, p99 {get(f'{name} p99 [ms]')} ms"
        yield "loop", told if part.level == "OK" else f"{told}\n{_said(part)}"
        yield "misses", f"{get('missed ticks')} ticks, {get('missed ticks in 5 s')} in the last 5 s; {_verdicts(node)}"
    get = _getter(node, "states")
    if "states" in node.parts:
        part = node.parts["states"]
        told = f"newest state {get('age of the state [s]')} s old, used up to {get('oldest state that is used [s]')} s"
        yield "staleness", told if part.level == "OK" else f"{told}\n{_said(part)}"


def _verdicts(node: NodeView) -> str:
    control = node.parts["control"].values if "control" in node.parts else {}
    counts = [f"{name.removeprefix('ticks ')} {_text(value)}" for name, value in control.items() if name.startswith("ticks ")]
    return ", ".join(counts) or "no tick yet"


def _model(view: View) -> str:
    error, node = view.prediction, view.controller
    assert node is not None
    get = _getter(node, "bundle")
    told = "prediction error not known"
    if error is not None:
        told = f"{error.steps} steps ahead off by {error.position:.3g} rad (m), {error.velocity:.3g} rad/s (m/s)"
        if math.isfinite(error.share):
            told += f", {error.share:.2f} of the change"
    told += f"; disagreement {get('disagreement')}, threshold {get('threshold of the disagreement')}"
    return f"{told}; value {get('value')}"


def _safety(node: NodeView) -> Iterator[tuple[str, str]]:
    get = _getter(node, "control")
    if "control" not in node.parts:
        return
    estop = "[bold red]PRESSED[/]" if node.value("control", "emergency stop") is True else "released"
    dry = "; [yellow]dry run[/]" if node.value("control", "dry run") is True else ""
    yield (
        "safety",
        f"scale {get('safety.scale')}; emergency stop {estop}{dry}; other commanders {get('other publishers of commands')}",
    )
    yield "last stop", f"{get('reason of the last stop')} ({get('time of the last stop')})"


class _getter:
    """The values of one part as text; a dash for what was not said."""

    def __init__(self, node: NodeView, part: str) -> None:
        self._node, self._part = node, part

    def __call__(self, key: str) -> str:
        value = self._node.value(self._part, key)
        return "-" if value is None else _text(value)


def _stream(stream: Measured) -> str:
    if math.isnan(stream.age):
        return "[dim]none[/]"
    if not stream.rate:
        return f"[yellow]none for {stream.age:.1f} s[/]"
    return f"{stream.rate:.1f} Hz (p50 {stream.p50:.1f}, p99 {stream.p99:.1f} ms)"


def _said(part: Part) -> str:
    return f"[{_COLOURS.get(part.level, 'bold red')}]{part.level}[/] {escape(part.message)}"


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else escape(value)
