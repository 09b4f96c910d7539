"""What `hedging_estimate` costs, part by part: seconds and peak memory against the SAE's width and the model's dimension, beside one forward fit (the least squares it cannot do without).

    python benchmarks/hedging_estimate_cost.py                                 (some minutes on two cores)
    python benchmarks/hedging_estimate_cost.py --cases 16384x2304              (an hour on a CPU; for a GPU)
    python benchmarks/hedging_estimate_cost.py --tokens 20000 --cases 512x576

Activations are made up: latents that fire on 32 of the width at random, features that the SAE lacks, some of which follow a latent, and noise. Every case runs in a process of its
own; its peak is that of the process, what Python and torch hold (about 500 MB) included. On a GPU where there is one, whose memory is then told.

What grows: the search for missing features with tokens * d_in * (384 + 2 * latents, 2,432 at most); least squares with tokens * L0 * latents + latents^3; `consistent` with
tokens * latents * d_in; memory with tokens * (d_in + 384 + 2 * latents, 2,432 at most) * 4 bytes + latents^2 * 8 bytes for each of four regressions.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from hedgebench.atoms import kmeans_growth
from hedgebench.hedging import fit, hedging, owed_share
from hedgebench.latent_sample import LatentSample, csr
from hedgebench.modulation import modulation

CASES = "512x576", "2048x576", "8192x576", "512x2304", "2048x2304"
TOKENS, L0, MISSING, PAIRS = 100_000, 32, 256, 128


def main() -> None:
    """Measure every case in its own process, or one case in this."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=CASES, metavar="LATENTSxD", help="such as 512x576")
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.alone:
        width, d = map(int, args.cases[0].split("x"))
        print(row(width, d, args.tokens), flush=True)
        return
    print(
        f"{args.tokens:,} tokens, L0 {L0}, {torch.get_num_threads()} threads, {'GPU' if torch.cuda.is_available() else 'CPU'}; seconds of {'the clock' if torch.cuda.is_available() else 'all cores'}"
    )
    print(
        "| latents | d_in | least squares | find missing | owed | modulation | consistent | virtual growth | all / least squares | peak GB |"
    )
    print("| --- " * 10 + "|", flush=True)
    for case in args.cases:
        subprocess.run([sys.executable, __file__, "--alone", "--cases", case, "--tokens", str(args.tokens)], check=True)


def row(width: int, d: int, n: int) -> str:
    """One case, as a row of the table."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sample = made_up(width, d, n, device)
    generator = torch.Generator().manual_seed(0)
    fitted, fitting = timed(lambda: fit(sample))
    found, finding = timed(lambda: hedging(fitted, generator, 384))
    _, owing = timed(lambda: owed_share(fitted, found.missing, found.counted))
    halves = fitted.halves, fitted.residuals, fitted.rows, generator
    _, second = timed(lambda: modulation(*halves, PAIRS, consistent=False))
    _, along = timed(lambda: modulation(*halves, 1))
    _, growing = timed(lambda: kmeans_growth(fitted.x, fitted.whole, generator))
    parts = fitting, finding - owing, owing, second, along, growing
    peak = (
        torch.cuda.max_memory_allocated() / 2**30
        if device == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    )
    cells = [
        f"{width:,}",
        f"{d:,}",
        *(f"{seconds:.1f}" for seconds in parts),
        f"{sum(parts) / fitting:.0f}",
        f"{peak:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """A result, and the seconds it took: of the processor, which other programs disturb little; on a GPU, by the clock until it was there."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    began = clock()
    result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result, clock() - began


def made_up(width: int, d: int, n: int, device: str) -> LatentSample:
    """Latents, missing features half of which follow one latent each, and noise."""
    generator = torch.Generator().manual_seed(0)
    columns = (torch.randint(width // L0, (n, L0), generator=generator) + torch.arange(L0) * (width // L0)).to(device)
    strengths = (1 + 0.2 * torch.randn(n, L0, generator=generator)).to(device)
    f = csr(torch.full((n,), L0, device=device), columns.flatten(), strengths.flatten(), width)
    rows, features = (
        torch.nn.functional.normalize(torch.randn(k, d, generator=generator), dim=1).to(device)
        for k in (width, MISSING)
    )
    there = (torch.rand(n, MISSING, generator=generator) < 0.02).to(device)
    followed = columns[:, 0] % (MISSING // 2)
    there[torch.arange(n, device=device), followed] |= (torch.rand(n, generator=generator) < 0.3).to(device)
    x = f @ rows + there.float() @ features + 0.02 * torch.randn(n, d, generator=generator).to(device)
    document = torch.arange(n, device=device) // 100
    return LatentSample(x, f, document, document % 2 == 1, 0.0, n)


if __name__ == "__main__":
    with torch.inference_mode():
        main()
