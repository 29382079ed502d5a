"""``forerun learn``: an agent learns in an environment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forerun.cli.common import JsonOption, console, emit, progress

if TYPE_CHECKING:
    from forerun_models.agents.learn import Learned, Progress
    from forerun_sim.trial import Trial

EXAMPLE = """
forerun learn --env Pendulum-v1 --agent sac --steps 10000 --seed 0 --out runs/pendulum
forerun learn --env forerun/cartpole-balance-v0 --agent dyna-q --steps 40000 --seed 0 --out runs/balance
forerun learn --env forerun/pendulum-swingup-v0 --agent mbpo --start bags/real --offline-updates 2000 --steps 0 --out runs/offline
forerun learn --env my/robot-v0 --import my_environments --agent random --steps 2000 --seed 0 --out runs/chance
"""


def command(
    env: Annotated[str, typer.Option(help="Name of a Gymnasium environment.", show_default=False)],
    agent: Annotated[str, typer.Option(help="Name of the agent; a wrong one lists all.", show_default=False)],
    steps: Annotated[int, typer.Option(min=0, help="Environment steps in all.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of the run.", show_default=False)],
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    imports: Annotated[
        list[str] | None, typer.Option("--import", help="Module that registers environments; may be given again.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE for the environment, such as history=4; may be given again.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Name or path of the agent's settings; those called like the agent if absent.")
    ] = None,
    start: Annotated[list[Path] | None, typer.Option(help="Bag of the robot's to begin with; may be given again.")] = None,
    offline_updates: Annotated[
        int, typer.Option(min=0, help="Updates on --start's bags before the first step; --steps 0 stops there.")
    ] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped, to the same curve.")] = False,
    eval_every: Annotated[int, typer.Option(min=1, help="Steps between evaluations.")] = 1000,
    eval_episodes: Annotated[int, typer.Option(min=1, help="Episodes of an evaluation.")] = 5,
    device: Annotated[str, typer.Option(help="Where networks run: cpu or cuda.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    tensorboard: Annotated[bool, typer.Option(help="Write TensorBoard curves into RUN/tensorboard.")] = True,
    json: JsonOption = None,
) -> None:
    """Let an agent learn in any Gymnasium environment with a Box of observations.

    RUN/progress.csv has the learning curve; the best evaluation's agent is kept beside the last. May be killed at any moment and
    goes on with --resume.
    """
    import torch

    from forerun_models.agents.best import best_of
    from forerun_models.agents.learn import learn

    torch.set_num_threads(threads)
    where = console(json)
    options = _options(option or [])
    with progress(f"{agent} in {env}", steps) as move:
        done = 0

        def show(now: Progress) -> None:
            nonlocal done
            move(now.env_steps - done, _note(now))
            done = now.env_steps

        try:
            run = learn(
                env,
                agent,
                steps,
                seed,
                out,
                recipe=recipe,
                imports=imports or (),
                options=options,
                start=_trials(start, env, options),
                offline_updates=offline_updates,
                eval_every=eval_every,
                eval_episodes=eval_episodes,
                device=device,
                resume=resume,
                tensorboard=tensorboard,
                on_progress=show,
                advise=lambda text: console(Path("-")).print(f"[yellow]advice:[/] {text}"),
            )
        except KeyboardInterrupt:
            where.print(f"{out}: stopped; go on with the same command and --resume")
            raise
    last, best = run.rows[-1], best_of(run.rows)
    where.print(
        f"{out}: {int(last['env_steps'])} steps in {last['wall_s']:.0f} s, "
        f"return {last['eval_return_mean']:.4g} +- {last['eval_return_std']:.2g} over {eval_episodes} episodes"
        + (f"; best {best['eval_return_mean']:.4g} after {int(best['env_steps'])}, which is exported" if best != last else "")
    )
    emit(_result(run), json)


def _note(now: Progress) -> str:
    values = {"return": now.eval_return if now.eval_return is not None else now.train_return, "model error": now.model_error}
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items() if value is not None)


def _options(texts: list[str]) -> dict[str, Any]:
    """Keywords for the environment; values are read as YAML: numbers, true, texts, lists."""
    import yaml

    from forerun_sim.errors import InputError

    options = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise InputError(f"--option '{text}': write KEY=VALUE, such as history=4")
        try:
            options[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InputError(f"--option '{text}': the value cannot be read: {error}") from error
    return options


def _trials(bags: list[Path] | None, env: str, options: dict[str, Any]) -> list[Trial]:
    """Trials in ``bags`` of the robot of the environment ``env``."""
    if not bags:
        return []
    from forerun.bags import load_trials
    from forerun_models.agents.environment import make_environment
    from forerun_models.agents.experience import settings_of_robot
    from forerun_models.agents.random import RandomAgent

    environment = make_environment(env, RandomAgent, options)
    try:
        return load_trials(bags, settings_of_robot(environment.env, env).robot)
    finally:
        environment.close()


def _result(run: Learned) -> dict[str, Any]:
    about = run.about
    return {
        "out": str(run.folder),
        "env": about.env,
        "agent": about.agent,
        "settings": about.settings,
        "seed": about.seed,
        "rows": run.rows,
    }
