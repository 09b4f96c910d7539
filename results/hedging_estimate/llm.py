"""What `hedging_estimate` is worth on SmolLM2-135M, from the SAEs and the results of one layer; README.md names the commands.

python results/hedging_estimate/llm.py growth 12        # growth-layer12.csv: ranks of latents against how far growth moved their rows
python results/hedging_estimate/llm.py seeds 12         # seeds-layer12.csv: ranks of latents that two training seeds share
python results/hedging_estimate/llm.py directions 12    # directions-layer12.csv: named directions against rows of a wider SAE
python results/hedging_estimate/llm.py halves 12        # halves-layer12.csv: disjoint halves of less and of more text
python results/hedging_estimate/llm.py injection 12     # injection-layer12.csv: hedging that is added, by size, tokens and width
python results/hedging_estimate/llm.py elsewhere 12     # elsewhere-layer12.csv: hedging of features that are there without their latents, too, or vary in strength
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from hedgebench_evals.hedging_estimate import HedgingEstimate
from hedgebench_evals.hedging_estimate_controls import RANKED
from hedgebench_evals.hedging_estimate_rows import measure
from scipy.stats import spearmanr
from tqdm import tqdm

from hedgebench.activations import ActivationSource, activation_folder
from hedgebench.data import TokenSource, open_text
from hedgebench.injection import Injection, auc, inject
from hedgebench.latent_sample import LatentSample, gather, halved, live, restricted
from hedgebench.loaders import load_sae
from hedgebench.matching import match
from hedgebench.models import load_model, model_revision
from hedgebench.results import write_table
from hedgebench.spans import new_span

if TYPE_CHECKING:
    from sae_lens import SAE

HERE = Path(__file__).parent
OUT = Path("out/estimate")
WIDTHS, SEEDS = (32, 64, 128, 256, 512), (0, 1, 2)
SHARES, BATCHES = (0.1, 0.2, 0.3, 0.5), (6, 12, 24)
"""Of injection: |owed part| / |row|; and batches of 2,048 tokens."""
SHARED = 0.7
"""Cosine of two seeds' rows that are one latent."""
WIDE = 512
LACKS = 0.6
"""A row of the wider SAE is lacking in the narrow one where its cosine with every row of that is below this."""
CO_FIRES = 3.0
"""It fires with a latent where it fires so many times as often with it as it does on the whole."""


def growth(layer: int) -> pd.DataFrame:
    """For each width and seed, the rank correlation over latents of each estimate with how far growth moved the decoder row, |change| against the SAE that was trained on as long without; and with the share of that change which lies in the span of the new rows."""
    rows = []
    for width, seed in itertools.product(WIDTHS, SEEDS):
        left, grown = grown_pair(layer, width, seed)
        change = grown.W_dec[:width] - left.W_dec
        share = (change @ new_span(grown.W_dec[width:]).T).norm(dim=1) / change.norm(dim=1)
        table = of_latents(layer, f"from{width}-{width}-s{seed}")
        moved, inside = (of[table.index].numpy() for of in (change.norm(dim=1), share))
        for name in RANKED:
            found = (float(spearmanr(table[name], of, nan_policy="omit").statistic) for of in (moved, inside))
            rows.append((layer, width, seed, name, *found, len(table), float(moved.mean())))
    columns = ["layer", "width", "seed", "estimate", "correlation", "with_share", "n", "moved"]
    return pd.DataFrame(rows, columns=columns)


def seeds(layer: int) -> pd.DataFrame:
    """For each width and two training seeds, the rank correlation of each estimate over the latents that both have: rows paired one to one, of a cosine of .7 or more."""
    rows = []
    for width, (first, second) in itertools.product(WIDTHS, itertools.combinations(SEEDS, 2)):
        names = [f"from{width}-{width}-s{seed}" for seed in (first, second)]
        one, other = (load_sae(str(OUT / f"grown-layer{layer}" / name)).W_dec for name in names)
        pairs = match(one, other)
        tables = [of_latents(layer, name) for name in names]
        shared = [
            (i, j)
            for i, (j, cosine) in enumerate(zip(pairs.partner.tolist(), pairs.cosine.tolist(), strict=True))
            if cosine >= SHARED and i in tables[0].index and j in tables[1].index
        ]
        if len(shared) < 5:
            continue
        chosen = [table.loc[list(ids)] for table, ids in zip(tables, zip(*shared, strict=True), strict=True)]
        for name in RANKED:
            value = float(spearmanr(*(table[name] for table in chosen), nan_policy="omit").statistic)
            rows.append((layer, width, f"{first}, {second}", name, value, len(shared)))
    return pd.DataFrame(rows, columns=["layer", "width", "seeds", "estimate", "correlation", "n"])


