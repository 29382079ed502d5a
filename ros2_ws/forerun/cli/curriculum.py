"""`forerun curriculum`: how far a robot may vary until its bundle fails."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forerun.cli.common import JsonOption, console, emit, progress
from forerun.cli.simulate import Engine

if TYPE_CHECKING:
    from rich.console import Console

    from forerun_sim.curriculum import AutomaticRandomization, Row
    from forerun_sim.spec import Curriculum, RobotSpec

EXAMPLE = """
forerun curriculum cartpole --bundle cartpole --episodes 400 --workers 2 --out runs/wide
forerun curriculum my_robot --bundle bundles/mine --curriculum wide.yaml --episodes 1000 --out runs/wide --resume
"""


def command(
    robot: Annotated[str, typer.Argument(help="Name of a shipped robot, a robot folder or a robot.yaml.", show_default=False)],
    bundle: Annotated[
        str, typer.Option(help="Bundle that controls it: a folder, or the name of a ready one.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder of the state, the ranges and the pictures.", show_default=False)],
    episodes: Annotated[int, typer.Option(min=1, help="Episodes in all, those before a resumption included.")] = 200,
    curriculum: Annotated[
        Path | None, typer.Option(help="YAML file with the quantities, instead of robot.yaml's key 'curriculum'.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    engine: Annotated[Engine, typer.Option(help="mujoco: the foreign plant; mujoco_urdf: the URDF in MuJoCo.")] = Engine.bullet,
    workers: Annotated[int, typer.Option(min=1, help="Processes; they change nothing but the time it takes.")] = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what is in OUT, exactly as if it had not stopped.")
    ] = False,
    json: JsonOption = None,
) -> None:
    """Find out how far a robot may vary until its bundle fails, by automatic domain randomization, in simulation.

    Ranges begin narrow. Each widens while the bundle succeeds at its edge, and narrows where it fails. May be killed at any
    moment. OUT/randomization.yaml is what robot.yaml then says, OUT/curriculum.html shows how it came about.
    """
    from forerun.control.agent import BundleAgent
    from forerun.report.curriculum import draw_curriculum
    from forerun_models.bundle import load
    from forerun_sim.curriculum import Record, learned_randomization, run_curriculum
    from forerun_sim.executors import Here, Processes
    from forerun_sim.files import write_file
    from forerun_sim.resources import bundle_folder
    from forerun_sim.spec import load_robot

    spec = load_robot(robot)
    folder = bundle_folder(bundle).resolve()
    loaded = load(folder, robot=spec.name)
    settings = _settings(spec, curriculum, loaded.manifest.task)
    record = Record(out)
    where = console(json)
    with progress(f"widening {spec.name}", episodes) as move:
        if resume and record.exists:
            move(len(record.rows()))
        state = run_curriculum(
            spec,
            settings,
            BundleAgent(folder),
            folder=out,
            episodes=episodes,
            seed=seed,
            engine=engine.value,
            agent_id=loaded.digest,
            resume=resume,
            executor=Here() if workers == 1 else Processes(workers),
            progress=lambda row: move(1, f"entropy {row.entropy:.2f}"),
        )
    rows = record.rows()
    write_file(out / "randomization.yaml", _fragment(spec, state, learned_randomization(spec, state, engine.value), folder))
    page, _ = draw_curriculum(rows, settings, f"{spec.name} under {folder.name}: {len(rows)} episodes", out)
    _print(state, rows, where)
    where.print(f"{out / 'randomization.yaml'}: the ranges, for robot.yaml; {page}: how they came about")
    emit(_result(state, rows, out), json)


def _settings(spec: RobotSpec, file: Path | None, task: str) -> Curriculum:
    """The file's curriculum, else the robot's; of the bundle's task where neither says which."""
    from forerun_sim.errors import InputError
    from forerun_sim.spec import Curriculum, load_yaml, validate

    settings = spec.curriculum if file is None else validate(Curriculum, load_yaml(file), file)
    if settings is None:
        raise InputError(
            f"robot '{spec.name}' has no key 'curriculum'; write one, or give a file with --curriculum, such as: "
            "quantities: {delay: {start: [0, 0.01], widest: [0, 0.1]}}"
        )
    return settings if settings.task is not None else settings.model_copy(update={"task": task})


def _fragment(spec: RobotSpec, state: AutomaticRandomization, learned: Any, bundle: Path) -> str:
    import yaml

    said = {"randomization": learned.model_dump(mode="json", exclude_none=True, exclude_defaults=True)}
    head = f"# Ranges that {bundle.name} masters on {spec.name}, after {state.learned} episodes of task {state.settings.task}.\n"
    return head + "# Goes into robot.yaml in place of the key that is there.\n" + yaml.safe_dump(said, sort_keys=False)


def _print(state: AutomaticRandomization, rows: list[Row], where: Console) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table("quantity", "began", "now", "widest", "at low", "at high", box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for name, one in state.settings.quantities.items():
        unit = " x" if one.relative else ""
        spans = (f"{low:.4g} to {high:.4g}{unit}" for low, high in (one.start, state.ranges[name], one.widest))
        table.add_row(name, *spans, _successes(rows, name, "low"), _successes(rows, name, "high"))
    where.print(table)
    won, exploded = sum(row.success for row in rows), sum(row.exploded for row in rows)
    said = f", {exploded} exploded and count as failures" if exploded else ""
    where.print(f"{won} of {len(rows)} episodes succeeded{said}; entropy {state.entropy:.2f} nats (0: all ranges are widest)")


def _successes(rows: list[Row], quantity: str, side: str) -> str:
    here = [row.success for row in rows if (row.quantity, row.side) == (quantity, side)]
    return f"{sum(here)} of {len(here)}" if here else "-"


def _result(state: AutomaticRandomization, rows: list[Row], out: Path) -> dict[str, Any]:
    return {
        "out": str(out),
        "episodes": len(rows),
        "successes": sum(row.success for row in rows),
        "exploded": sum(row.exploded for row in rows),
        "entropy": state.entropy,
        "ranges": state.ranges,
    }
