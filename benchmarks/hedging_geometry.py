"""The geometry of wide SAEs: pairing the latents of two seeds, and projecting what growing changed, against the bare matrix products.

    python benchmarks/hedging_geometry.py     (about three minutes on two cores; `make bench ONLY=hedging_geometry`)
    python benchmarks/hedging_geometry.py --widths --rows --memory 8192 16384 32768      (what an approximate pairing holds at its peak)
    python benchmarks/hedging_geometry.py --widths 131072 --rows 131072                  (for a GPU; beyond 16,384 latents no exact pairing is tried)

Decoders are made up, with rows that prefer the large directions of a spectrum falling as 1 / i, as activations have; two seeds have half of their latents
in common, with noise. Each time stands beside that of the matrix products the task cannot do without, measured in the same run on the same threads. Prints, too,
what the approximate pairing is short of the exact one, and the bound it gave itself. On a GPU as well where there is one (only the solvers stay on the CPU).
Seconds are of the wall clock; those in brackets are of all cores together, which other programs disturb less.

What grows: the products with width^2 * d_in (pairing) or rows * d_in * (new * (1 + null spans) + d_in) (growing); the exact solver with width^2 to width^3, its memory with
width^2; the approximate pairing with the products, three to six of them; its memory with width * (d_in + candidates).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from core_sharing import Seconds, timed

from hedgebench.growth import against, movement
from hedgebench.matching import Matching, approximate, match
from hedgebench.overlap import Overlap
from hedgebench.spans import new_span, random_span

BLOCK, EXACT = 4096, 16_384
N_NULL = 50
"""Random spans of a null, as `grow_delta` draws them."""
BOTH_SIDES = 8192
"""Wider SAEs are paired by their decoders only: by encoders it takes as long again."""


def measured(work: Callable[[], Any]) -> tuple[Any, Seconds]:
    """Run something, on a GPU to its end; its result and how long it took."""

    def whole() -> Any:
        result = work()
        settle()
        return result

    settle()
    return timed(whole)


def settle() -> None:
    """Wait for the GPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def product(a: torch.Tensor, b: torch.Tensor) -> None:
    """A b^T, by blocks that are thrown away."""
    for part in a.split(BLOCK):
        for other in b.split(BLOCK):
            part @ other.T


def rows_like_activations(n: int, d: int, generator: torch.Generator) -> torch.Tensor:
    """[n, d] unit rows, drawn with variances 1, 1/2, 1/3, ..."""
    rows = torch.randn(n, d, generator=generator)
    rows /= torch.arange(1, d + 1).sqrt()
    rows /= rows.norm(dim=1, keepdim=True)
    return rows


