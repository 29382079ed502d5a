"""Soft actor-critic: its derivatives are right, it finds a known best policy, looks beyond time limits, and resumes exactly."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from tests.support import point
from torch.distributions import Independent, Normal, TanhTransform, TransformedDistribution

from forerun_models.agents.base import EnvSpec
from forerun_models.agents.registry import make_agent, settings_of
from forerun_models.agents.sac.cloning import clone
from forerun_models.agents.sac.gaussian import draw, draw_gradient
from forerun_models.agents.sac.learner import SacLearner
from forerun_models.agents.sac.settings import SacLearning, SacSettings
from forerun_models.agents.sac.stack import Stack

SMALL = SacSettings(hidden=(32, 32), batch=64, learning_rate=3e-3, discount=0.9, target_rate=0.02, warm_up=50, capacity=5000)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch_of(count, observations, actions, draws, terminated=0.0):
    return {
        "observation": torch.randn(count, observations, generator=draws),
        "action": torch.rand(count, actions, generator=draws) * 2 - 1,
        "reward": torch.randn(count, generator=draws),
        "following": torch.randn(count, observations, generator=draws),
        "terminated": torch.full((count,), terminated),
    }


def by_modules(stack, inputs):
    """The same perceptrons with automatic derivatives: outputs, and the parameters that they depend on."""
    weights = [weight.clone().requires_grad_() for weight in stack.weights]
    biases = [bias.clone().requires_grad_() for bias in stack.biases]
    hidden = inputs
    for number, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        hidden = hidden @ weight + bias
        if number < len(weights) - 1:
            normal = torch.nn.functional.layer_norm(hidden, hidden.shape[-1:]) if stack.normalised else hidden
            hidden = torch.relu(normal)
    return hidden, [*weights, *biases]


@pytest.mark.parametrize("normalised", [False, True])
def test_the_derivatives_of_a_stack_are_the_automatic_ones(normalised: bool):
    draws = generator()
    stack = Stack(2, (3, 16, 8, 2), draws, normalised)
    inputs = torch.randn(2, 20, 3, generator=draws, requires_grad=True)
    outward = torch.randn(2, 20, 2, generator=draws)
    expected, leaves = by_modules(stack, inputs)
    expected.backward(outward)
    outputs, given = stack.forward(inputs.detach())
    by_input = stack.input_gradient(outward, given)
    assert stack.parameters.grad.abs().max() == 0, "nobody asked for the parameters' derivatives"
    stack.backward(outward, given)
    torch.testing.assert_close(outputs, expected.detach())
    torch.testing.assert_close(by_input, inputs.grad)
    found = [grad for pair in zip(stack._weight_grads, stack._bias_grads, strict=True) for grad in pair]
    layers = len(stack.weights)
    wanted = [leaves[part * layers + layer].grad for layer in range(layers) for part in (0, 1)]
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_squashed_gaussian_is_that_of_torch_distributions():
    draws = generator()
    output = torch.empty(50, 4, dtype=torch.float64).uniform_(-1.5, 1.5, generator=draws).requires_grad_()
    noise = torch.randn(50, 2, generator=draws, dtype=torch.float64)
    mean, log_std = output.chunk(2, dim=-1)
    squashed = TransformedDistribution(Independent(Normal(mean, log_std.exp()), 1), [TanhTransform(cache_size=1)])
    before = mean + log_std.exp() * noise
    action = torch.tanh(before)
    density = squashed.log_prob(squashed.transforms[0](before))
    drawn = draw(output.detach(), noise)
    torch.testing.assert_close(drawn.action, action.detach())
    torch.testing.assert_close(drawn.log_density[:, 0], density.detach())
    by_action, by_density = torch.randn(50, 2, generator=draws, dtype=torch.float64), torch.full((50, 1), 0.3).double()
    ((by_action * action).sum() + (by_density[:, 0] * density).sum()).backward()
    torch.testing.assert_close(draw_gradient(drawn, by_action, by_density), output.grad)


def test_a_cut_standard_deviation_has_no_slope():
    drawn = draw(torch.tensor([[0.1, 5.0], [0.1, -30.0], [0.1, 0.0]]), torch.ones(3, 1))
    slopes = draw_gradient(drawn, torch.ones(3, 1), torch.ones(3, 1))[:, 1]
    assert slopes[:2].tolist() == [0.0, 0.0]
    assert slopes[2] != 0
    assert torch.isfinite(drawn.log_density).all()


def automatic_update(learner, batch):
    """Gradients of the three losses as they stand in the paper, at the learner's weights and with the noise that it will draw."""
    settings, count = learner.settings, len(batch["reward"])
    noise = torch.randn(2 * count, learner.action_size, generator=generator().set_state(learner.generator.get_state()))
    alpha = learner.log_alpha.exp()

    def policy(observation, noise):
        output, leaves = by_modules(learner.policy, observation[None])
        mean, log_std = output[0].chunk(2, dim=-1)
        before = mean + log_std.exp() * noise
        density = Normal(mean, log_std.exp()).log_prob(before) - torch.log(1 - torch.tanh(before) ** 2)
        return torch.tanh(before), density.sum(dim=-1), leaves

    def critics(stack, observation, action):
        values, leaves = by_modules(stack, torch.cat([observation, action], dim=1).expand(2, -1, -1))
        return values[..., 0], leaves

    with torch.no_grad():
        following, density, _ = policy(batch["following"], noise[:count])
        slow = critics(learner.targets, batch["following"], following)[0].amin(dim=0) - alpha * density
        discount = batch.get("discount", settings.discount)
        wanted = batch["reward"] + discount * (1 - batch["terminated"]) * slow
    values, critic_leaves = critics(learner.critics, batch["observation"], batch["action"])
    weight = batch.get("weight", torch.ones(count))
    (0.5 * (weight * (values - wanted) ** 2).mean(dim=1).sum()).backward()
    action, density, policy_leaves = policy(batch["observation"], noise[count:])

    def improve():
        """After the critics' step."""
        values, _ = critics(learner.critics, batch["observation"], action)
        least = values.amin(dim=0)
        loss = (alpha * density - least).mean()
        if settings.cloning:
            real = batch.get("real", torch.ones(count))
            away = (action - batch["action"]).square().sum(dim=-1)
            loss = loss + settings.cloning * least.detach().abs().mean() * (real * away).sum() / real.sum()
        loss.backward()
        return [leaf.grad for leaf in policy_leaves], -(density.detach().mean() + learner.target_entropy)

    return [leaf.grad for leaf in critic_leaves], improve


