"""Least squares on latents, against numpy's on the augmented matrix; conjugate gradients against the exact; and what is held."""

import logging

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from hedgebench import latent_regression
from hedgebench.latent_regression import LatentRegression
from hedgebench.latent_sample import csr


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sparse(f: torch.Tensor) -> torch.Tensor:
    return csr((f != 0).sum(1), f.nonzero()[:, 1], f[f != 0], f.shape[1])


def activations(n: int, m: int, density: float = 0.1, seed: int = 0) -> torch.Tensor:
    """[n, m], of sizes that differ a thousandfold."""
    generator = seeded(seed)
    f = torch.rand(n, m, generator=generator) * (torch.rand(n, m, generator=generator) < density)
    return f * 10 ** (3 * torch.rand(m, generator=generator) - 1)


def by_numpy(f: torch.Tensor, y: torch.Tensor, ridge: float) -> torch.Tensor:
    """The coefficients from an ordinary least-squares problem: one more row for each latent, which pulls it to 0."""
    f, y = (whole.double() - whole.double().mean(0) for whole in (f, y))
    f = torch.cat([f, torch.diag(ridge**0.5 * f.norm(dim=0))])
    y = torch.cat([y, torch.zeros(f.shape[1], y.shape[1], dtype=torch.float64)])
    return torch.from_numpy(np.linalg.lstsq(f.numpy(), y.numpy(), rcond=None)[0])


F, Y = activations(900, 40), torch.randn(900, 7, generator=seeded(1)) + 3


@pytest.mark.parametrize("layout", [sparse, lambda f: f], ids=["sparse", "dense"])
@pytest.mark.parametrize("exact_up_to", [40, 39], ids=["exact", "iterative"])
@pytest.mark.parametrize("ridge", [1e-4, 0.3])
def test_coefficients_residuals_and_weights_are_those_of_least_squares(monkeypatch, layout, exact_up_to, ridge):
    monkeypatch.setattr(latent_regression, "_ROWS", 128)
    monkeypatch.setattr(latent_regression, "_COLUMNS", 3)
    fit = LatentRegression(layout(F), ridge, exact_up_to)
    wanted = by_numpy(F, Y, ridge)
    found = fit.coefficients(Y)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))
    left = Y - Y.mean(0) - (F - F.mean(0)) @ wanted.float()
    torch.testing.assert_close(fit.residual(Y), left, rtol=0, atol=1e-4)
    some = torch.tensor([3, 11, 0])
    weights = fit.weights(some)
    torch.testing.assert_close(weights.T @ Y.double(), found[some], rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))
    assert float(weights.sum(0).abs().max()) < 1e-9 * float(weights.abs().sum())


