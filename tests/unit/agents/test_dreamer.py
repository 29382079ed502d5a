"""The dreamer agent: sequences, imagination and its update on small problems; a stopped one goes on to the same weights."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from forerun_models.agents.base import EnvSpec, Step
from forerun_models.agents.buffer import Buffer
from forerun_models.agents.dreamer.agent import DreamerAgent, DreamerSettings
from forerun_models.agents.dreamer.policy import Choices, Numbers
from forerun_models.agents.dreamer.runs import runs_of
from forerun_models.agents.environment import make_environment
from forerun_models.agents.folder import About
from forerun_models.agents.registry import make_agent, settings_of
from forerun_models.bundle import Bundle, BundleError, load
from forerun_models.export.agents import export_agent
from forerun_sim.errors import InputError

TINY = {
    "model": {"groups": 3, "classes": 4, "deter": 16, "hidden": 16, "bins": 21, "channels": 2},
    "behaviour": {"horizon": 3, "starts": 12, "hidden": 16, "layers": 1},
    "batch": 4,
    "length": 5,
    "every": 1,
    "begin_at": 8,
    "capacity": 200,
}


def tiny(env: EnvSpec, seed: int = 0, **changes: object) -> DreamerAgent:
    agent = make_agent("dreamer", env, DreamerSettings.model_validate(TINY | changes), seed)
    assert isinstance(agent, DreamerAgent)
    return agent


def vectors(choices: int | None = None) -> EnvSpec:
    return EnvSpec("test", Box(-1, 1, (2,), np.float32), 0 if choices else 1, choices)


def pictures() -> EnvSpec:
    return EnvSpec("test", Box(0, 255, (8, 8, 3), np.uint8), 1)


def feed(agent: DreamerAgent, steps: int, seed: int = 0, episode: int = 7) -> list[dict[str, float]]:
    """Steps of noise, in episodes of ``episode`` steps; every second ends by termination. What the updates said."""
    draw, told = np.random.default_rng(seed), []
    space = agent.env.observation
    space.seed(seed)
    actor, seen = agent.actor(explore=True), space.sample()
    for number in range(steps):
        if number % episode == 0:
            actor.reset(number)
            seen = space.sample()
        action, following = actor.act(seen), space.sample()
        last = number % episode == episode - 1
        odd = number // episode % 2 == 1
        agent.observe(Step(seen, action, float(draw.normal()), following, last and odd, last and not odd))
        seen = following
        told.append(agent.update())
    return told


def test_runs_keep_the_last_observation_of_an_episode_and_the_first_of_the_next() -> None:
    buffer = Buffer(20, (1,), np.float32, 1)
    for episode in range(2):
        for step in range(3):
            now = 10.0 * episode + step
            buffer.add(Step(np.array([now]), np.array([-now]), now, np.array([now + 1]), step == 2, False))
    runs = runs_of(buffer.sample_sequences(30, 5, np.random.default_rng(0), across=True), None, "cpu")
    assert runs.observation.shape == (30, 6, 1)
    found = {tuple(row) for row in runs.observation[..., 0].tolist()}
    assert found == {(0.0, 1.0, 2.0, 3.0, 10.0, 11.0), (1.0, 2.0, 3.0, 10.0, 11.0, 12.0)}
    one = next(i for i in range(30) if runs.observation[i, 0] == 0)
    assert runs.first[one].tolist() == [True, False, False, False, True, False]
    assert runs.terminated[one].tolist() == [False, False, False, True, False, False]
    assert runs.action[one, :, 0].tolist() == [0.0, -0.0, -1.0, -2.0, 0.0, -10.0]
    assert runs.reward[one].tolist() == [0.0, 0.0, 1.0, 2.0, 0.0, 10.0]


@pytest.mark.parametrize("env", [vectors(), vectors(3), pictures()], ids=["numbers", "choices", "pictures"])
def test_it_learns_from_vectors_and_pictures_with_numbers_and_choices(env: EnvSpec) -> None:
    agent = tiny(env)
    told = [metrics for metrics in feed(agent, 16) if metrics]
    assert len(told) == 9 and agent.updates == 9
    assert all(np.isfinite(value) for metrics in told for value in metrics.values())
    assert 0 < agent.model_error(agent.runs()) < 10
    action = agent.actor(explore=False).act(env.observation.sample())
    if env.discrete:
        assert isinstance(action, int) and 0 <= action < 3
    else:
        assert not isinstance(action, int) and action.shape == (1,) and action.dtype == np.float32 and abs(action).max() <= 1


def test_an_actor_remembers_within_an_episode_and_forgets_at_its_end() -> None:
    agent = tiny(vectors())
    feed(agent, 12)
    sights = [agent.env.observation.sample() for _ in range(4)]
    for explore in (False, True):
        actor, acts = agent.actor(explore), []
        for seed in (1, 1, 2):
            actor.reset(seed)
            acts.append(np.array([actor.act(sight) for sight in sights]))
        assert np.array_equal(acts[0], acts[1]) and np.array_equal(acts[0], acts[2]) is not explore
        actor.reset(1)
        assert not np.array_equal(actor.act(sights[3]), acts[0][3])  # the same sight without what came before


@pytest.mark.parametrize("env", [vectors(), vectors(2)], ids=["numbers", "choices"])
def test_a_loaded_agent_goes_on_as_the_saved_one_would(env: EnvSpec) -> None:
    agent = tiny(env)
    feed(agent, 16)
    file = io.BytesIO()
    torch.save(agent.state_dict(), file)
    file.seek(0)
    again = tiny(env, seed=0)
    again.load_state_dict(torch.load(file, weights_only=True))
    assert feed(agent, 5, seed=5) == feed(again, 5, seed=5)
    for mine, theirs in zip(agent.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_the_same_seed_learns_the_same() -> None:
    assert feed(tiny(vectors(), 3), 10) == feed(tiny(vectors(), 3), 10)
    assert feed(tiny(vectors(), 3), 10) != feed(tiny(vectors(), 4), 10)


def test_the_behaviour_leaves_the_model_alone() -> None:
    agent = tiny(vectors())
    feed(agent, 12)
    before = [weight.detach().clone() for weight in agent.model.parameters()]
    policy = [weight.detach().clone() for weight in agent.behaviour.policy.parameters()]
    runs = agent.runs()
    agent.model.zero_grad(set_to_none=True)
    agent.behaviour.learn(*agent._starts(runs, agent.model.observe(runs, agent.generator).states))
    assert all(torch.equal(a, b) for a, b in zip(before, agent.model.parameters(), strict=True))
    assert all(weight.grad is None for weight in agent.model.parameters())
    assert not all(torch.equal(a, b) for a, b in zip(policy, agent.behaviour.policy.parameters(), strict=True))


@pytest.mark.parametrize("choices", [None, 2], ids=["numbers", "choices"])
def test_it_finds_the_action_that_is_rewarded(choices: int | None) -> None:
    """The reward is the action itself (or the second choice), whatever is seen: the policy must come to prefer it."""
    behaviour = TINY["behaviour"] | {"actor_rate": 0.02, "critic_rate": 0.01, "horizon": 2}  # type: ignore[operator]
    agent = tiny(vectors(choices), behaviour=behaviour, learning_rate=0.02)
    draw, seen = np.random.default_rng(0), np.zeros(2, np.float32)
    for number in range(110):
        action = int(draw.integers(2)) if choices else draw.uniform(-1, 1, 1).astype(np.float32)
        reward = float(action) if choices else float(np.asarray(action)[0])
        agent.observe(Step(seen, action, reward, seen, False, number % 10 == 9))
        if number >= 40:
            agent.update()
    actor = agent.actor(explore=False)
    for _ in range(3):
        action = actor.act(seen)
        assert action == 1 if choices else float(np.asarray(action)[0]) > 0.8


def test_numbers_are_cut_and_their_gradients_pass_the_cut() -> None:
    law = Numbers(1)
    raw = torch.tensor([[0.3, 0.0]], requires_grad=True)
    statistics = law.statistics(raw)
    drawn = law.sample(statistics, torch.tensor([[9.0]]))
    drawn.sum().backward()
    assert float(drawn.detach()) == 1.0 and raw.grad is not None and float(raw.grad[0, 0]) > 0
    normal = torch.distributions.Normal(*statistics.detach()[0])
    assert float(law.entropy(statistics.detach())) == pytest.approx(float(normal.entropy()))


def test_choices_agree_with_torchs_categorical() -> None:
    law = Choices(3)
    statistics = law.statistics(torch.tensor([0.5, -1.0, 2.0]))
    categorical = torch.distributions.Categorical(logits=statistics)
    assert float(law.entropy(statistics)) == pytest.approx(float(categorical.entropy()))
    assert float(law.log_prob(statistics, torch.eye(3)[2])) == pytest.approx(float(categorical.log_prob(torch.tensor(2))))


def test_the_shipped_settings_are_read() -> None:
    assert isinstance(settings_of("dreamer"), DreamerSettings)


def exported(tmp_path: Path, **options: object) -> tuple[DreamerAgent, Bundle]:
    """An agent that has learned a little in the pendulum's environment, and its bundle."""
    env = make_environment("forerun/pendulum-swingup-v0", DreamerAgent, options)
    agent = tiny(env.spec, begin_at=15)
    seen = env.reset(0)
    actor = agent.actor(explore=True)
    for _ in range(30):
        action = actor.act(seen)
        outcome = env.step(action)
        agent.observe(Step(seen, action, outcome.reward, outcome.observation, False, False))
        agent.update()
        seen = outcome.observation
    env.close()
    about = About(
        env=env.spec.id,
        options=options,
        imports=(),
        agent="dreamer",
        settings=agent.settings.model_dump(mode="json"),
        seed=0,
        eval_every=1,
        eval_episodes=1,
    )
    return agent, load(export_agent(tmp_path / "bundle", agent, about))