def directions(layer: int) -> pd.DataFrame:
    """For each latent whose directions were named, how well the best of them meets a row of a wider SAE of another training seed that the narrow SAE lacks and that fires with the latent; and how well other latents' directions do."""
    batches = list(text(layer, 16))
    rows = []
    for width, seed in itertools.product((32, 64, 128), SEEDS):
        name = f"from{width}-{width}-s{seed}"
        narrow = load_sae(str(OUT / f"grown-layer{layer}" / name))
        wide = load_sae(str(OUT / f"layer{layer}" / f"w{WIDE}-k8.0-s{(seed + 1) % 3}"))
        together = co_firing(narrow, wide, batches)
        units, own_units = (torch.nn.functional.normalize(sae.W_dec.detach(), dim=1) for sae in (wide, narrow))
        lacking = (units @ own_units.T).amax(dim=1) < LACKS
        named = {one["latent"]: torch.tensor(one["features"][0]["direction"]) for one in told(layer, name)}
        for latent, direction in named.items():
            candidates = units[lacking & (together[latent] > CO_FIRES)]
            if not len(candidates):
                continue
            best = float((candidates @ direction).max())
            others = [float((candidates @ other).max()) for i, other in named.items() if i != latent]
            anywhere = float((units[lacking] @ direction).max())
            rows.append((layer, width, seed, latent, len(candidates), best, float(np.mean(others)), anywhere))
    columns = ["layer", "width", "seed", "latent", "candidates", "own", "others", "anywhere"]
    return pd.DataFrame(rows, columns=columns)


def injection(layer: int) -> pd.DataFrame:
    """What every estimate makes of hedging that is added to 1 in 8 latents, and of the same of random sign."""
    rows = []
    plan = [(width, share, BATCHES[-1]) for width in (64, 512) for share in SHARES]
    plan += [(width, 0.3, batches) for width in (64, 512) for batches in BATCHES[:-1]]
    for (width, n_batches), own in itertools.groupby(tqdm(plan, desc="injections"), key=lambda one: (one[0], one[2])):
        sample = alive_on(
            load_sae(str(OUT / f"grown-layer{layer}" / f"from{width}-{width}-s0")), text(layer, n_batches)
        )
        cfg = HedgingEstimate.Config(pairs=128)
        found = measure(sample, torch.Generator().manual_seed(0), cfg)
        before = found.latents()
        for _, share, _ in own:
            added = inject(found.fit, share, 8, torch.Generator().manual_seed(1))
            rows += injected(sample, before, added, {"layer": layer, "width": width, "tokens": len(sample.x), "share": share})  # fmt: skip
    return pd.DataFrame(rows)


def elsewhere(layer: int) -> pd.DataFrame:
    """The same of features that are there without their latents, too, or vary in strength."""
    rows = []
    for width in tqdm((64, 256), desc="widths"):
        sae = load_sae(str(OUT / f"grown-layer{layer}" / f"from{width}-{width}-s0"))
        sample = alive_on(sae, text(layer, BATCHES[-1]))
        found = measure(sample, torch.Generator().manual_seed(0), HedgingEstimate.Config(pairs=128))
        before = found.latents()
        for alone, spread in ((0.0, 0.0), (0.01, 0.0), (0.03, 0.0), (0.1, 0.0), (0.0, 0.5)):
            added = inject(found.fit, 0.3, 8, torch.Generator().manual_seed(1), alone, spread)
            about = {"layer": layer, "width": width, "tokens": len(sample.x), "alone": alone, "spread": spread}
            rows += injected(sample, before, added, about)
    return pd.DataFrame(rows)


def injected(
    sample: LatentSample, before: dict[str, torch.Tensor], added: Injection, about: dict[str, Any]
) -> list[dict[str, Any]]:
    """What every estimate makes of features that were added."""
    cfg = HedgingEstimate.Config(pairs=128)
    after, signs = (
        measure(sample._replace(x=x), torch.Generator().manual_seed(0), cfg) for x in (added.x, added.control)
    )
    came_out = (added.directions @ after.hedging.missing.atoms.T).amax(dim=1) > 0.7
    rows = []
    for name in RANKED:
        real, sign, old = (of[name] for of in (after.latents(), signs.latents(), before))
        rows.append(
            about
            | {
                "estimate": name,
                "injected": len(added.latents),
                "auc": auc(real[added.latents], real[added.others]),
                "auc_before": auc(old[added.latents], old[added.others]),
                "auc_signs": auc(sign[added.latents], sign[added.others]),
                "than_before": auc(real[added.latents], old[added.latents]),
                "than_itself": float((real > old)[added.latents].double().mean()),
                "rise": float((real - old)[added.latents].mean()),
                "random_sign_rise": float((sign - old)[added.latents].mean()),
                "directions_found": float(came_out.double().mean()),
            }
        )
    return rows


