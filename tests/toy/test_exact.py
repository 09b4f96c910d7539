"""The exact loss of a narrow SAE over a world's few inputs: SAELens's own loss, all its minima, and where an SAE sits among them."""

from __future__ import annotations

import math
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from known_saes import orthonormal_features

from hedgebench.toy import exact_search
from hedgebench.toy.exact import Minimum, minima, nearest
from hedgebench.toy.exact_loss import Weights
from hedgebench.toy.margins import parent_margins, principal_direction
from hedgebench.toy.world_config import WorldConfig
from hedgebench.toy.worlds import Patterns, World, make_world
from hedgebench.types import BadInput, CannotMeasure

PAIRS = {"independent": (0.2, 0.2), "hierarchical": (0.2, 0.0), "correlated": (0.2, 0.1), "anticorrelated": (0.1, 0.2)}


@cache
def pair(name: str) -> World:
    """Two orthonormal features in 50 dimensions; f0 fires with .25, f1 with these, given that f0 fires and that it does not."""
    given_f0, otherwise = PAIRS[name]
    return make_world(WorldConfig(name, 50, (0.25, given_f0), parents={1: 0}, otherwise={1: otherwise}))


@cache
def pair_minima(name: str, loss: str = "mse", l1: float = 0.0) -> tuple[Minimum, ...]:
    return tuple(minima(pair(name).patterns(), loss, l1))


def patterns_of(firings: Any, probabilities: Any, features: torch.Tensor | None = None) -> Patterns:
    strengths = torch.tensor(firings, dtype=torch.float32)
    features = torch.eye(strengths.shape[1]) if features is None else features
    return Patterns(strengths, strengths @ features, torch.tensor(probabilities, dtype=torch.float64))


def two(p00: float, p10: float, p01: float, p11: float) -> Patterns:
    return patterns_of([[0, 0], [1, 0], [0, 1], [1, 1]], [p00, p10, p01, p11])


def weights_of(minimum: Minimum) -> tuple[torch.Tensor, ...]:
    return minimum.W_enc, minimum.b_enc, minimum.W_dec, minimum.b_dec


def loss_of(patterns: Patterns, loss: str, l1: float, w_enc: Any, b_enc: Any, w_dec: Any, b_dec: Any) -> torch.Tensor:
    """The expected loss of SAEs of shape [...], written down anew in torch."""
    x = patterns.activations.double()
    activations = ((x - b_dec[..., None, :]) @ w_enc + b_enc[..., None, :]).relu()
    errors = (activations @ w_dec + b_dec[..., None, :] - x).square().sum(-1)
    # The gradient of a norm at zero is taken to be zero.
    errors = errors if loss == "mse" else torch.where(errors > 1e-24, errors, 0).clamp(min=1e-30).sqrt()
    return (errors + l1 * (activations * w_dec.norm(dim=-1)[..., None, :]).sum(-1)) @ patterns.probabilities


def slide(patterns: Patterns, loss: str, l1: float, start: list[torch.Tensor], steps: int, rate: float) -> torch.Tensor:
    """Gradient descent with momentum, of many SAEs [n, ...] at once, by steps that shrink to nothing; the loss of each at the end."""
    parts = [part.clone().requires_grad_() for part in start]
    speeds = [torch.zeros_like(part) for part in parts]
    for step in range(steps):
        grads = torch.autograd.grad(loss_of(patterns, loss, l1, *parts).sum(), parts)
        norms = sum(grad.square().flatten(1).sum(1) for grad in grads).sqrt().clamp(min=1)  # no start is thrown off
        with torch.no_grad():
            for part, speed, grad in zip(parts, speeds, grads, strict=True):
                speed.mul_(0.9).sub_(grad / norms.view(-1, *[1] * (grad.ndim - 1)))
                part += rate * (1 - step / steps) * speed
    start[:] = [part.detach() for part in parts]
    return loss_of(patterns, loss, l1, *start)


def random_saes(n: int, d: int, width: int, seed: int) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    shapes = (n, d, width), (n, width), (n, width, d), (n, d)
    scales = 1.0, 0.5, 0.7, 0.3
    return [torch.randn(s, generator=rng, dtype=torch.float64) * k for s, k in zip(shapes, scales, strict=True)]