def test_a_bundle_of_it_acts_as_it_does_over_a_whole_sequence(tmp_path: Path) -> None:
    agent, bundle = exported(tmp_path)
    shapes = {name: shape for name, (shape, _) in bundle.manifest.carry.items()}
    assert shapes == {"carry_h": (1, 16), "carry_z": (1, 12), "carry_action": (1, 1)} and bundle.picture_shape is None
    actor, carry, draw = agent.actor(explore=False), bundle.start(), np.random.default_rng(1)
    for _ in range(30):
        state = draw.normal(0.0, 2.0, 2).astype(np.float32)
        decision = bundle.act([[*state, 0.0]], [], [], 0.02, 0.0, carry)
        wanted = np.asarray(actor.act(state)) * bundle.manifest.command_upper
        assert decision.plan[0] == pytest.approx(wanted, abs=1e-4)
        carry = decision.carry


def test_a_bundle_of_it_acts_by_pictures(tmp_path: Path) -> None:
    agent, bundle = exported(tmp_path, camera="front")
    actor, carry, draw = agent.actor(explore=False), bundle.start(), np.random.default_rng(1)
    assert bundle.picture_shape == (32, 32, 3)
    for _ in range(20):
        picture = draw.integers(0, 256, (32, 32, 3), np.uint8)
        decision = bundle.act(np.zeros((1, 3)), [], [], 0.02, 0.0, carry, picture)
        wanted = np.asarray(actor.act(picture)) * bundle.manifest.command_upper
        assert decision.plan[0] == pytest.approx(wanted, abs=1e-4)
        carry = decision.carry
    for wrong, message in ((None, "was given none"), (np.zeros((8, 8, 3)), r"one of shape \[8, 8, 3\]")):
        with pytest.raises(BundleError, match=message):
            bundle.act(np.zeros((1, 3)), [], [], 0.02, 0.0, carry, wrong)


def test_choices_are_not_exported() -> None:
    with pytest.raises(InputError, match="choices"):
        tiny(vectors(3)).policy_graph()
