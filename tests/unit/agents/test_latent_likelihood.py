"""The bound of an RSSM with Gaussian latents against the exact log-likelihood of a linear-Gaussian system (Kalman filter)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from forerun_models.latent.settings import LatentSettings
from forerun_models.latent.world_model import Sequences, WorldModel

A = torch.tensor([[0.95, 0.3], [-0.3, 0.9]])
B = torch.tensor([[0.0], [0.5]])
C = torch.tensor([[1.0, 0.0]])
PROCESS, SENSOR = 0.2, 0.3
"""Standard deviations of the noise in x' = A x + B u and o = C x."""
LENGTH = 8
BOUND = 0.15
"""How many nats an observation the learned bound may lie below the exact value."""


def simulate(count: int, draw: torch.Generator) -> Sequences:
    """Runs of the system from x ~ N(0, 1), with random commands that the model is told."""
    x, u = torch.randn(count, 2, generator=draw), torch.zeros(count, 1)
    observations, commands = [], []
    for step in range(LENGTH):
        if step:
            u = torch.randn(count, 1, generator=draw)
            x = x @ A.T + u @ B.T + PROCESS * torch.randn(count, 2, generator=draw)
        observations.append(x @ C.T + SENSOR * torch.randn(count, 1, generator=draw))
        commands.append(u)
    no, first = torch.zeros(count, LENGTH), torch.zeros(count, LENGTH, dtype=torch.bool)
    first[:, 0] = True
    return Sequences(torch.stack(observations, 1), torch.stack(commands, 1), no, no.bool(), first)


def kalman(runs: Sequences) -> Tensor:
    """Exact log p(o_1 .. o_L | u) [N]."""
    count = len(runs.observation)
    mean, cov, total = torch.zeros(count, 2), torch.eye(2), torch.zeros(count)
    for step in range(LENGTH):
        if step:
            mean = mean @ A.T + runs.action[:, step] @ B.T
            cov = A @ cov @ A.T + PROCESS**2 * torch.eye(2)
        spread = C @ cov @ C.T + SENSOR**2
        error = runs.observation[:, step] - mean @ C.T
        total = total - 0.5 * (error**2 / spread + torch.log(2 * math.pi * spread))[:, 0]
        gain = cov @ C.T / spread
        mean, cov = mean + error @ gain.T, cov - gain @ C @ cov
    return total


def test_the_learned_bound_comes_close_to_the_exact_likelihood_and_stays_below_it() -> None:
    draw = torch.Generator().manual_seed(0)
    settings = LatentSettings(
        latent="gaussian", groups=1, min_std=0.01, deter=16, hidden=16, bins=3, symlog=False, decoder_std=0.25
    )
    model = WorldModel((1,), 1, settings, draw)
    optimizer, steps = torch.optim.Adam(model.parameters(), lr=0.02), 400
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / steps)
        runs = simulate(32, draw)
        optimizer.zero_grad()
        loss = -model.elbo(runs, model.observe(runs, draw)).mean() / LENGTH
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    unseen = simulate(4000, draw)
    with torch.no_grad():
        bound = float(model.elbo(unseen, model.observe(unseen, draw)).mean()) / LENGTH
    exact = float(kalman(unseen).mean()) / LENGTH
    memoryless = -0.5 * float((1 + torch.log(2 * math.pi * unseen.observation.var(0))).mean())
    assert memoryless < exact - 4 * BOUND  # what no memory costs: the bound is not won without one
    assert exact - BOUND < bound < exact