@pytest.mark.parametrize("l1", [0.0, 0.3])
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31))
def test_the_exact_loss_is_the_mean_of_saelens_own_over_the_inputs(l1, seed):
    from sae_lens.saes.sae import TrainStepInput
    from sae_lens.saes.standard_sae import StandardTrainingSAE, StandardTrainingSAEConfig

    patterns = pair("correlated").patterns()
    parts = [part[0] for part in random_saes(1, 50, 3, seed)]
    sae = StandardTrainingSAE(StandardTrainingSAEConfig(d_in=50, d_sae=3, l1_coefficient=l1, dtype="float64"))
    sae.load_state_dict(dict(zip(("W_enc", "b_enc", "W_dec", "b_dec"), parts, strict=True)))
    losses = []
    for x in patterns.activations.double():
        step = TrainStepInput(x[None], {"l1": l1}, None, 0, False)
        losses.append(sae.training_forward_pass(step).loss.item())
    problem = minima(patterns, "mse", l1, starts=1)[0].problem.with_room_for(torch.cat([parts[2], parts[3][None]]))
    exact = problem.exact(problem.weights(*parts)) * problem.loss_scale
    assert exact == pytest.approx(float(patterns.probabilities @ torch.tensor(losses, dtype=torch.float64)), rel=1e-6)


@pytest.mark.parametrize("loss", ["mse", "l2"])
@pytest.mark.parametrize("l1", [0.0, 0.3])
def test_the_exact_loss_is_the_one_written_down_anew(loss, l1):
    patterns = two(0.4, 0.3, 0.2, 0.1)
    parts = [part[0] for part in random_saes(1, 2, 3, 0)]
    problem = minima(patterns, loss, l1, starts=1)[0].problem
    exact = problem.exact(problem.weights(*parts)) * problem.loss_scale
    assert exact == pytest.approx(loss_of(patterns, loss, l1, *parts).item())


@pytest.mark.parametrize(
    ("name", "child", "bias", "is_global"),
    [
        ("independent", 0.0, 0.200, True),
        ("hierarchical", 0.243, 0.012, True),
        ("correlated", 0.222, 0.066, True),
        ("correlated", 0.126, 0.093, False),
        ("anticorrelated", -0.350, 0.43, True),
        ("anticorrelated", -0.113, 0.203, False),
    ],
)
def test_the_minima_of_the_rows(name, child, bias, is_global):
    features = pair(name).features
    cosines = [m.decoder_cosines(features)[0] for m in pair_minima(name)]
    (found,) = [
        m
        for m, c in zip(pair_minima(name), cosines, strict=True)
        if c[0] > 0.9 and c[1].item() == pytest.approx(child, abs=6e-4)
    ]
    assert found.b_dec.norm().item() == pytest.approx(bias, abs=2e-3)
    assert found.is_global is is_global
    encoder = found.encoder_cosines(features)[0, 1].item()
    assert math.copysign(1, encoder) == math.copysign(1, child) or child == 0
    assert encoder == pytest.approx(child, abs=0.02)  # hedging is symmetric


def test_the_bias_of_the_independent_row_is_the_firing_probability_along_the_other_feature():
    first = pair_minima("independent")[0]
    assert first.bias_projections(pair("independent").features).tolist() == pytest.approx([0, 0.2], abs=1e-5)
    assert first.activations[:, 0].tolist() == pytest.approx(
        pair("independent").patterns().firings[:, 0].tolist(), abs=1e-5
    )


@pytest.mark.parametrize("name", PAIRS)
def test_under_l2_the_perfect_latent_is_the_global_minimum_of_every_row(name):
    first = pair_minima(name, "l2")[0]
    features = pair(name).features
    assert first.is_global
    assert first.decoder_cosines(features)[0].tolist() == pytest.approx([1, 0], abs=1e-5)
    assert first.b_dec.norm().item() == pytest.approx(0, abs=1e-5)
    assert first.loss == pytest.approx(
        float(pair(name).probabilities[1]), abs=1e-6
    )  # what is left is the other feature


