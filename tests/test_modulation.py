"""How residuals' moments follow latents, against closed forms, against the matrices and tensors themselves, and where nothing follows."""

from __future__ import annotations

import math

import pytest
import torch
from known_modulation import D, Fitted, crowd, fitted, pairs

from hedgebench import modulation as module
from hedgebench.latent_regression import LatentRegression
from hedgebench.modulation import flipped, leading_directions, modulation, moment_norms, shares, shuffled


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


RATES = ((0.1, 0.4), (0.05, 0.6), (0.6, 0.9), (0.3, 0.1), (0.2, 0.2))
PAIRS = 2048
ERROR = math.sqrt(8 / PAIRS)
"""Of a sketched squared norm of rank one."""


def second(q0: float, q1: float) -> float:
    return (q1 - q0) * (1 - q0 - q1)


def third(q0: float, q1: float) -> float:
    return q1 * (1 - q1) * (1 - 2 * q1) - q0 * (1 - q0) * (1 - 2 * q0)


@pytest.fixture(scope="module")
def binary() -> Fitted:
    return pairs(*RATES)


# --- closed forms ----------------------------------------------------------------------------------------------------------------


def test_smr_of_binary_pairs_has_its_closed_form(binary):
    found = modulation(binary.halves, binary.residuals, binary.rows, seeded(1), PAIRS)
    wanted = torch.tensor([abs(second(*q)) * math.sqrt(1 - 1 / D) / math.hypot(1, q[1] - q[0]) for q in RATES])
    torch.testing.assert_close(shares(found.squared, 1.0, binary.rows), wanted.double(), rtol=0.12, atol=0.02)
    assert float(found.squared[-1].abs()) < 1e-3  # no correlation
    torch.testing.assert_close(
        found.isotropic, torch.tensor([second(*q) ** 2 / D for q in RATES]).double(), rtol=0.15, atol=1e-5
    )


def test_what_the_row_has_too_has_its_closed_form(binary):
    found = modulation(binary.halves, binary.residuals, binary.rows, seeded(1), pairs=1).consistent
    shares_of_row = [(q[1] - q[0]) ** 2 / (1 + (q[1] - q[0]) ** 2) for q in RATES]
    wanted = [second(*q) ** 2 * (g * (1 - 2 / D) + 1 / D**2) for q, g in zip(RATES, shares_of_row, strict=True)]
    torch.testing.assert_close(found, torch.tensor(wanted).double(), rtol=0.15, atol=1e-5)


@pytest.mark.parametrize(("power", "closed"), [(2, second), (3, third)])
def test_exact_norms_of_both_moments_have_their_closed_forms(binary, power, closed):
    found = binary.exactly(power, list(range(len(RATES))))
    wanted = torch.tensor([closed(*q) ** 2 for q in RATES]).double()
    torch.testing.assert_close(found, wanted, rtol=0.15, atol=3e-4)


def test_each_moment_is_blind_somewhere_and_not_where_the_other_is():
    rates = (0.3, 0.7), (0.0, 0.5)
    assert second(*rates[0]) == third(*rates[1]) == 0
    blind = pairs(*rates)
    found = torch.stack([blind.exactly(power, [0, 1]) for power in (2, 3)])
    wanted = torch.tensor([[0, second(*rates[1]) ** 2], [third(*rates[0]) ** 2, 0]]).double()
    torch.testing.assert_close(found, wanted, rtol=0.15, atol=3e-4)


def test_a_random_sign_is_seen_in_the_second_moment_not_in_the_third_nor_in_the_row():
    signs = pairs((0.0, 0.25), n=16_000, random_sign=True)
    found = modulation(signs.halves, signs.residuals, signs.rows, seeded(1), PAIRS)
    assert float(found.squared) == pytest.approx(0.25**2 * (1 - 1 / D), rel=4 * ERROR)
    assert float(found.consistent) < 0.01 * float(found.squared)
    null = torch.stack([signs.exactly(3, [0], flipped(signs.residuals, seeded(seed))) for seed in range(10)])
    assert float(signs.exactly(3, [0]).abs()) < 4 * float(null.std()) < 0.1 * third(0.0, 0.25) ** 2


