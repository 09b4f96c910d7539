"""Least squares of anything on the activations of latents, with an intercept and a small ridge; exact, or iterative where there are many latents.

With F [n, m] the activations less their means and S the diagonal of 1 / |F_i| (0 for a latent that never varies, which then has coefficient 0), the coefficients of y are
S (S F^T F S + ridge I)^-1 S F^T y. All sums are in float64, over blocks of rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hedgebench.eval import notice
from hedgebench.latent_sample import csr

if TYPE_CHECKING:
    import torch
    from torch import Tensor

RIDGE = 1e-4
_ROWS = 4096
"""Rows that are widened to float64 at a time."""
_ENTRIES = 2**24
"""Of a dense block of activations, where one is made: 128 MB."""
_COLUMNS = 256
"""Right-hand sides that are solved at once by conjugate gradients: what is held then is five times [m, 256]."""
_TOLERANCE = 1e-6
_STEPS = 2000


class LatentRegression:
    """Least squares on activations f.

    Up to `exact_up_to` latents by a Cholesky factor of their correlations, made once: time L0 n m + m^3 / 3, memory 16 m^2 bytes. Beyond, by conjugate gradients on f itself
    (Jacobi preconditioned, to a residual of 1e-6 of the right-hand side), which hold no [m, m] matrix; a notice is given where they have not converged after 2000 steps.

    Args:
        f: [n, m], dense or sparse CSR, on any device; it is kept (as `f`), not copied.
        ridge: Above 0: the share of each latent's variance that is added to it. Latents that always fire alike share what they do.
        exact_up_to: Latents.
    """

    def __init__(self, f: Tensor, ridge: float = RIDGE, exact_up_to: int = 16_384) -> None:
        import torch

        self.f, self._ridge = f, ridge
        self.n, self.m = f.shape
        total, squares = (torch.zeros(self.m, dtype=torch.float64, device=f.device) for _ in range(2))
        for _, block in self._blocks():
            total += _column_sums(block)
            squares += _column_sums(block, power=2)
        self._mean = total / self.n
        variance = squares / self.n - self._mean.square()
        varies = variance > 1e-12 * squares / self.n  # what rounding leaves of a constant is less
        self._scale = varies / (self.n * variance.where(varies, 1)).sqrt()
        self._factor = self._cholesky() if self.m <= exact_up_to else None

    def coefficients(self, y: Tensor) -> Tensor:
        """[m, p], float64: the coefficients of y [n, p], beside an intercept."""
        return self.solve(self.products(y))

    def products(self, y: Tensor) -> Tensor:
        """[m, p], float64: F^T (y - its mean), y [n, p]; for a sparse CSR y in time n L0 times y's entries in a row."""
        import torch

        if y.layout != torch.strided:
            products = transposed_times(self.f, y)
            return products - self._mean[:, None] * _column_sums(y.to(torch.float64))
        y_mean = y.mean(dim=0, dtype=torch.float64)
        total = torch.zeros(self.m, y.shape[1], dtype=torch.float64, device=y.device)
        for rows, block in self._blocks():
            total += block.t() @ (y[rows].double() - y_mean)
        return total

    def solve(self, products: Tensor) -> Tensor:
        """[m, p], float64: the coefficients, from `products`."""
        return self._scale[:, None] * self._solve(self._scale[:, None] * products)

    def explained(self, coefficients: Tensor, dtype: torch.dtype) -> Tensor:
        """[n, p], of mean 0: what the activations less their means make of coefficients [m, p]."""
        import torch

        made = torch.empty(self.n, coefficients.shape[1], dtype=dtype, device=coefficients.device)
        offset = self._mean @ coefficients
        for rows, block in self._blocks():
            made[rows] = (block @ coefficients - offset).to(dtype)
        return made

    def residual(self, y: Tensor) -> Tensor:
        """[n, p], in y's type: what is left of y [n, p] less its mean and what the activations explain."""
        return self.fitted(y)[1]

    def fitted(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """`coefficients` and `residual` of y, in little more time than one of them."""
        import torch

        coefficients = self.coefficients(y)
        constant = y.mean(dim=0, dtype=torch.float64) - self._mean @ coefficients
        left = torch.empty_like(y)
        for rows, block in self._blocks():
            left[rows] = (y[rows].double() - constant - block @ coefficients).to(y.dtype)
        return coefficients, left

    def weights(self, latents: Tensor) -> Tensor:
        """[n, l], float64, each column of mean 0: the coefficients of y on these latents are weights.T @ y, whatever y.

        Args:
            latents: [l], int64.
        """
        import torch

        shape = self.m, len(latents)
        wanted = torch.zeros(shape, dtype=torch.float64, device=self._scale.device)
        wanted[latents, torch.arange(len(latents))] = self._scale[latents]
        inverse = self._scale[:, None] * self._solve(wanted)
        offset = self._mean @ inverse
        return torch.cat([block @ inverse - offset for _, block in self._blocks()])

    def _blocks(self, at_once: int = _ROWS) -> Iterator[tuple[slice, Tensor]]:
        """Blocks of rows of f in float64, and which rows."""
        for start in range(0, self.n, at_once):
            rows = slice(start, min(start + at_once, self.n))
            yield rows, _rows(self.f, rows).double()

    def _cholesky(self) -> Tensor:
        import torch

        gram = torch.zeros(self.m, self.m, dtype=torch.float64, device=self._scale.device)
        for _, block in self._blocks(max(64, min(_ROWS, _ENTRIES // self.m))):
            gram += block.t() @ block.to_dense()
        gram.addr_(self._mean, self._mean, alpha=-self.n)
        gram.mul_(self._scale[:, None]).mul_(self._scale)
        gram.diagonal().add_(self._ridge)
        factor: Tensor = torch.linalg.cholesky(gram)
        return factor

    def _solve(self, wanted: Tensor) -> Tensor:
        """The solution [m, p] of (S F^T F S + ridge I) x = wanted."""
        import torch

        if self._factor is not None:
            return torch.cholesky_solve(wanted, self._factor)
        return torch.cat([self._conjugate_gradients(some) for some in wanted.split(_COLUMNS, dim=1)], dim=1)

    def _apply(self, v: Tensor) -> Tensor:
        """S F^T F S v + ridge v; v [m, p]."""
        import torch

        scaled = self._scale[:, None] * v
        offset = self._mean @ scaled
        total = torch.zeros_like(v)
        for _, block in self._blocks():
            total += block.t() @ (block @ scaled - offset)
        return self._scale[:, None] * total + self._ridge * v

    def _conjugate_gradients(self, wanted: Tensor) -> Tensor:
        """For all columns at once, each with steps of its own. S has preconditioned them."""
        import torch

        found, left = torch.zeros_like(wanted), wanted.clone()
        way, squared = left.clone(), left.square().sum(dim=0)
        goal = _TOLERANCE**2 * squared
        for _ in range(_STEPS):
            if bool((squared <= goal).all()):
                return found
            image = self._apply(way)
            step = squared / (way * image).sum(dim=0).clamp(min=1e-300)  # 0 for a column that is solved exactly
            found += step * way
            left -= step * image
            before, squared = squared, left.square().sum(dim=0)
            way = left + (squared / before.clamp(min=1e-300)) * way
        error = float((squared / goal.where(goal > 0, 1)).max().sqrt()) * _TOLERANCE
        notice.warning(
            "least squares on %d latents: stopped after %d steps at a relative error of %.1g", self.m, _STEPS, error
        )
        return found


def transposed_times(a: Tensor, b: Tensor) -> Tensor:
    """[m, p], float64, dense: A^T B for A [n, m], dense or sparse CSR, and a sparse CSR B [n, p]."""
    import torch

    a, b = a.to(torch.float64), b.to(torch.float64)
    if a.layout == torch.strided:
        return (b.t() @ a).T
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        product: Tensor = torch.sparse.mm(a.t().to_sparse_csr(), b)
    return product.to_dense()


def _rows(f: Tensor, rows: slice) -> Tensor:
    import torch

    if f.layout == torch.strided:
        return f[rows]
    starts = f.crow_indices()[rows.start : rows.stop + 1]
    entries = slice(int(starts[0]), int(starts[-1]))
    return csr(starts.diff(), f.col_indices()[entries], f.values()[entries], f.shape[1])


def _column_sums(block: Tensor, power: int = 1) -> Tensor:
    import torch

    if block.layout == torch.strided:
        return block.pow(power).sum(dim=0)
    sums = torch.zeros(block.shape[1], dtype=block.dtype, device=block.device)
    return sums.index_add_(0, block.col_indices(), block.values().pow(power))
