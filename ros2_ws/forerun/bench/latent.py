"""An RSSM of states on the logs of the double pendulum: the same k-step table as `forerun bench logs`."""

from __future__ import annotations

import time

from forerun.bench.records import Measurement, Options, Row

SETTINGS = {
    "latent": "gaussian",
    "groups": 16,
    "min_std": 0.02,
    "deter": 96,
    "hidden": 96,
    "decoder_std": 0.1,
    "free_nats": 0.0,
    "symlog": False,
    "reward_scale": 0.0,
    "continue_scale": 0.0,
    "bins": 3,
}
UPDATES, BATCH, LENGTH, RATE = 1500, 16, 48, 2e-3
SEEN = 24
"""Rows that lead up to a prediction."""


def measure(options: Options) -> Measurement:
    """Two rows a seed: the validation trials, and those of the controller that training never sees."""
    import torch

    from forerun.bench.double_pendulum import load_split
    from forerun_models.evaluation.kstep import cut, errors, rmse
    from forerun_models.latent.settings import LatentSettings
    from forerun_models.latent.states import LatentStates

    torch.set_num_threads(1)
    split = load_split(options)
    rows: list[Row] = []
    for seed in options.seeds:
        options.note(f"latent: seed {seed}")
        model = LatentStates(split.robot, split.train, LatentSettings.model_validate(SETTINGS), seed)
        began = time.perf_counter()
        model.learn(UPDATES, BATCH, LENGTH, RATE)
        taken = time.perf_counter() - began
        for name, trials in (("validation", split.validation), ("unseen controller", split.unseen)):
            cuts = cut(trials, SEEN)
            found = {f"k{step}": round(value, 4) for step, value in rmse(errors(model, cuts, split.std)).items()}
            rows.append(
                {"trials": name, "model": "rssm", "seed": seed, "train_s": round(taken, 1), **found, "windows": len(cuts)}
            )
    told = {"model": SETTINGS, "updates": UPDATES, "batch": BATCH, "length": LENGTH, "rate": RATE, "seen": SEEN, "threads": 1}
    return Measurement("latent", rows, told)