@pytest.mark.parametrize(
    ("name", "loss", "l1"),
    [*product(PAIRS, ["mse"], [0.0, 2e-2]), ("hierarchical", "l2", 0.0), ("anticorrelated", "l2", 2e-2)],
)
def test_nothing_near_a_minimum_is_lower_nor_does_gradient_descent_find_a_way_down(name, loss, l1):
    found, patterns, features = pair_minima(name, loss, l1), pair(name).patterns(), pair(name).features.double()
    plane = Patterns(patterns.firings, patterns.activations.double() @ features.T, patterns.probabilities)
    x_enc, b_enc, x_dec, x_bias = (torch.stack(part) for part in zip(*map(weights_of, found), strict=True))
    parts = features @ x_enc, b_enc, x_dec @ features.T, x_bias @ features.T
    losses = torch.tensor([minimum.loss for minimum in found], dtype=torch.float64)
    torch.testing.assert_close(loss_of(plane, loss, l1, *parts), losses, atol=1e-6, rtol=0)
    rng, n = torch.Generator().manual_seed(0), 100
    for radius in (1e-4, 1e-3, 3e-3):
        near = [torch.randn((n, *part.shape), generator=rng, dtype=torch.float64) * radius + part for part in parts]
        assert (loss_of(plane, loss, l1, *near) > losses - 2e-6).all()
    near = [part.flatten(0, 1) for part in near]
    slid = slide(plane, loss, l1, near, 300, 0.02 if loss == "mse" else 5e-4)
    assert (slid.view(n, -1) > losses - 1e-5).all()


@pytest.mark.parametrize("name", ["independent", "anticorrelated"])
def test_gradient_descent_from_anywhere_ends_in_a_listed_minimum(name):
    l1 = 2e-2  # without L1, and with little, the valleys are too flat for gradient descent
    patterns, features = pair(name).patterns(), pair(name).features.double()
    plane = Patterns(patterns.firings, patterns.activations.double() @ features.T, patterns.probabilities)
    found = minima(plane, "mse", l1)
    ends = random_saes(150, 2, 1, seed=1)
    slide(plane, "mse", l1, ends, 3000, 0.1)
    near = [nearest(found, *parts) for parts in zip(*ends, strict=True)]
    assert np.mean([end.distance < 0.02 for end in near]) > 0.95
    assert max(abs(end.excess) for end in near) < 2e-3  # the others are still on their way down a shallow valley
    assert len({id(end.minimum) for end in near}) >= len(found) - 2  # and nearly all are reached


def test_a_descent_crosses_the_borders_where_a_latent_starts_or_stops_to_fire():
    exact = pair_minima("correlated", "mse", 2e-2)[0].problem.exact
    rng, lower = np.random.default_rng(0), 0
    for _ in range(40):
        weights = Weights(*(rng.normal(size=shape) for shape in ((2, 1), (1,), (1, 2), (2,))))
        settled = exact.settle(weights)
        assert ((exact.reads(settled) > 1e-6) <= (exact.reads(weights) > 0)).all()  # it stays on its side
        end = exact.descend(settled)
        assert exact(end) <= exact(settled)
        lower += exact(end) < exact(settled) - 1e-4
    assert lower >= 3


def test_a_search_that_only_ever_starts_on_a_saddle_leaves_it(monkeypatch):
    """On the second principal axis, firing on every input, all slopes are zero."""
    exact = pair_minima("correlated")[0].problem.exact
    mean = exact.probabilities @ exact.inputs
    centred = exact.inputs - mean
    second = np.linalg.eigh((centred * exact.probabilities[:, None]).T @ centred)[1][:, 0]
    saddle = Weights(second[:, None], np.array([3.0]), second[None], mean - (mean @ second + 3.0) * second)
    stays = exact.descend(exact.settle(saddle))
    monkeypatch.setattr(exact_search, "_start", lambda *_: saddle)
    ((found, starts),) = exact_search.search(exact, width=1, starts=3, seed=0)
    assert starts == 3
    assert exact(found) < exact(stays) - 0.1
    assert exact(found) == pytest.approx(
        pair_minima("correlated")[0].loss / pair_minima("correlated")[0].problem.loss_scale
    )


