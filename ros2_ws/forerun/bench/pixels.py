"""Does a world model of pictures predict? Open loop, on the pendulum's camera, against the last picture and the mean picture."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from forerun.bench.records import Measurement, Options, Row

if TYPE_CHECKING:
    from forerun_models.agents.buffer import Buffer
    from forerun_models.agents.dreamer.agent import DreamerSettings
    from forerun_models.latent.world_model import WorldModel

ENVIRONMENT, CAMERA = "forerun/pendulum-swingup-v0", "front"
RECIPE = "dreamer_pixels"
EPISODES, TESTED = 12, 4
"""Of 400 steps: learned from, and predicted."""
UPDATES = 300
SEEN, AHEAD = 10, (1, 5, 10, 25, 50)
"""Pictures that lead up to a prediction, and steps ahead."""
WINDOWS = 64
DRAWS = 8
"""Imagined futures whose mean is the expected picture."""
SMOOTH = 8
"""Steps for which an action stays, so that the pendulum swings."""


def measure(options: Options) -> Measurement:
    """A row a seed: root mean square errors of pixels between 0 and 1, by steps ahead."""
    import torch

    from forerun_models.agents.registry import settings_of

    torch.set_num_threads(1)
    settings = settings_of("dreamer", RECIPE)
    rows = []
    for seed in options.seeds:
        options.note(f"pixels: seed {seed}")
        rows.append(_row(settings, seed))  # type: ignore[arg-type]
    told = {
        "environment": ENVIRONMENT,
        "camera": CAMERA,
        "recipe": settings.model_dump(mode="json"),
        "windows": WINDOWS,
        "draws": DRAWS,
    }
    return Measurement("pixels", rows, told | {"episodes": EPISODES, "tested": TESTED, "seen": SEEN})


def _row(settings: DreamerSettings, seed: int) -> Row:
    import torch

    from forerun_models.agents.dreamer.runs import runs_of
    from forerun_models.latent.learner import Learner
    from forerun_models.latent.world_model import WorldModel

    known, unseen = record(range(EPISODES), seed), record(range(EPISODES, EPISODES + TESTED), seed)
    generator = torch.Generator().manual_seed(seed)
    shape = known.all()["observation"].shape[1:]
    model = WorldModel(shape, 1, settings.model, generator)
    learner = Learner(model, settings.learning_rate, settings.gradient_norm, generator)
    draw, began = np.random.default_rng(seed), time.perf_counter()
    for _ in range(UPDATES):
        learner.step(runs_of(known.sample_sequences(settings.batch, settings.length, draw, across=True), None, "cpu"))
    taken = time.perf_counter() - began
    mean = known.all()["observation"].astype(np.float32).mean(axis=0)
    windows = unseen.sample_sequences(WINDOWS, SEEN - 1 + max(AHEAD), np.random.default_rng(seed))
    truth, predicted = foresee(model, windows, seed)
    last = truth[:, SEEN - 1 : SEEN]
    row: dict[str, Any] = {"seed": seed, "updates": UPDATES, "train_s": round(taken, 1)}
    for step in AHEAD:
        target = truth[:, SEEN - 1 + step]
        for name, guess in (("model", predicted[:, step - 1]), ("persistence", last[:, 0]), ("mean_picture", mean)):
            row[f"{name}_{step}"] = round(float(np.sqrt(np.mean((guess - target) ** 2))) / 255.0, 4)
    return row


def record(episodes: Sequence[int], seed: int) -> Buffer:
    """Episodes of the environment under random actions, each held for some steps."""
    import gymnasium

    import forerun_sim.env  # noqa: F401 (registers)
    from forerun_models.agents.base import Step
    from forerun_models.agents.buffer import Buffer

    env = gymnasium.make(ENVIRONMENT, camera=CAMERA, disable_env_checker=True)
    assert env.observation_space.shape is not None
    buffer = Buffer(100_000, env.observation_space.shape, np.uint8, 1)
    env.reset(seed=seed)
    for episode in episodes:
        seen, _ = env.reset(options={"episode": episode})
        draw, over, step = np.random.default_rng((seed, episode)), False, 0
        action = np.zeros(1, np.float32)
        while not over:
            if step % SMOOTH == 0:
                action = draw.uniform(-1, 1, 1).astype(np.float32)
            following, reward, terminated, truncated, _ = env.step(action)
            buffer.add(Step(seen, action, float(reward), following, terminated, truncated))
            seen, over, step = following, terminated or truncated, step + 1
    env.close()
    return buffer


def foresee(model: WorldModel, windows: dict[str, NDArray[Any]], seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """True pictures [N, SEEN + H, *shape] of ``windows``, and those [N, H, *shape] expected open loop after SEEN of them,
    the mean of DRAWS."""
    import torch

    from forerun_models.agents.dreamer.runs import runs_of
    from forerun_models.latent.rssm import State
    from forerun_models.latent.world_model import Sequences

    runs, generator = runs_of(windows, None, "cpu"), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        states = model.observe(Sequences(*(part[:, :SEEN] for part in runs)), generator).states
        last = State(states.h[:, -1], states.z[:, -1])
        predicted = torch.stack([model.predict(last, runs.action[:, SEEN:], generator) for _ in range(DRAWS)]).mean(0)
    return runs.observation.numpy().astype(np.float32), predicted.numpy()