def test_constants_do_not_count_and_a_latents_unit_is_its_own():
    fit = LatentRegression(sparse(F))
    scale = 10 ** torch.linspace(-4, 4, 40)
    other = LatentRegression(sparse(F * scale))
    torch.testing.assert_close(other.coefficients(Y) * scale[:, None].double(), fit.coefficients(Y))
    torch.testing.assert_close(LatentRegression(F + 2).coefficients(Y - 100), fit.coefficients(Y), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("exact_up_to", [40, 39])
def test_a_latent_that_never_varies_has_coefficient_0_and_changes_nothing(exact_up_to):
    f = F.clone()
    f[:, 5], f[:, 17] = 0, 1 / 3
    fit = LatentRegression(sparse(f), exact_up_to=exact_up_to)
    others = [i for i in range(40) if i not in (5, 17)]
    found = fit.coefficients(Y)
    assert found[[5, 17]].eq(0).all() and fit.weights(torch.tensor([5])).eq(0).all()
    torch.testing.assert_close(
        found[others], LatentRegression(sparse(f[:, others])).coefficients(Y), rtol=1e-4, atol=1e-5
    )


def test_latents_that_fire_alike_share_what_they_do():
    x = activations(500, 1, 0.3)
    found = LatentRegression(sparse(torch.cat([x, x, 2 * x], dim=1))).coefficients(x.double())
    torch.testing.assert_close(found[:, 0], torch.tensor([1.0, 1.0, 0.5]).double() / 3, rtol=1e-3, atol=0)


@pytest.mark.parametrize("alike", [False, True])
def test_conjugate_gradients_find_what_the_factor_does(alike):
    f = activations(4000, 300, 0.05)
    if alike:  # pairs that differ on one token in a thousand
        f[:, 150:] = f[:, :150] * (torch.rand(4000, 150, generator=seeded(2)) > 0.001)
    y = torch.randn(4000, 20, generator=seeded(3))
    exact, iterative = (LatentRegression(sparse(f), exact_up_to=limit) for limit in (300, 299))
    for found, wanted in (
        (iterative.coefficients(y), exact.coefficients(y)),
        (iterative.weights(torch.arange(5)), exact.weights(torch.arange(5))),
    ):
        assert float((found - wanted).norm() / wanted.norm()) < (1e-3 if alike else 1e-5)
    torch.testing.assert_close(iterative.residual(y), exact.residual(y), rtol=0, atol=1e-3 if alike else 1e-4)


def test_what_has_not_converged_is_said(monkeypatch, caplog):
    monkeypatch.setattr(latent_regression, "_STEPS", 2)
    with caplog.at_level(logging.WARNING):
        LatentRegression(sparse(F), exact_up_to=0).coefficients(Y)
    assert "least squares on 40 latents: stopped after 2 steps at a relative error of" in caplog.text


class Largest(TorchDispatchMode):
    """The bytes of the largest dense tensor that is made."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for made in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(made, torch.Tensor) and made.layout == torch.strided:
                self.bytes = max(self.bytes, made.nbytes)
        return out


def test_many_latents_are_solved_without_a_matrix_of_their_pairs():
    n, m, each = 5000, 20_000, 40
    columns = torch.randint(m, (n, each), generator=seeded()).sort(dim=1).values
    kept = torch.nn.functional.pad(columns.diff(dim=1) > 0, (1, 0), value=True)
    values = 1 + torch.rand(n, each, generator=seeded(1))
    f = csr(kept.sum(1), columns[kept], values[kept], m)
    y = torch.randn(n, 4, generator=seeded(2))
    with Largest() as largest:
        fit = LatentRegression(f)
        left = fit.residual(y)
    assert largest.bytes < 20 * m * 8  # and a matrix of pairs would be 1000 times as large
    assert float(left.norm() / y.norm()) < 0.05  # more latents than tokens: but for the ridge they explain all


@pytest.mark.parametrize("layout", [sparse, lambda f: f], ids=["sparse", "dense"])
@pytest.mark.parametrize("exact_up_to", [40, 39], ids=["exact", "iterative"])
@pytest.mark.parametrize("rows", [128, 4096])
def test_products_are_solved_and_what_is_explained_and_left_is_the_whole(monkeypatch, layout, exact_up_to, rows):
    monkeypatch.setattr(latent_regression, "_ROWS", rows)
    fit = LatentRegression(layout(F), exact_up_to=exact_up_to)
    products = fit.products(Y)
    wanted = (F.double() - F.double().mean(0)).T @ (Y.double() - Y.double().mean(0))
    assert products.dtype == torch.float64
    torch.testing.assert_close(products, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))
    coefficients = fit.coefficients(Y)
    torch.testing.assert_close(fit.solve(products), coefficients)
    for dtype in (torch.float32, torch.float64):
        explained = fit.explained(coefficients, dtype)
        assert explained.dtype == dtype and explained.shape == Y.shape
        assert explained.mean(dim=0).abs().max() < 1e-6
        assert explained.std() > 0.1
        torch.testing.assert_close((Y - Y.mean(0) - explained).to(Y), fit.residual(Y), rtol=0, atol=1e-5)


def test_solutions_add_up_and_what_is_explained_of_nothing_is_nothing():
    fit = LatentRegression(sparse(F))
    products = fit.products(Y)
    torch.testing.assert_close(fit.solve(2 * products[:, :3] + products[:, 3:6]), 2 * fit.solve(products[:, :3]) + fit.solve(products[:, 3:6]))  # fmt: skip
    assert fit.explained(torch.zeros(40, 2, dtype=torch.float64), torch.float32).eq(0).all()
    one = torch.zeros(40, 1, dtype=torch.float64)
    one[3] = 2
    torch.testing.assert_close(
        fit.explained(one, torch.float64)[:, 0], 2 * (F[:, 3].double() - F[:, 3].double().mean())
    )