@pytest.mark.parametrize("name", PAIRS)
def test_no_encoder_on_a_fine_grid_does_better_than_the_global_minimum(name):
    """For a given encoder the best decoder and bias are a linear regression: only the encoder's direction needs a grid."""
    patterns = pair(name).patterns()
    x, q = patterns.firings.double().numpy(), patterns.probabilities.numpy()
    turn, tilt = np.meshgrid(np.linspace(0, 2 * np.pi, 181), np.linspace(0, np.pi, 91))
    encoders = np.stack([np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn), np.cos(tilt)], -1).reshape(-1, 3)
    activations = np.maximum(encoders @ np.hstack([x, np.ones((len(x), 1))]).T, 0)
    centred, middle = activations - (activations @ q)[:, None], x - q @ x
    variance = centred**2 @ q
    explained = np.square((centred * q) @ middle).sum(1) / np.where(variance > 1e-12, variance, np.inf)
    losses = q @ (middle**2).sum(1) - explained
    best = pair_minima(name)[0].loss
    assert best - 1e-6 < losses.min() < best + 1e-3


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**31))
def test_without_l1_the_global_minimum_of_mse_is_the_first_principal_axis_in_any_world(seed):
    rng = np.random.default_rng(seed)
    firings = np.unique((rng.random((6, 3)) < 0.5) * rng.uniform(0.5, 1.5, 3), axis=0)
    probabilities = rng.dirichlet(np.full(len(firings), 3.0))
    spread = np.linalg.eigvalsh(np.cov(firings.T, aweights=probabilities, ddof=0))
    assume(len(firings) > 2 and spread[2] > 1.2 * spread[1])
    first = minima(patterns_of(firings, probabilities), starts=24)[0]
    assert first.loss == pytest.approx(spread[:2].sum(), abs=1e-5)
    axis = torch.from_numpy(principal_direction(firings, probabilities))
    assert abs(float(first.W_dec[0] @ axis)) == pytest.approx(1, abs=1e-4)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(0.05, 1), min_size=4, max_size=4))
def test_the_perfect_latent_is_a_minimum_of_l2_exactly_where_both_margins_are_positive(weights):
    p = np.array(weights) / sum(weights)
    margin = min(parent_margins([[0, 0], [1, 0], [0, 1], [1, 1]], p))
    assume(abs(margin) > 0.02)
    problem = minima(two(*p), "l2", starts=1)[0].problem
    exact, rng = problem.exact, np.random.default_rng(0)
    perfect = problem.weights(torch.tensor([[1.0], [0]]), torch.zeros(1), torch.tensor([[1.0, 0]]), torch.zeros(2))
    if margin > 0:
        near = [[part + 1e-4 * rng.normal(size=part.shape) for part in perfect] for _ in range(3000)]
        assert min(exact(Weights(*parts)) for parts in near) > exact(perfect)
    else:
        nudged = Weights(*(part + 1e-3 * rng.normal(size=part.shape) for part in perfect))
        assert exact(exact.settle(nudged)) < exact(perfect) - 1e-4


@pytest.mark.parametrize("p", [0.1, 0.4, 0.6])
def test_the_bias_hedges_as_in_the_closed_form(p):
    from hedgebench.toy.theory import hedged_bias

    patterns = two(0.5 * (1 - p), 0.5 * (1 - p), 0.5 * p, 0.5 * p)
    for loss in ("mse", "l2"):
        tracks_f0 = [m for m in minima(patterns, loss, starts=24) if m.decoder_cosines(torch.eye(2))[0, 0] > 0.999]
        biases = [
            m.b_dec[1].item()
            for m in tracks_f0
            if torch.allclose(m.activations[:, 0], patterns.firings[:, 0].double(), atol=1e-3)
        ]
        assert biases == pytest.approx([hedged_bias(p, loss)], abs=1e-4)


def test_a_dead_latent_is_a_minimum_with_the_mean_in_the_bias_and_under_much_l1_the_only_one():
    dead = pair_minima("hierarchical")[-1]
    assert dead.activations.abs().max() == 0 and dead.W_dec.abs().max() == 0
    assert dead.bias_projections(pair("hierarchical").features).tolist() == pytest.approx([0.25, 0.05], abs=1e-5)
    (only,) = minima(pair("hierarchical").patterns(), "mse", l1=5.0)
    assert only.is_global and only.loss == pytest.approx(dead.loss)
    assert only.decoder_cosines(pair("hierarchical").features).tolist() == [[0, 0]]


def test_without_a_decoder_bias_it_stays_zero_and_the_loss_is_no_lower():
    free, fixed = pair_minima("correlated"), minima(pair("correlated").patterns(), bias=False)
    assert all(m.b_dec.abs().max() == 0 for m in fixed)
    assert fixed[0].loss > free[0].loss + 1e-4


