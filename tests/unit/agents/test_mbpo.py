"""Model-based policy optimisation: what is imagined stays near what is known, and little experience is enough."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from tests.support import point

from forerun_models.agents.base import EnvSpec, Step
from forerun_models.agents.buffer import Buffer
from forerun_models.agents.environment_model import EnvironmentSettings
from forerun_models.agents.mbpo.imagination import Imagination, drift, joined
from forerun_models.agents.mbpo.settings import MbpoSettings, Ramp
from forerun_models.agents.model_fit import fit
from forerun_models.agents.registry import make_agent, settings_of
from forerun_sim.errors import InputError
from forerun_sim.spec import validate

SMALL = MbpoSettings(
    hidden=(32, 32),
    batch=64,
    learning_rate=3e-3,
    discount=0.9,
    target_rate=0.02,
    capacity=1000,
    warm_up=50,
    updates_per_step=3,
    fit_every=50,
    rollouts=400,
    model=EnvironmentSettings(members=3, elites=3, hidden=32, layers=1, updates=150, batch=64, learning_rate=1e-2),
    real_ratio=Ramp(start=1.0, end=0.1, begin=50, finish=100),
)


def filled(steps=200):
    """A buffer of episodes under random actions."""
    draws, buffer = np.random.default_rng(0), Buffer(1000, (1,), np.float32, 1)
    x = 0.0
    for number in range(steps):
        x = draws.uniform(-1.5, 1.5) if number % point.SPEC.horizon == 0 else x
        step = point.step(x, draws.uniform(-1, 1), number % point.SPEC.horizon)
        buffer.add(step)
        x = float(step.following[0])
    return buffer


@pytest.fixture(scope="module")
def fitted():
    """A model of 200 random steps, and their buffer."""
    agent, buffer = make_agent("mbpo", point.SPEC, SMALL, seed=0), filled()
    fit(agent.model, buffer.all(), torch.Generator().manual_seed(0))
    return agent.model, buffer


def imagined(fitted, length, policy=lambda rows: torch.zeros(len(rows), 1), buffer=None, **changes):
    imagination = Imagination(SMALL.model_copy(update=changes), SMALL.discount)
    numbers, draws = np.random.default_rng(1), torch.Generator().manual_seed(1)
    imagination.imagine(fitted[0], policy, buffer or fitted[1], length, numbers, draws)
    return imagination


def everything(imagination):
    return imagination._all


def test_of_length_0_nothing_is_imagined_and_batches_are_the_buffers_states(fitted):
    assert len(imagined(fitted, 0)) == 0
    agent = make_agent("mbpo", point.SPEC, SMALL.model_copy(update={"length": Ramp(start=0, end=0, begin=0, finish=0)}), seed=0)
    point.learn(agent, 12)
    known = set(agent.buffer.all()["observation"][:, 0].tolist())
    assert set(agent.batch()["observation"][:, 0].tolist()) <= known


def test_rollouts_begin_in_the_buffers_states_and_go_on_where_they_came_to(fitted):
    rows = everything(imagined(fitted, 3, cut_disagreement=1e6))
    known = set(fitted[1].all()["observation"][:, 0].tolist())
    count = SMALL.rollouts
    assert len(rows["reward"]) == 3 * count
    assert set(rows["observation"][:count, 0].tolist()) <= known
    torch.testing.assert_close(rows["observation"][count:], rows["following"][:-count])


def test_imagined_rewards_and_successors_are_near_the_true_ones(fitted):
    rows = everything(imagined(fitted, 1, policy=lambda x: -torch.sign(x)))
    true = rows["observation"] + point.PUSH * rows["action"]
    assert (rows["following"] - true).abs().mean() < 0.05
    assert (rows["reward"] + true[:, 0] ** 2).abs().mean() < 0.15


def test_rollouts_are_cut_where_the_members_disagree(fitted):
    far = Buffer(1000, (1,), np.float32, 1)
    for number in range(100):
        far.add(point.step(0.01 * number, 0.1, 0))
        far.add(point.step(30.0 + number, 0.1, 0))
    whole, cut = (imagined(fitted, 1, buffer=far, cut_disagreement=limit) for limit in (1e6, 0.5))
    assert whole.cut == pytest.approx(0.0)
    assert 0.1 < cut.cut < 0.8
    assert (1 / everything(whole)["weight"] - 1).max() > 0.6
    assert (1 / everything(cut)["weight"] - 1).max() <= 0.5 + 1e-6


def test_what_the_members_disagree_about_counts_less_and_may_be_sought_or_shunned(fitted):
    rows = everything(imagined(fitted, 1, cut_disagreement=1e6))
    assert ((rows["weight"] > 0) & (rows["weight"] <= 1)).all()
    disagreement = 1 / rows["weight"] - 1
    for bonus in (2.0, -2.0):
        changed = everything(imagined(fitted, 1, cut_disagreement=1e6, disagreement_bonus=bonus))
        torch.testing.assert_close(changed["reward"], rows["reward"] + bonus * disagreement, atol=1e-4, rtol=1e-4)
    assert (everything(imagined(fitted, 1, weighted=False))["weight"] == 1).all()


def test_an_end_ends_a_rollout():
    """Episodes end beyond 0.5; a policy that always pushes right never goes on from there."""
    agent, draws = make_agent("mbpo", point.SPEC, SMALL, seed=0), np.random.default_rng(0)
    for _ in range(400):
        step = point.step(draws.uniform(-1.5, 0.5), draws.uniform(-1, 1), 0)
        agent.observe(step._replace(terminated=bool(step.following[0] > 0.5)))
    fit(agent.model, agent.buffer.all(), torch.Generator().manual_seed(0))
    rows = everything(imagined((agent.model, agent.buffer), 4, lambda x: torch.ones(len(x), 1), cut_disagreement=1e6))
    ended = rows["terminated"] > 0.5
    assert (ended == (rows["following"][:, 0] > 0.5)).float().mean() > 0.95
    assert not set(rows["following"][ended, 0].tolist()) & set(rows["observation"][:, 0].tolist())


def test_a_ramp_goes_evenly_between_two_steps():
    ramp = Ramp(start=1.0, end=0.05, begin=200, finish=1000)
    assert [ramp.at(step) for step in (0, 200, 600, 1000, 5000)] == pytest.approx([1.0, 1.0, 0.525, 0.05, 0.05])
    assert Ramp(start=1, end=15, begin=0, finish=0).at(0) == 15


def test_batches_have_the_share_of_real_transitions_that_is_due():
    agent = make_agent("mbpo", point.SPEC, SMALL.model_copy(update={"updates_per_step": 1}), seed=0)
    shares = []
    for episode in range(12):
        point.learn(agent, 1, first=episode)
        known = set(agent.buffer.all()["observation"][:, 0].tolist())
        rows = agent.batch()
        assert len(rows["reward"]) == SMALL.batch
        # Rollouts of one step begin in known states too; only their weight tells them from real ones.
        assert set(rows["observation"][:, 0].tolist()) <= known
        shares.append(float((rows["weight"] == 1).float().mean()))
    assert shares[4] == 1.0
    assert shares[-1] == pytest.approx(0.1, abs=0.02)
    assert shares[4:10] == sorted(shares[4:10], reverse=True)


def test_finds_the_best_policy_in_a_few_episodes():
    agent = make_agent("mbpo", point.SPEC, SMALL, seed=0)
    said = point.learn(agent, 25)
    actor = agent.actor(explore=False)
    learned = point.returns(lambda x: actor.act(np.array([x], np.float32))[0])
    best = point.returns(point.best_action)
    assert (learned > best - 0.3).all(), f"{learned} against {best}"
    errors = [metrics["model_error"] for metrics in said if "model_error" in metrics]
    assert len(errors) == 5
    assert errors[-1] < 0.1


def test_goes_on_after_a_checkpoint_as_without_one():
    short = SMALL.model_copy(update={"updates_per_step": 1})
    whole, first = (make_agent("mbpo", point.SPEC, short, seed=3) for _ in range(2))
    point.learn(first, 8)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = make_agent("mbpo", point.SPEC, short, seed=99)
    second.load_state_dict(torch.load(file, weights_only=True))
    point.learn(second, 4, first=8)
    point.learn(whole, 12)
    torch.testing.assert_close(second.learner.policy.parameters, whole.learner.policy.parameters, rtol=0, atol=0)
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(second.model.state_dict()[name], value, rtol=0, atol=0)


def test_says_where_a_run_goes_wrong():
    alone = SMALL.model_copy(update={"model": EnvironmentSettings(members=1, elites=1, hidden=8, layers=1, updates=1)})
    agent = make_agent("mbpo", EnvSpec("noise", point.SPEC.observation, 1), alone, seed=0)
    assert any("members" in text for text in agent.advice())
    draws = np.random.default_rng(0)
    for _ in range(150):
        seen, change = (draws.normal(size=1).astype(np.float32) for _ in range(2))
        agent.observe(Step(seen, np.zeros(1, np.float32), 0.0, seen + change, False, False))
    agent._learn_model()
    assert any("real_ratio" in text for text in agent.advice())


def test_a_policy_that_went_elsewhere_makes_the_model_stale(fitted):
    model, _ = fitted
    buffer = filled()
    known = drift(model, buffer, 40)
    for at in np.linspace(2.0, 2.4, 40, dtype=np.float32):
        buffer.add(Step(np.array([at]), np.zeros(1, np.float32), 0.0, np.array([at]), False, True))
    assert 0.3 < known < 2 < drift(model, buffer, 40)
    assert drift(model, buffer, 5) == 0, "too few to tell"


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"real_ratio": {"start": 2, "end": 0, "begin": 0, "finish": 1}}, "real_ratio"), ({"lenght": 1}, "lenght")],
)
def test_wrong_settings_are_refused_by_name(changes, told):
    with pytest.raises(InputError, match=told):
        validate(MbpoSettings, changes, "mbpo.yaml")


def test_the_shipped_settings_are_read():
    settings = settings_of("mbpo")
    assert isinstance(settings, MbpoSettings)
    assert settings.real_ratio.end == 0.05


def test_joined_transitions_earn_what_their_rollout_does_to_its_end():
    """Two rollouts: 0 of three steps, the last of which ends it; 1 of two, cut afterwards."""
    columns = {
        "observation": torch.arange(5.0)[:, None],
        "reward": torch.tensor([1.0, 10.0, 2.0, 20.0, 4.0]),
        "following": torch.tensor([[100.0], [110.0], [101.0], [111.0], [102.0]]),
        "terminated": torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0]),
        "weight": torch.tensor([0.9, 0.8, 1.0, 0.7, 0.5]),
    }
    found = joined(columns, torch.tensor([0, 1, 0, 1, 0]), discount=0.5)
    assert found["reward"].tolist() == [3.0, 20.0, 4.0, 20.0, 4.0]
    assert found["following"][:, 0].tolist() == [102.0, 111.0, 102.0, 111.0, 102.0]
    assert found["terminated"].tolist() == [1.0, 0.0, 1.0, 0.0, 1.0]
    assert found["discount"].tolist() == [0.125, 0.25, 0.25, 0.5, 0.5]
    assert found["weight"].tolist() == pytest.approx([0.5, 0.7, 0.5, 0.7, 0.5])
    assert torch.equal(found["observation"], columns["observation"])
    assert columns["reward"].tolist() == [1.0, 10.0, 2.0, 20.0, 4.0]


def test_whole_rollouts_are_worth_the_same_and_end_further_on(fitted):
    steps, whole = imagined(fitted, 3), imagined(fitted, 3, whole=True)
    one, all_ = everything(steps), everything(whole)
    assert torch.equal(one["observation"], all_["observation"])
    assert torch.equal(one["following"][-400:], all_["following"][:400])  # none of these is cut or ends
    later = one["reward"][400:800] + SMALL.discount * one["reward"][800:]
    torch.testing.assert_close(all_["reward"][:400], one["reward"][:400] + SMALL.discount * later)
    batch = whole.batch(fitted[1], 20, 0.5, np.random.default_rng(0), "cpu")
    assert torch.all(batch["discount"][:10] == SMALL.discount)


def test_a_known_reward_takes_the_place_of_a_learned_one():
    spec = EnvSpec("Pendulum-v1", Box(-8, 8, (3,), np.float32), 1)
    assert make_agent("mbpo", spec, SMALL, seed=0).model.known_reward is None
    agent = make_agent("mbpo", spec, SMALL.model_copy(update={"reward": "known"}), seed=0)
    upright, still = torch.tensor([[1.0, 0.0, 0.0]]), torch.zeros(1, 1)
    assert float(agent.model.rewards(upright[None], still[None], upright[None])) == 0.0
    with pytest.raises(InputError, match="set 'reward: learned'"):
        make_agent("mbpo", point.SPEC, SMALL.model_copy(update={"reward": "known"}), seed=0)