def two_seeds(width: int, d: int) -> list[torch.Tensor]:
    """Decoder rows and encoder columns of two SAEs: half of the latents are in both, in another order, with cosines from 0.6 to 1."""
    generator = torch.Generator().manual_seed(width)
    order = torch.randperm(width, generator=generator)
    noise = 1.4 * torch.rand(width, 1, generator=generator)
    noise[width // 2 :] = 1e6
    found = []
    for _ in ("decoder", "encoder"):
        rows = rows_like_activations(width, d, generator)
        found += [rows, (rows + noise * rows_like_activations(width, d, generator))[order]]
    return found


# --- what is measured ----------------------------------------------------------------------------------------------------------


def seed_overlap(width: int, d: int, candidates: int, device: str) -> None:
    """Pairings of one width, exact and approximate."""
    rows, others, columns, other_columns = (weights.to(device) for weights in two_seeds(width, d))
    sides = {"decoder": (rows, others)} | ({"encoder": (columns, other_columns)} if width <= BOTH_SIDES else {})
    _, bare = measured(lambda: [product(*side) for side in sides.values()])
    close, spent = measured(lambda: [approximate(*side, candidates=candidates) for side in sides.values()])
    line = f"approximate {spent} {spent.over(bare)}"
    if width <= EXACT:
        exact, spent = measured(lambda: [match(*side) for side in sides.values()])
        line += f"  exact {spent} {spent.over(bare)}"
    print(f"seed_overlap {width:6d} latents on {device}: products {bare}  {line}")
    for i, (side, found) in enumerate(zip(sides, close, strict=True)):
        line = f"    {side}: mean cosine {float(found.cosine.mean()):.5f}, below the best by {found.gap:.1e} at most"
        if width <= EXACT:
            below = float((exact[i].cosine.double() - found.cosine.double()).mean())
            other = float((exact[i].partner != found.partner).double().mean())
            line += f", in truth {below:.1e}; another partner for {other:.2%}"
        print(line)
    if width <= BOTH_SIDES:
        print(f"    shared at 0.7: {shared(close):.5f}, exact {shared(exact):.5f}")
    sys.stdout.flush()


def shared(pairings: list[Matching]) -> float:
    """The share of latents that are shared at 0.7."""
    decoder, encoder = pairings
    return float((Overlap(decoder, encoder, decoder).levels[0] >= 0.7).double().mean())


def grow_delta(n_rows: int, n_new: int, d: int, device: str) -> None:
    """Old rows before and after growing, on the span of the new ones and on those of a null, with and without a second control; and the span of many rows."""
    generator = torch.Generator().manual_seed(0)
    before = rows_like_activations(n_rows, d, generator).to(device)
    new = rows_like_activations(n_new, d, generator).to(device)
    after = before + 0.1 * new[torch.randint(n_new, (n_rows,), generator=generator).to(device)]
    basis, span = measured(lambda: new_span(new))
    spans = [random_span(len(basis), d, generator).to(device) for _ in range(N_NULL)]

    def bare() -> None:
        for part in after.split(BLOCK):
            for one in (basis, *spans):
                part @ one.T
            part.T @ part

    _, products = measured(bare)
    _, spent = measured(lambda: movement(before, after, basis, {"residual": spans}))
    print(f"grow_delta   {n_rows:6d} rows, {n_new} new, {len(spans)} null spans on {device}: products {products}  movement {spent} {spent.over(products)}  span {span}")  # fmt: skip
    again = before + 0.1 * rows_like_activations(n_rows, d, generator).to(device)
    found = movement(before, after, basis)
    _, spent = measured(lambda: against(found, before, again, basis, "reordered"))
    print(f"             the second control: {spent} {spent.over(products)}")
    some = before[: 4 * BLOCK]
    _, products = measured(lambda: [part.double().T @ part.double() for part in some.split(BLOCK)])
    _, spent = measured(lambda: new_span(some))
    print(f"span of      {len(some):6d} rows on {device}: products in float64 {products}  span {spent} {spent.over(products)}", flush=True)  # fmt: skip


def peak_of(width: int, d: int, candidates: int) -> None:
    """In a process of its own, on Linux: what an approximate pairing holds at its peak beside what it was given."""
    rows, others = two_seeds(width, d)[:2]
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak up to now
    start = peak()
    _, spent = measured(lambda: approximate(rows, others, candidates=candidates))
    print(f"memory       {width:6d} latents of {d}: given {(rows.nbytes + others.nbytes) / 2**20:6.0f} MB, {peak() - start:6.0f} MB more at the peak; {spent}", flush=True)  # fmt: skip


def peak() -> float:
    """The most memory this process held, in MB."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--widths", type=int, nargs="*", default=[4096, 16384], help="latents of the SAEs that are paired"
    )
    parser.add_argument("--rows", type=int, nargs="*", default=[65536], help="old latents of the SAEs that grew")
    parser.add_argument("--new", type=int, default=512, help="new latents")
    parser.add_argument("--d-in", type=int, default=2304)
    parser.add_argument("--candidates", type=int, default=64)
    parser.add_argument("--memory", type=int, nargs="*", default=[], help="widths whose peak memory is measured")
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak_of:
        peak_of(args.peak_of, args.d_in, args.candidates)
        return
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    print(
        f"d_in {args.d_in}, {torch.get_num_threads()} threads, {args.candidates} candidates, devices: {', '.join(devices)}"
    )
    for device in devices:
        for n_rows in args.rows:
            grow_delta(n_rows, args.new, args.d_in, device)
        for width in args.widths:
            seed_overlap(width, args.d_in, args.candidates, device)
    for width in args.memory:
        settings = {"peak-of": width, "d-in": args.d_in, "candidates": args.candidates}
        subprocess.run([sys.executable, __file__, *(f"--{k}={v}" for k, v in settings.items())], check=True)


if __name__ == "__main__":
    main()