@pytest.mark.parametrize("weighted", [False, True])
def test_an_update_follows_the_gradients_of_the_papers_losses(weighted):
    learner = SacLearner(3, 2, SacLearning(hidden=(24, 16), cloning=0.3 if weighted else 0.0), seed=1)
    batch = batch_of(32, 3, 2, generator(2))
    batch["terminated"][::5] = 1.0
    if weighted:
        batch["weight"] = torch.rand(32, generator=generator(3))
        batch["discount"] = torch.rand(32, generator=generator(4))
        batch["real"] = (torch.arange(32) % 3 == 0).float()
    by_critics, improve = automatic_update(learner, batch)
    learner.update(batch)
    by_policy, by_temperature = improve()
    for stack, wanted in ((learner.critics, by_critics), (learner.policy, by_policy)):
        for ours, theirs in zip([*stack._weight_grads, *stack._bias_grads], wanted, strict=True):
            torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=1e-4)
    torch.testing.assert_close(learner.log_alpha.grad[0], by_temperature, atol=1e-5, rtol=1e-4)


def test_finds_the_best_policy_of_a_known_problem():
    agent = make_agent("sac", point.SPEC, SMALL, seed=0)
    point.learn(agent, 100)
    actor = agent.actor(explore=False)
    learned = point.returns(lambda x: actor.act(np.array([x], np.float32))[0])
    best = point.returns(point.best_action)
    assert (learned > best - 0.15).all(), f"{learned} against {best}"