def of_latents(layer: int, sae: str) -> pd.DataFrame:
    """Each estimate of each latent that was measured, by its number."""
    scores = of_sae(layer, sae)
    own = scores[(scores["slice_by"] == "latent") & (scores["params"] == "")]
    table = own.pivot_table(index="slice_value", columns="metric", values="value")
    return table.set_index(table.index.astype(int)).sort_index()


def of_sae(layer: int, sae: str) -> pd.DataFrame:
    """The scores of an SAE."""
    scores = pd.read_parquet(OUT / f"results-layer{layer}" / "scores.parquet")
    own = scores[scores["sae"] == sae]
    if own.empty:
        raise SystemExit(f"{sae} has no results: run results/hedging_estimate/suite-layer{layer}.yaml first")
    return own


def halves(layer: int) -> pd.DataFrame:
    """How alike disjoint halves of the documents rank latents, each estimated by itself, on less and on more text."""
    rows = []
    plan = list(itertools.product((64, 256), (24, 72)))
    for width, n_batches in tqdm(plan, desc="halves"):
        sample = alive_on(
            load_sae(str(OUT / f"grown-layer{layer}" / f"from{width}-{width}-s0")), text(layer, n_batches)
        )
        generator, cfg = torch.Generator().manual_seed(0), HedgingEstimate.Config(pairs=128)
        first, second = (measure(half, generator, cfg).latents() for half in halved(sample, generator))
        for name in RANKED:
            value = float(spearmanr(first[name], second[name], nan_policy="omit").statistic)
            rows.append((layer, width, len(sample.x) // 2, name, value, len(first[name])))
    return pd.DataFrame(rows, columns=["layer", "width", "tokens", "estimate", "correlation", "n"])


def grown_pair(layer: int, width: int, seed: int) -> tuple[SAE, SAE]:
    """The SAE that was left behind, and the one that grew by half its width."""
    folder = OUT / f"grown-layer{layer}"
    left, grown = (load_sae(str(folder / f"from{width}-{to}-s{seed}")) for to in (width, width * 3 // 2))
    return left, grown


def told(layer: int, sae: str) -> list[dict[str, Any]]:
    """The directions that the record of an SAE names."""
    (run,) = of_sae(layer, sae)["run_id"].unique()
    record = json.loads((OUT / f"results-layer{layer}" / "records" / "hedging_estimate" / f"{run}.json").read_text())
    found: list[dict[str, Any]] = record["eval_result_unstructured"]["hedging"]
    return found


def co_firing(narrow: SAE, wide: SAE, batches: list[Any]) -> torch.Tensor:
    """[narrow, wide]: how many times as often a latent of the one fires where one of the other does, as it does on the whole."""
    first, second = (gather(sae, batches, torch.Generator().manual_seed(0)).f.to_dense() > 0 for sae in (narrow, wide))
    both = first.float().T @ second.float() / len(first)
    expected = first.float().mean(dim=0)[:, None] * second.float().mean(dim=0)
    return both / expected.clamp(min=1e-12)


def alive_on(sae: SAE, batches: Iterator[Any]) -> LatentSample:
    """The sample of the latents that fire often enough."""
    sample = gather(sae, batches, torch.Generator().manual_seed(0))
    return restricted(sample, live(sample, HedgingEstimate.Config().min_firings))


def text(layer: int, n_batches: int) -> Iterator[Any]:
    """Activations of the text that evaluations read, of seed 0."""
    hook, corpus = f"blocks.{layer}.hook_resid_post", open_text("offline", "eval")
    model = load_model("smollm2-135m")
    folder = activation_folder(model_revision("smollm2-135m"), corpus.identity, hook, None, 0, "float32")
    tokens = TokenSource(corpus, model.tokenizer, 0)
    return ActivationSource(model, hook, None, tokens, folder, model.cfg.d_model).batches(n_batches)


def main() -> None:
    """Measure, and write the table."""
    what, layer = sys.argv[1], int(sys.argv[2])
    measured = {
        "growth": growth,
        "seeds": seeds,
        "halves": halves,
        "directions": directions,
        "injection": injection,
        "elsewhere": elsewhere,
    }
    write_table(measured[what](layer), HERE / f"{what}-layer{layer}.csv")


if __name__ == "__main__":
    with torch.inference_mode():
        main()
