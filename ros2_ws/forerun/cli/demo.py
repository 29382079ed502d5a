"""``forerun demo``: the whole loop on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from forerun.cli.epochs import epoch_bar


def command(
    robot: Annotated[str, typer.Option(help="Name, folder or robot.yaml of the robot.")] = "cartpole",
    out: Annotated[Path, typer.Option(help="Folder for everything; an earlier demo there is replaced.")] = Path("runs/demo"),
    recipe: Annotated[str | None, typer.Option(help="Name or path of a recipe; the one called like the robot if absent.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    episodes: Annotated[int, typer.Option(min=3, help="Episodes on the foreign robot, before and after fine-tuning.")] = 5,
    engine: Annotated[str, typer.Option(help="Plant to control: mujoco is the foreign robot.")] = "mujoco",
) -> None:
    """Simulate, train, control a robot that training never saw over real ROS 2, fine-tune on its bag, swap, control again.

    Example: forerun demo --robot pendulum --seed 1 --out runs/demo-pendulum
    """
    import torch

    from forerun.demo.run import Settings, run_demo

    # Threads of small matrix products spend their time waiting for each other; on a busy machine they stand still.
    torch.set_num_threads(1)
    console = Console(stderr=True)
    with epoch_bar("training") as on_epoch:
        path = run_demo(Settings(robot, out, recipe, seed, episodes, engine), console.print, on_epoch)
    typer.echo(str(path.resolve()))