# --- the same by other means -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [2, 3])
@pytest.mark.parametrize("block", [7, 10_000])
def test_exact_norms_are_the_products_of_the_tensors_themselves(power, block):
    one = crowd()
    letters = "jkl"[:power]
    tensors = [
        torch.einsum(
            f"ni,{','.join('n' + c for c in letters)}->i{letters}", half.weights(torch.arange(5)), *[r] * power
        )
        for half, r in zip(one.halves, one.residuals, strict=True)
    ]
    found = moment_norms(*one.residuals, *one.weights(list(range(5))), power, block)
    torch.testing.assert_close(found, (tensors[0] * tensors[1]).flatten(1).sum(1))


def matrices(one: Fitted) -> list[torch.Tensor]:
    """N_i of both halves, as coefficients of all products of two coordinates."""
    d = one.rows.shape[1]
    return [
        half.coefficients((r[:, :, None] * r[:, None]).flatten(1)).view(-1, d, d)
        for half, r in zip(one.halves, one.residuals, strict=True)
    ]


def test_sketched_norms_are_the_exact_ones_less_traces_within_the_sketchs_error():
    one = crowd()
    first, other = matrices(one)
    traces = [n.diagonal(dim1=1, dim2=2).sum(1) for n in (first, other)]
    exact = one.exactly(2, list(range(5))) - traces[0] * traces[1] / 9
    torch.testing.assert_close(exact, (first * other).flatten(1).sum(1) - traces[0] * traces[1] / 9)
    found = modulation(one.halves, one.residuals, one.rows, seeded(5), 100_000)
    error = 4 * math.sqrt(8 / 100_000) * first.flatten(1).norm(dim=1) * other.flatten(1).norm(dim=1)
    assert ((found.squared - exact).abs() < error).all() and float(error.max() / exact.max()) < 0.15
    torch.testing.assert_close(found.isotropic, traces[0] * traces[1] / 9)


def test_what_the_row_has_too_is_the_product_of_the_matrices_with_the_row():
    one = crowd()
    unit = torch.nn.functional.normalize(one.rows, dim=1)
    sides = []
    for n in matrices(one):
        traceless = n - n.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(9)
        sides.append((traceless @ unit[:, :, None])[:, :, 0])
    found = modulation(one.halves, one.residuals, one.rows, seeded(), pairs=1)
    torch.testing.assert_close(found.consistent, (sides[0] * sides[1]).sum(1))
    assert modulation(one.halves, one.residuals, one.rows, seeded(), 1, consistent=False).consistent is None


def test_blocks_and_conjugate_gradients_change_nothing(monkeypatch):
    whole = crowd()
    wanted = modulation(whole.halves, whole.residuals, whole.rows, seeded(), 64)
    monkeypatch.setattr(module, "_ROWS", 50)
    monkeypatch.setattr(module, "_ENTRIES", 700)
    other = crowd(exact_up_to=0)
    found = modulation(other.halves, other.residuals, other.rows, seeded(), 64)
    for mine, its in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-6)


def test_a_latents_unit_and_its_place_change_nothing(binary):
    order, scale = torch.tensor([3, 0, 4, 2, 1]), torch.tensor([0.01, 1.0, 5.0, 100.0, 0.3])
    x = torch.cat([binary.residuals[0], binary.residuals[1]])[:4000]
    f = torch.cat([half.f for half in binary.halves])[:4000]
    x = x + f @ binary.rows.float()
    one, other = fitted(x, f), fitted(x, f[:, order] * scale)
    told = []
    for who in (one, other):
        found = modulation(who.halves, who.residuals, who.rows, seeded(), 64)
        told.append([shares(values, 0.7, who.rows) for values in (found.squared, found.consistent)])
    for mine, its in zip(*told, strict=True):
        torch.testing.assert_close(mine[order], its, rtol=1e-3, atol=1e-4)


# --- nulls -----------------------------------------------------------------------------------------------------------------------


