"""The parts of a latent world model, each against what is known of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Normal, kl_divergence

from forerun_models.latent.blocks import symexp, symlog
from forerun_models.latent.codecs import ImageDecoder, ImageEncoder
from forerun_models.latent.latents import CategoricalLatent, GaussianLatent, gaussian_log_prob
from forerun_models.latent.returns import ReturnScale, lambda_returns
from forerun_models.latent.rssm import RSSM, State
from forerun_models.latent.settings import LatentSettings
from forerun_models.latent.twohot import TwoHot
from forerun_models.latent.world_model import Sequences, WorldModel
from forerun_sim.errors import InputError

SMALL = {"groups": 3, "classes": 4, "deter": 16, "hidden": 16, "bins": 21}


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_runs(count: int, length: int, size: int, actions: int, seed: int = 0) -> Sequences:
    """Runs of noise, an episode beginning in the middle of each."""
    draw, first = random(seed), torch.zeros(count, length, dtype=torch.bool)
    first[:, 0] = first[:, length // 2] = True
    return Sequences(
        torch.randn(count, length, size, generator=draw),
        torch.randn(count, length, actions, generator=draw),
        torch.randn(count, length, generator=draw),
        torch.zeros(count, length, dtype=torch.bool),
        first,
    )


@pytest.mark.parametrize("seed", range(5))
def test_two_hot_codes_give_back_any_number_within_the_bins(seed: int) -> None:
    code = TwoHot()
    magnitude = 10.0 ** np.random.default_rng(seed).uniform(-6, 8, 400)
    x = torch.tensor(np.concatenate([magnitude, -magnitude, [0.0, 1.0, -1.0]]), dtype=torch.float32)
    weights = code.encode(x)
    assert torch.allclose(code.mean(weights), x, rtol=1e-4, atol=1e-6)
    assert int((weights > 0).sum(-1).max()) <= 2 and torch.allclose(weights.sum(-1), torch.ones(len(x)))


def test_two_hot_cuts_what_is_beyond_and_is_silent_at_first() -> None:
    code = TwoHot(bins=11, span=2.0)
    outermost = float(symexp(torch.tensor(2.0)))
    assert code.mean(code.encode(torch.tensor([1e9, -1e9]))).tolist() == pytest.approx([outermost, -outermost])
    assert float(TwoHot().decode(torch.zeros(255))) == 0.0
    with pytest.raises(ValueError, match="odd"):
        TwoHot(bins=10)


def test_two_hot_logits_learn_the_mean_of_what_varies() -> None:
    code, drawn = TwoHot(bins=41, span=6.0), torch.tensor([-1.0, 3.0, 40.0, 2.0])
    logits = torch.zeros(41, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.5)
    for _ in range(100):
        optimizer.zero_grad()
        code.loss(logits.expand(4, -1), drawn).mean().backward()
        optimizer.step()
    assert float(code.decode(logits.detach())) == pytest.approx(float(drawn.mean()), rel=0.02)


def test_symlog_and_symexp_undo_each_other() -> None:
    x = torch.tensor([-3e4, -1.0, -1e-3, 0.0, 0.5, 7e5])
    assert torch.allclose(symexp(symlog(x)), x, rtol=1e-4)


def test_lambda_returns_of_a_hand_computed_case() -> None:
    reward, value = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([9.0, 10.0, 20.0, 30.0])
    discount = torch.tensor([0.5, 0.5, 0.0])  # the episode ends with the third step
    # R_2 = 3;  R_1 = 2 + 0.5 (0.2 * 20 + 0.8 * 3) = 5.2;  R_0 = 1 + 0.5 (0.2 * 10 + 0.8 * 5.2) = 4.08
    assert lambda_returns(reward, discount, value, 0.8).tolist() == pytest.approx([4.08, 5.2, 3.0])
    assert lambda_returns(reward, discount, value, 0.0).tolist() == pytest.approx([6.0, 12.0, 3.0])
    assert lambda_returns(reward, torch.full((3,), 0.5), value, 1.0).tolist() == pytest.approx([6.5, 11.0, 18.0])


def test_returns_are_scaled_by_their_percentiles_and_small_ones_are_left() -> None:
    scale = ReturnScale()
    assert scale.update(torch.linspace(0.0, 100.0, 101)) == pytest.approx(90.0)
    again = ReturnScale()
    again.load_state_dict(scale.state_dict())
    assert again.update(torch.zeros(5)) == scale.update(torch.zeros(5)) == pytest.approx(44.8, abs=0.1)
    assert ReturnScale().update(torch.linspace(0.0, 0.1, 9)) == 1.0


def test_categorical_latents_agree_with_their_definition() -> None:
    latent, raw = CategoricalLatent(2, 3, unimix=0.1), torch.tensor([[0.3, -1.0, 2.0, 50.0, 0.0, -50.0], [0.0] * 6])
    p = latent.statistics(raw)
    grouped = p.exp().unflatten(-1, (2, 3))
    assert torch.allclose(grouped, 0.9 * torch.softmax(raw.unflatten(-1, (2, 3)), -1) + 0.1 / 3)
    expected = kl_divergence(Categorical(grouped[0]), Categorical(grouped[1])).sum()
    assert float(latent.kl(p[0], p[1])) == pytest.approx(float(expected), rel=1e-5)
    drawn = latent.sample(p[:1].expand(20000, -1), latent.noise((20000,), random()))
    assert torch.allclose(drawn.mean(0), grouped[0].flatten(), atol=0.02)
    assert torch.equal(drawn.round().unflatten(-1, (2, 3)).sum(-1), torch.ones(20000, 2))


def test_gradients_pass_straight_through_categorical_draws() -> None:
    latent = CategoricalLatent(1, 3, unimix=0.0)
    raw = torch.tensor([0.2, 0.1, -0.4], requires_grad=True)
    weights = torch.tensor([1.0, 2.0, 3.0])
    (latent.sample(latent.statistics(raw), latent.noise((), random())) * weights).sum().backward()
    through = raw.grad
    raw.grad = None
    (torch.softmax(raw, -1) * weights).sum().backward()
    assert through is not None and raw.grad is not None and torch.allclose(through, raw.grad, atol=1e-6)


def test_gaussian_latents_agree_with_their_definition() -> None:
    latent, raw = GaussianLatent(2, min_std=0.1), torch.tensor([[0.5, -1.0, 0.3, -9.0], [0.0, 0.0, 1.0, 1.0]])
    p = latent.statistics(raw)
    normals = [Normal(*one.chunk(2)) for one in p]
    assert float(p[0, 3]) > 0.1
    assert float(latent.kl(p[0], p[1])) == pytest.approx(float(kl_divergence(*normals).sum()), rel=1e-5)
    expected = Normal(p[0, :2], 0.3).log_prob(p[1, :2]).sum()
    assert float(gaussian_log_prob(p[1, :2], p[0, :2], 0.3)) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("latent", [CategoricalLatent(3, 4), GaussianLatent(5)], ids=["categorical", "gaussian"])
def test_a_sequence_at_once_is_the_same_as_step_by_step(latent: CategoricalLatent | GaussianLatent) -> None:
    model, runs = RSSM(latent, embedding=6, actions=2, deter=8, hidden=16), some_runs(3, 6, 6, 2)
    noise = latent.noise((3, 6), random(1))
    filtered = model.observe(runs.observation, runs.action, runs.first, noise)
    state = model.start(3)
    for step in range(6):
        action = runs.action[:, step]
        if runs.first[0, step]:
            state, action = model.start(3), torch.zeros(3, 2)
        state = model.step(state, action, runs.observation[:, step], noise[:, step])
        assert torch.allclose(filtered.states.h[:, step], state.h, atol=1e-5)
        assert torch.allclose(filtered.states.z[:, step], state.z, atol=1e-5)


def test_imagination_follows_the_prior_from_where_it_begins() -> None:
    model = RSSM(GaussianLatent(3), embedding=4, actions=2, deter=8, hidden=16)
    begin = State(torch.randn(5, 8, generator=random(2)), torch.randn(5, 3, generator=random(3)))
    noise = model.latent.noise((5, 4), random(4))
    states, actions = model.imagine(begin, lambda state, step: state.h[:, :2] * step, noise)
    assert torch.equal(states.h[:, 0], begin.h) and torch.equal(states.z[:, 0], begin.z)
    last = State(states.h[:, 2], states.z[:, 2])
    h = model.advance(last, actions[:, 2])
    assert torch.equal(actions[:, 2], last.h[:, :2] * 2) and torch.equal(states.h[:, 3], h)
    assert torch.equal(states.z[:, 3], model.latent.sample(model.prior(h), noise[:, 2]))


def gradients(settings: LatentSettings) -> tuple[float, float]:
    """Norm of the KL's gradient in prior and posterior networks: all other terms count nothing."""
    model, runs = WorldModel((3,), 1, settings, random()), some_runs(4, 5, 3, 1)
    loss, terms = model.loss(runs, model.observe(runs, random(1)))
    others = settings.model_copy(update={"dynamics_scale": 0.0, "representation_scale": 0.0})
    model.settings = others
    rest, _ = model.loss(runs, model.observe(runs, random(1)))
    assert float(terms["kl"]) > 0
    found = []
    for weight in (model.rssm.prior_net[-1].weight, model.rssm.posterior_head.weight):
        (gradient,) = torch.autograd.grad(loss - rest, weight, retain_graph=True, allow_unused=True)  # type: ignore[arg-type]
        found.append(0.0 if gradient is None else float(gradient.norm()))
    return found[0], found[1]