def test_two_latents_absorb_the_child_under_l1():
    features = pair("hierarchical").features
    first = minima(pair("hierarchical").patterns(), "mse", l1=1e-3, width=2, starts=24)[0]
    child = int(first.decoder_cosines(features)[:, 1].argmax())
    assert first.decoder_cosines(features)[child].tolist() == pytest.approx([0.707, 0.707], abs=2e-3)
    assert first.decoder_cosines(features)[1 - child].tolist() == pytest.approx([1, 0], abs=2e-3)
    assert first.encoder_cosines(features)[1 - child, 1] < -0.5  # the parent's latent is silent where the child fires
    assert first.activations[:, 1 - child].tolist() == pytest.approx([0, 1, 0], abs=2e-3)


@pytest.mark.parametrize(("loss", "power"), [("mse", 2), ("l2", 1)])
@pytest.mark.parametrize("factor", [0.2, 7.0])
def test_minima_turn_shift_and_grow_with_the_world(loss, power, factor):
    """Other orthonormal features, other strengths and a constant bias change only units: MSE grows as the square, L1 beside it as one."""
    rng = torch.Generator().manual_seed(0)
    plain, l1, features = two(0.5, 0.2, 0.1, 0.2), 5e-3, orthonormal_features(2, 7, rng)
    shift = torch.randn(7, generator=rng, dtype=torch.float64)
    moved = Patterns(plain.firings * factor, plain.firings.double() @ features * factor + shift, plain.probabilities)
    there = minima(moved, loss, l1 * factor ** (power - 1), starts=48)
    for mine in minima(plain, loss, l1, starts=16)[:2]:
        (twin,) = [
            m
            for m in there
            if m.loss == pytest.approx(mine.loss * factor**power, rel=2e-5)
            and torch.allclose(m.decoder_cosines(features), mine.decoder_cosines(torch.eye(2)), atol=2e-3)
        ]
        assert torch.allclose((twin.b_dec - shift) @ features.T / factor, mine.b_dec, atol=2e-3)
        assert torch.allclose(twin.activations / factor, mine.activations, atol=2e-3)


def test_the_weights_reported_do_what_is_reported():
    for minimum in pair_minima("anticorrelated", "mse", 2e-2):
        x = pair("anticorrelated").patterns().activations.double()
        activations = ((x - minimum.b_dec) @ minimum.W_enc + minimum.b_enc).relu()
        torch.testing.assert_close(activations, minimum.activations, atol=5e-5, rtol=0)
        norm = minimum.W_dec.norm().item()
        assert norm == pytest.approx(1) or (norm == 0 and activations.abs().max() == 0)


def test_the_encoder_is_the_one_of_least_norm_and_free_where_silent_inputs_leave_it_so():
    """A parent with its child: three inputs in a plane, so the encoder's bias and direction trade off until the empty input fires."""
    first = pair_minima("hierarchical")[0]
    assert first.encoder_is_free.tolist() == [True]
    features = pair("hierarchical").features.double()
    on_parent, on_both = first.activations[1:, 0].tolist()
    torch.testing.assert_close(
        features @ first.W_enc[:, 0],
        torch.tensor([on_parent, on_both - on_parent], dtype=torch.float64),
        atol=1e-4,
        rtol=0,
    )
    assert pair_minima("correlated")[0].encoder_is_free.tolist() == [
        False
    ]  # four activations, no silent input to spare


def test_a_minimum_is_nearest_to_itself_in_any_form_that_does_the_same():
    found = list(pair_minima("correlated"))
    w_enc, b_enc, w_dec, b_dec = weights_of(found[3])
    scaled = w_enc * 2.5, b_enc * 2.5, w_dec / 2.5, b_dec
    for form in (weights_of(found[3]), scaled, tuple(part.float() for part in scaled)):
        near = nearest(found, *form)
        assert near.minimum is found[3]
        assert near.distance == pytest.approx(0, abs=1e-5) and near.excess == pytest.approx(0, abs=1e-6)
        assert near.decoder_cosine == pytest.approx(1) and near.activations == pytest.approx(0, abs=1e-5)