def test_shuffled_residuals_leave_noise_about_0():
    real = pairs(*[(0.1, 0.4)] * 20, n=8000)
    found = modulation(real.halves, real.residuals, real.rows, seeded(1))
    null = modulation(real.halves, shuffled(real.residuals, seeded(1)), real.rows, seeded(2))
    for mine, its in ((found.squared, null.squared), (found.consistent, null.consistent)):
        assert float(its.mean().abs()) < 4 * float(its.std()) / math.sqrt(20)
        assert 0.2 < float((its > 0).double().mean()) < 0.8
        assert float(mine.mean()) > 10 * float(its.std())
    again = shuffled(real.residuals, seeded(1))
    for mine, its in zip(again, real.residuals, strict=True):
        assert not torch.equal(mine, its)
        assert torch.equal(mine.sort(dim=0).values, its.sort(dim=0).values)


def test_random_signs_of_tokens_end_the_third_moment_and_leave_the_second(binary):
    signs = flipped(binary.residuals, seeded(1))
    torch.testing.assert_close(binary.exactly(2, [1], signs), binary.exactly(2, [1]))
    assert float(binary.exactly(3, [1], signs).abs()) < 0.1 * float(binary.exactly(3, [1]))


# --- directions ------------------------------------------------------------------------------------------------------------------


def test_the_leading_direction_is_the_outside_feature_with_its_sign_and_both_ways_to_find_it_agree(binary):
    latents = [0, 1, 2, 3]
    ways = [
        leading_directions(binary.residuals, binary.weights(latents), 2, seeded(), exact) for exact in (True, False)
    ]
    for found in ways:
        assert found.vectors.shape == (4, 2, D) and found.values.shape == found.validated.shape == (4, 2)
        torch.testing.assert_close(found.vectors.norm(dim=2), torch.ones(4, 2).double())
        wanted = torch.tensor([second(*RATES[i]) for i in latents]).double()
        torch.testing.assert_close(found.validated[:, 0], wanted, rtol=0.15, atol=0.005)
        assert (found.vectors[:, 0] * binary.outside[latents].double()).sum(1).abs().min() > 0.98
        assert (found.validated[:, 0].sign() == found.values[:, 0].sign()).all()
    torch.testing.assert_close(ways[0].values, ways[1].values, rtol=1e-4, atol=1e-6)


def test_eigenvalues_are_those_of_the_matrix_and_the_other_half_validates_them():
    one = crowd(d=80, n=4000)
    first, other = matrices(one)
    found = leading_directions(one.residuals, one.weights(list(range(5))), 3, seeded())
    exact = torch.linalg.eigvalsh(first)
    top = exact.gather(1, exact.abs().argsort(dim=1, descending=True)[:, :3])
    torch.testing.assert_close(found.values[0], top[0], rtol=1e-3, atol=0)
    forms = torch.einsum("lkd,lde,lke->lk", found.vectors, other, found.vectors)
    torch.testing.assert_close(found.validated, forms)


def test_directions_of_shuffled_residuals_are_not_validated():
    real = pairs(*[(0.1, 0.4)] * 12, n=8000)
    weights = real.weights(list(range(12)))
    found, null = (
        leading_directions(r, weights, 2, seeded()) for r in (real.residuals, shuffled(real.residuals, seeded(1)))
    )
    assert float(null.validated.mean().abs()) < 4 * float(null.validated.std()) / math.sqrt(24)
    assert null.values.abs().mean() > 2 * null.validated.abs().mean()
    assert found.validated[:, 0].min() > 4 * null.validated.abs().max()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_on_a_gpu_the_numbers_are_the_same(binary):
    gpu = Fitted(binary.outside, binary.rows.cuda(), *[tuple(_on_gpu(one) for one in pair) for pair in binary[2:]])
    found, wanted = (modulation(who.halves, who.residuals, who.rows, seeded(), 64) for who in (gpu, binary))
    for mine, its in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine.cpu(), its, rtol=1e-3, atol=1e-6)


def _on_gpu(one):
    return LatentRegression(one.f.to_sparse_csr().cuda()) if isinstance(one, LatentRegression) else one.cuda()