def test_the_kl_is_balanced_and_free_below_the_free_nats() -> None:
    settings = LatentSettings.model_validate(SMALL | {"free_nats": 0.0})
    prior, posterior = gradients(settings)
    assert prior > 0 and posterior > 0
    twice = gradients(settings.model_copy(update={"dynamics_scale": 2 * settings.dynamics_scale}))
    assert twice[0] == pytest.approx(2 * prior, rel=1e-3)
    assert gradients(settings.model_copy(update={"free_nats": 1e3})) == pytest.approx((0.0, 0.0), abs=1e-6)


def test_what_led_to_an_episodes_first_observation_means_nothing() -> None:
    model, runs = WorldModel((3,), 1, LatentSettings.model_validate(SMALL), random()), some_runs(2, 6, 3, 1)
    other = runs._replace(
        action=torch.where(runs.first[..., None], 7.0, runs.action), reward=torch.where(runs.first, -9.0, runs.reward)
    )
    losses = [float(model.loss(each, model.observe(each, random(1)))[0].detach()) for each in (runs, other)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("side", [16, 64])
def test_pictures_are_encoded_and_drawn(side: int) -> None:
    encoder, decoder = ImageEncoder((side, side, 3), 2), ImageDecoder(10, (side, side, 3), 2, 1.0)
    picture = torch.randint(0, 256, (2, 3, side, side, 3), generator=random(), dtype=torch.uint8)
    assert encoder(picture).shape == (2, 3, encoder.size)
    drawn = decoder(torch.randn(2, 3, 10))
    assert drawn.shape == picture.shape and float(drawn.min()) >= 0 and float(drawn.max()) <= 255
    assert decoder.log_prob(torch.randn(2, 3, 10), picture).shape == (2, 3)


@pytest.mark.parametrize("shape", [(48, 48, 3), (64, 32, 3), (4, 4, 3)])
def test_pictures_that_cannot_be_halved_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="8, 16, 32, 64"):
        ImageEncoder(shape, 2)


def test_the_same_seed_gives_the_same_model() -> None:
    one, same, other = (WorldModel((3,), 1, LatentSettings.model_validate(SMALL), random(seed)) for seed in (3, 3, 4))
    weights = [torch.cat([p.flatten() for p in model.parameters()]) for model in (one, same, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert float(one.reward(torch.randn(4, one.features)).abs().max()) == 0.0
