"""`forerun watch`: the live state of a robot and its controller, in the terminal."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import Annotated

import typer

from forerun.cli.common import JsonOption, console, emit

EXAMPLE = """
forerun watch
forerun watch --namespace robot1
forerun watch --once --json -
"""
_PERIOD = 0.25


def command(
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Namespace of the robot's nodes.")] = "",
    once: Annotated[bool, typer.Option("--once", help="Listen for --seconds, show once and end.")] = False,
    seconds: Annotated[float, typer.Option("--seconds", min=0.5, max=60.0, help="How long --once listens.")] = 5.0,
    json: JsonOption = None,
) -> None:
    """What a robot and its controller do now: rates, errors, disagreement, bundle, limits, misses, reason of the last stop.

    Listens to /diagnostics, joint_states, commands, bundle and the controller's predictions; sends nothing. Ctrl-C ends it. With
    --once, --json or where the output is no terminal it shows one picture and ends: code 0 where a controller reports, else 1.
    """
    from forerun.nodes.watch import listening
    from forerun.terminal.screen import screen

    out = console(json)
    with listening(namespace) as listener:
        if once or json is not None or not out.is_terminal:
            view = listener.view()
            for _ in range(round(seconds / _PERIOD)):
                listener.listen(_PERIOD)
                view = listener.view()  # tells on which topics to listen, too
            out.print(screen(view))
            emit(asdict(view), json)
            if view.controller is None:
                raise typer.Exit(1)
            return
        from rich.live import Live

        with suppress(KeyboardInterrupt), Live(console=out, auto_refresh=False) as live:
            while True:
                listener.listen(_PERIOD)
                live.update(screen(listener.view()), refresh=True)
