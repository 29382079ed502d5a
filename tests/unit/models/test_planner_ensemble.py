"""How planners use an ensemble: each way against a slow loop over the ensemble itself, written plainly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.support import slider
from tests.support.planning import decide, inputs_of, linear_model, planner_of, problem, quadratic, random_model

from forerun_models.planners import rollout
from forerun_models.planners.rollout import Rollout
from forerun_models.planners.situation import Situation

MEMBERS = 3
HORIZON = 7


def random_ensemble(seed=3, history=1):
    return random_model([False], 1, history, MEMBERS, seed)


def one_step(model, member, states, actions):
    """Mean [S] of the next state by one member, of K states [S] and K actions [A]."""
    wide = [[row.expand(model.members, 1, -1) for row in rows] for rows in (states, actions)]
    mean, log_variance = model.step(*wide)
    return mean[member, 0], log_variance[member, 0]


def follow(model, way, start, plan, kicks=None):
    """Predicted [H, M, S] of ``plan`` [H, A] by particle, one step, one member at a time."""
    state = torch.tensor(start)
    history = model.features.history
    pasts = [([state] * history, [torch.zeros(1)] * (history - 1)) for _ in range(MEMBERS)]
    predicted = []
    for step, action in enumerate(plan):
        following = []
        for particle in range(MEMBERS):
            member = (particle - step) % MEMBERS if way == "ts1" else particle
            states, actions = pasts[particle]
            mean, log_variance = one_step(model, member, states, [*actions, action])
            kick = 0.0 if kicks is None else kicks[step, member] * torch.exp(0.5 * log_variance)
            following.append(mean + kick)
        went = [sum(following) / MEMBERS] * MEMBERS if way == "mean" else following
        pasts = [
            ([*states, new][-history:], [*actions, action][len(actions) + 1 - (history - 1) :])
            for (states, actions), new in zip(pasts, went, strict=True)
        ]
        predicted.append(torch.stack(following))
    return torch.stack(predicted)


def returns(predicted, plan, goal=0.0):
    """[M]."""
    before = torch.zeros(1)
    return sum(quadratic(row, plan[h], before, torch.tensor([goal])) for h, row in enumerate(predicted))


@pytest.mark.parametrize("history", [1, 3])
@pytest.mark.parametrize("way", ["tsinf", "ts1", "mean", "worst"])
@torch.no_grad()
def test_value_and_imagined_states_are_those_of_a_plain_loop(way, history):
    model = random_ensemble(history=history)
    planner = planner_of(model, problem(), horizon=HORIZON, samples=32, iterations=2, elites=4, ensemble=way)
    outputs = decide(planner, (0.4, -0.2))
    expected = follow(model, way, (0.4, -0.2), outputs["plan"][0])
    values = returns(expected, outputs["plan"][0])
    torch.testing.assert_close(outputs["imagined"][0].transpose(0, 1), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(outputs["predicted"][0], expected.mean(1), rtol=1e-4, atol=1e-5)
    best = values.min() if way == "worst" else values.mean()
    assert float(outputs["value"][0]) == pytest.approx(float(best), rel=1e-4)
    spread = ((expected - expected.mean(1, keepdim=True)) ** 2).mean(dim=(1, 2)).sqrt().mean()
    assert float(outputs["disagreement"][0]) == pytest.approx(float(spread), rel=1e-3)


@torch.no_grad()
def test_ts1_shows_each_particle_every_member_equally_often():
    """Members push with gains 1, 2 and 3: after 3 or 6 steps each particle has been pushed by all alike."""
    model = linear_model(slider.A, slider.B, members=(1.0, 2.0, 3.0))
    predicted = Rollout(model, propagation="switch")([torch.zeros(2)], [], torch.ones(6, 1, 1))
    speeds = Rollout(model, propagation="switch").by_particle(predicted)[..., 1, 0]
    pushes = torch.diff(speeds, dim=0, prepend=torch.zeros(1, 3)) / slider.PERIOD
    for particle in range(3):
        assert sorted(pushes[:3, particle].round().tolist()) == [1.0, 2.0, 3.0]
        torch.testing.assert_close(pushes[3:, particle], pushes[:3, particle])


@pytest.mark.parametrize("way", ["tsinf", "ts1"])
@torch.no_grad()
def test_an_episode_ends_for_the_particle_that_ended_it(way):
    """One member pushes much harder: what ended for one particle goes on for the others, whichever member moves them."""
    model = linear_model(slider.A, slider.B, members=(1.0, 1.0, 6.0))
    asked = problem(
        reward=lambda state, action, previous, goal: 1.0 + state[..., 0] * 0.0,
        done=lambda state: state[..., 1] > 0.5,
        value=lambda state, goal: 10.0 + state[..., 0] * 0.0,
        lower=torch.tensor([1.0]), upper=torch.tensor([1.2]),
    )  # fmt: skip
    planner = planner_of(model, asked, horizon=6, samples=16, iterations=1, elites=2, ensemble=way)
    outputs = decide(planner, (0.0, 0.0), under_way=1.1)
    expected = follow(model, way, (0.0, 0.0), outputs["plan"][0])
    values = []
    for particle in range(MEMBERS):
        ended = torch.nonzero(expected[:, particle, 1] > 0.5)
        values.append(6.0 + 10.0 if not len(ended) else float(ended[0]) + 1.0)
    assert len(set(values)) > 1
    assert float(outputs["value"][0]) == pytest.approx(np.mean(values), rel=1e-5)


@pytest.mark.parametrize("way", ["tsinf", "ts1", "worst"])
@torch.no_grad()
def test_aleatoric_noise_has_the_predicted_variance_and_is_common_to_all_sequences(way):
    model = random_ensemble()
    planner = planner_of(
        model, problem(), horizon=3, samples=8, iterations=1, elites=2, ensemble=way, aleatoric=True, particles=4000
    )
    inputs = inputs_of(planner, (0.4, -0.2))
    _, kicks, _ = planner._noise(inputs["noise"])
    assert kicks.shape == (3, MEMBERS, 2, 4000)
    action = torch.zeros(3, 1, 4000)
    predicted = planner.rollout([torch.tensor([0.4, -0.2])], [], action, kicks)
    for member in range(MEMBERS):
        mean, log_variance = one_step(model, member, [torch.tensor([0.4, -0.2])], [torch.zeros(1)])
        torch.testing.assert_close(
            predicted[0, member].mean(1), mean, rtol=0.0, atol=float(0.06 * (log_variance / 2).exp().max())
        )
        torch.testing.assert_close(predicted[0, member].var(1), torch.exp(log_variance), rtol=0.1, atol=0.0)
    # One sequence in many places has the same value everywhere: luck does not choose.
    same = torch.zeros(3, 1, 8)
    now = Situation.of(planner.problem, inputs["history"], inputs["goal"], inputs["delay"])
    values, _, _ = planner._evaluate(same, now, kicks)
    torch.testing.assert_close(values, values[:1].expand(8), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_aleatoric_rollouts_are_those_of_a_plain_loop():
    model = random_ensemble(5)
    for way in ("tsinf", "ts1"):
        planner = planner_of(model, problem(), horizon=HORIZON, samples=16, iterations=2, elites=4, ensemble=way, aleatoric=True)
        outputs = decide(planner, (0.1, 0.3))
        _, kicks, _ = planner._noise(inputs_of(planner, (0.1, 0.3))["noise"])
        expected = follow(model, way, (0.1, 0.3), outputs["plan"][0], kicks[..., 0])
        torch.testing.assert_close(outputs["imagined"][0].transpose(0, 1), expected, rtol=1e-4, atol=1e-5)


def test_the_worst_case_avoids_what_one_member_finds_bad():
    """Two members would be pushed to the goal, one the other way: on average pushing pays, in the worst case it does not."""
    model = linear_model(slider.A, slider.B, members=(1.0, 1.0, -0.8))
    bold, careful = (
        planner_of(model, problem(), horizon=10, samples=64, iterations=6, ensemble=way) for way in ("tsinf", "worst")
    )
    state, goal = (0.0, 0.0), {"goal": [1.0]}
    pushed, held = (decide(planner, state, **goal)["plan"].abs().mean() for planner in (bold, careful))
    assert float(pushed) > 0.5
    assert float(held) < 0.1 * float(pushed)


def test_disagreement_is_penalised_by_its_weight():
    model = linear_model(slider.A, slider.B, members=(0.7, 1.3))
    spreads, values = [], []
    for weight in (0.0, 0.5, 50.0):
        outputs = decide(planner_of(model, problem(), disagreement_weight=weight, iterations=8), (0.5, 0.0))
        spreads.append(float(outputs["disagreement"][0]))
        values.append(float(outputs["value"][0]))
    assert spreads[0] > spreads[1] > 10 * spreads[2]
    assert values[0] > values[1] > values[2]


def test_fewer_members_are_the_first_elites():
    model = linear_model(slider.A, slider.B, members=(1.0, 2.0, 3.0))
    model.elites = torch.tensor([2, 0])
    outputs = decide(planner_of(model, problem(), members=1), (0.5, 0.0))
    assert outputs["imagined"].shape[1] == 1
    first = float(outputs["plan"][0, 0, 0])
    assert float(outputs["imagined"][0, 0, 0, 1]) == pytest.approx(3.0 * slider.PERIOD * first, abs=1e-5)


@pytest.mark.parametrize("way", ["tsinf", "mean", "worst"])
def test_the_order_of_the_members_does_not_matter(way):
    model = random_ensemble(4)
    one = decide(planner_of(model, problem(), ensemble=way), (0.4, -0.2))
    model.elites = torch.tensor([2, 0, 1])
    other = decide(planner_of(model, problem(), ensemble=way), (0.4, -0.2))
    torch.testing.assert_close(one["plan"], other["plan"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(one["value"], other["value"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("way", ["tsinf", "ts1"])
@torch.no_grad()
def test_a_population_too_large_for_the_cache_is_followed_in_blocks_with_the_same_result(way, monkeypatch):
    chosen = {"ensemble": way, "samples": 96, "aleatoric": True, "particles": 2}
    planner = planner_of(random_ensemble(), problem(), **chosen)
    inputs = inputs_of(planner, (0.4, -0.2))
    whole = planner(*inputs.values())
    # 9 units a layer, one of which is the constant: room for 70 particles of all members.
    monkeypatch.setattr(rollout, "_CACHED", MEMBERS * 9 * 4 * 70)
    assert planner.rollout._blocks(192) == 3
    for one, other in zip(whole, planner(*inputs.values()), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-5)