@pytest.mark.parametrize(("terminated", "worth"), [(0.0, 10.0), (1.0, 1.0)])
def test_an_episode_that_ran_out_of_time_is_worth_what_would_have_followed(terminated, worth):
    """A reward of 1 for ever is worth 10 at a discount of 0.9; where each step ends the episode, 1."""
    learner = SacLearner(1, 1, SMALL.model_copy(update={"initial_temperature": 1e-6, "target_rate": 0.1}), seed=0)
    draws = generator()
    for _ in range(400):
        batch = batch_of(32, 1, 1, draws, terminated)
        learner.update(batch | {"reward": torch.ones(32), "truncated": torch.ones(32)})
    batch = batch_of(32, 1, 1, draws)
    assert learner.value(batch["observation"], batch["action"]).mean() == pytest.approx(worth, rel=0.1)


def test_the_temperature_leads_the_entropy_to_its_target():
    learner = SacLearner(1, 1, SMALL.model_copy(update={"target_entropy": 0.2, "learning_rate": 1e-2}), seed=0)
    draws = generator()
    entropies = []
    for _ in range(500):
        batch = batch_of(64, 1, 1, draws, terminated=1.0)
        entropies.append(learner.update(batch | {"reward": -(batch["action"][:, 0] ** 2)}, measure=True)["entropy"])
    assert entropies[0] > 0.5
    assert np.mean(entropies[-100:]) == pytest.approx(0.2, abs=0.05)


def test_goes_on_after_a_checkpoint_as_without_one():
    whole, first = (make_agent("sac", point.SPEC, SMALL, seed=3) for _ in range(2))
    point.learn(first, 10)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = make_agent("sac", point.SPEC, SMALL, seed=99)
    second.load_state_dict(torch.load(file, weights_only=True))
    point.learn(second, 5, first=10)
    point.learn(whole, 15)
    torch.testing.assert_close(second.learner.policy.parameters, whole.learner.policy.parameters, rtol=0, atol=0)
    torch.testing.assert_close(second.learner.targets.parameters, whole.learner.targets.parameters, rtol=0, atol=0)


def test_a_state_that_was_saved_does_not_change_with_the_agent():
    agent = make_agent("sac", point.SPEC, SMALL, seed=0)
    point.learn(agent, 6)
    state = agent.state_dict()
    before = state["learner"]["policy"].clone()
    other = make_agent("sac", point.SPEC, SMALL, seed=1)
    other.load_state_dict(state)
    point.learn(other, 2, first=6)
    torch.testing.assert_close(state["learner"]["policy"], before, rtol=0, atol=0)


def test_explores_blindly_at_first_and_repeatably():
    agent = make_agent("sac", point.SPEC, SMALL, seed=0)
    actor = agent.actor(explore=True)
    actor.reset(5)
    actions = [actor.act(np.zeros(1, np.float32))[0] for _ in range(200)]
    assert min(actions) < -0.9
    assert max(actions) > 0.9
    actor.reset(5)
    assert actions[:3] == [actor.act(np.zeros(1, np.float32))[0] for _ in range(3)]
    steady = agent.actor(explore=False)
    assert steady.act(np.zeros(1, np.float32)) == steady.act(np.zeros(1, np.float32))


def test_cloning_does_what_the_data_did():
    agent, draws = make_agent("sac", EnvSpec("two", Box(-1, 1, (2,), np.float32), 1), SMALL, seed=0), generator()
    seen = torch.rand(400, 2, generator=draws) * 2 - 1
    clone(agent.learner, seen, (0.5 * seen[:, :1] - 0.3 * seen[:, 1:]), 400)
    actor = agent.actor(explore=False)
    assert actor.act(np.array([0.8, 0.5], np.float32))[0] == pytest.approx(0.25, abs=0.05)
    assert actor.act(np.array([-0.6, 0.4], np.float32))[0] == pytest.approx(-0.42, abs=0.05)


def test_its_policy_graph_does_what_it_does():
    agent = make_agent("sac", EnvSpec("three", Box(-1, 1, (3,), np.float32), 2), SMALL, seed=0)
    graph, actor = agent.policy_graph(), agent.actor(explore=False)
    for row in np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32):
        (action,) = graph(torch.from_numpy(row)[None])
        np.testing.assert_allclose(action[0].detach().numpy(), actor.act(row), atol=1e-6)


def test_the_shipped_settings_are_read():
    settings = settings_of("sac")
    assert isinstance(settings, SacSettings)
    assert settings.hidden == (256, 256)
