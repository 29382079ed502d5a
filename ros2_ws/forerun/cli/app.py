"""The commands of `forerun`: a name and a sentence each; a command's module is imported when it runs, not before."""

from __future__ import annotations

import errno
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

from forerun.cli.common import complain
from forerun_sim.errors import ForerunError

# What the user can put right: no room, no rights, no such path. Anything else is a bug and shows its traceback.
_OF_THE_MACHINE = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EISDIR,
    errno.EMFILE,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}
_EXTRA_OF = {
    "cma": "train",
    "gymnasium": "sim",
    "jinja2": "train",
    "matplotlib": "train",
    "mujoco": "mujoco",
    "onnx": "train",
    "onnxruntime": "robot",
    "pybullet": "sim",
    "ray": "scale",
    "rclpy": "ros",
    "rosbags": "sim",
    "safetensors": "train",
    "torch": "train",
}


class Entry(NamedTuple):
    """Where a command lives: ``module`` under forerun.cli holds a function ``command``, or a Typer ``app`` of sub-commands."""

    module: str
    summary: str


COMMANDS = {
    "demo": Entry("demo", "The whole loop on this machine, over real ROS 2; ends with a report."),
    "simulate": Entry("simulate", "Collect trials of a randomized simulated robot into a bag."),
    "curriculum": Entry("curriculum", "How far a robot may vary until its bundle fails: ranges that grow with success."),
    "train": Entry("train", "Learn a world model from bags, simulated or real."),
    "learn": Entry("learn", "Let an agent learn in any Gymnasium environment; writes its learning curve."),
    "compare": Entry("compare", "Learning curves of several runs beside each other, with intervals."),
    "export": Entry("export", "Make a bundle, which the controller runs, of a training run."),
    "finetune": Entry("finetune", "Let a bundle learn from new bags; promoted only when better on held-out trials."),
    "identify": Entry("identify", "Fit the simulator's parameters to bags, and design the next experiment."),
    "evaluate": Entry("evaluate", "Errors of a bundle's predictions on bags, k steps ahead."),
    "new-robot": Entry("new_robot", "A robot.yaml for your own robot, drafted from its URDF."),
    "inspect": Entry("inspect", "What a bundle, a bag or a robot holds."),
    "bag": Entry("bag", "Make bags of logs that are none."),
    "watch": Entry("watch", "What a robot and its controller do now, in the terminal."),
    "doctor": Entry("doctor", "What of this machine will hurt a real-time controller, and what to do about it."),
    "ros2-control": Entry("ros2_control", "Write ros2_control's controllers for a robot, with a command timeout."),
    "bench": Entry("bench", "Measure planner, training, simulator, bags and control loop."),
}


class Commands(TyperGroup):
    """A group that shows its commands without importing them, and turns errors into messages and exit codes."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, entry in COMMANDS.items():
            self.add_command(TyperCommand(name, help=entry.summary))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and name in COMMANDS:
            command = load_command(name)
        return name, command, rest

    def invoke(self, ctx: Any) -> Any:
        with _remembered_interrupt() as interrupt:
            try:
                return super().invoke(ctx)
            except typer.Exit:
                raise
            except BaseException as error:
                raise typer.Exit(_exit_code(error, interrupt)) from error


class _Interrupt:
    """Whether Ctrl-C was pressed. A C extension that is just being imported turns KeyboardInterrupt into ImportError."""

    received = False

    def __call__(self, number: int, frame: object) -> None:
        self.received = True
        raise KeyboardInterrupt


@contextmanager
def _remembered_interrupt() -> Iterator[_Interrupt]:
    interrupt = _Interrupt()
    # Where someone else handles or ignores the signal, that stays.
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupt
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _exit_code(error: BaseException, interrupt: _Interrupt) -> int:
    """Says what went wrong, and with which code to end; raises what is neither the user's nor the machine's fault."""
    if interrupt.received or isinstance(error, KeyboardInterrupt):
        complain("interrupted")
        return 130
    if isinstance(error, ForerunError):
        complain(str(error))
        return error.exit_code
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if package in _EXTRA_OF:
            complain(f"this needs the package '{package}', which is not installed: pip install 'forerun[{_EXTRA_OF[package]}]'")
            return 1
    if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
        complain(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror))
        return 1
    raise error


def load_command(name: str) -> Any:
    """The command called ``name``, its module imported. A module's ``EXAMPLE`` is shown below its help."""
    module = import_module(f"forerun.cli.{COMMANDS[name].module}")
    if hasattr(module, "app"):
        command = typer.main.get_command(module.app)
    else:
        single = typer.Typer(add_completion=False, rich_markup_mode="rich")
        single.command(name)(module.command)
        command = typer.main.get_command(single)
    command.name = name
    if hasattr(module, "EXAMPLE"):
        lines = "\n".join(f"  {line}" for line in escape(module.EXAMPLE.strip()).splitlines())
        command.help = f"{command.help or COMMANDS[name].summary}\n\n\b\nExample:\n{lines}"
    return command


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"forerun {version('forerun')}")
        raise typer.Exit


@app.callback()
def forerun(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version and exit."),
) -> None:
    """Lets a robot run ahead of itself: learn a world model from simulation and logs, plan in it, learn from every bag.

    Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted.

    \b
    Example:
      forerun simulate cartpole --episodes 100 --out bags/cartpole
      forerun train bags/cartpole --robot cartpole --out runs/cartpole
      forerun export runs/cartpole --out bundles/cartpole
    """