def test_without_l1_an_always_firing_latent_may_hold_any_part_of_the_bias():
    found = list(pair_minima("correlated"))
    w_enc, b_enc, w_dec, b_dec = weights_of(found[0])
    shifted = w_enc, b_enc + 3.0 - 3.0 * (w_dec @ w_enc)[0], w_dec, b_dec - 3.0 * w_dec[0]
    assert nearest(found, *shifted).minimum is found[0]
    assert nearest(found, *shifted).distance == pytest.approx(0, abs=1e-5)
    strict = list(pair_minima("correlated", "mse", 2e-2))
    w_enc, b_enc, w_dec, b_dec = weights_of(strict[0])
    shifted = w_enc, b_enc + 3.0 - 3.0 * (w_dec @ w_enc)[0], w_dec, b_dec - 3.0 * w_dec[0]
    assert nearest(strict, *shifted).excess == pytest.approx(3.0 * 2e-2, rel=5e-3)


def test_how_far_is_told_in_the_worlds_units():
    found = list(pair_minima("independent"))
    w_enc, b_enc, w_dec, b_dec = weights_of(found[0])
    features, outside = pair("independent").features.double(), torch.zeros(50, dtype=torch.float64)
    outside[:3] = 1.0
    outside -= outside @ features.T @ features
    outside /= outside.norm()
    away = b_dec + 0.3 * outside
    near = nearest(found, w_enc, b_enc + 0.3 * outside @ w_enc, w_dec, away)
    assert near.minimum is found[0]
    assert (near.distance, near.bias) == pytest.approx((0.3, 0.3), abs=1e-5)
    assert near.excess == pytest.approx(0.09, abs=1e-5)
    turned = w_dec * math.cos(0.1) + outside * math.sin(0.1)
    near = nearest(found, w_enc, b_enc, turned, b_dec)
    assert near.decoder_cosine == pytest.approx(math.cos(0.1))
    assert near.distance == pytest.approx(
        math.sqrt(0.25) * 2 * math.sin(0.05), abs=1e-5
    )  # f0 fires a quarter of the time
    near = nearest(found, 1.1 * w_enc, 1.1 * b_enc, w_dec, b_dec)
    assert near.activations == pytest.approx(0.1, abs=1e-5)


def test_latents_are_matched_whatever_their_order():
    found = minima(pair("hierarchical").patterns(), "mse", l1=1e-3, width=2, starts=12)
    w_enc, b_enc, w_dec, b_dec = weights_of(found[0])
    near = nearest(found, w_enc.flip(1), b_enc.flip(0), w_dec.flip(0), b_dec)
    assert near.minimum is found[0] and near.distance == pytest.approx(0, abs=1e-6)
    assert near.decoder_cosine == pytest.approx(1) and near.activations == pytest.approx(0, abs=1e-6)


def test_the_search_is_deterministic_and_leaves_the_random_state_alone():
    patterns = two(0.5, 0.2, 0.1, 0.2)
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    one, other = minima(patterns, starts=12), minima(patterns, starts=12)
    assert [m.loss for m in one] == [m.loss for m in other]
    assert (np.random.get_state()[1] == before[0]).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"loss": "snap"}, "mse or l2"),
        ({"l1": -1.0}, "l1"),
        ({"l1": math.nan}, "l1"),
        ({"width": 0}, "width 0"),
        ({"starts": 0}, "starts 0"),
    ],
)
def test_what_cannot_be_minimised_is_refused(change, words):
    with pytest.raises(BadInput, match=words):
        minima(two(0.5, 0.2, 0.1, 0.2), **change)


def test_a_silent_world_has_no_minima():
    with pytest.raises(CannotMeasure, match="always silent"):
        minima(patterns_of([[0, 0]], [1.0]))


def test_an_sae_of_another_width_is_refused():
    found = list(pair_minima("independent"))
    with pytest.raises(BadInput, match="one width and world"):
        nearest(found, torch.zeros(50, 2), torch.zeros(2), torch.zeros(2, 50), torch.zeros(50))


def test_a_broken_sae_sits_in_no_minimum():
    found = list(pair_minima("independent"))
    with pytest.raises(CannotMeasure, match="NaN"):
        nearest(found, torch.full((50, 1), math.nan), torch.zeros(1), torch.zeros(1, 50), torch.zeros(50))
