"""Hand-made SAEs whose numbers are known beforehand: `python results/validity/known.py` writes known.csv, a row for each number with what it should be (minutes on one core).

Every metric that has no better end is held to its value here, and some that have one. A case is a dial: the same SAE with more and more of one fault.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
import torch
from tqdm import tqdm

from hedgebench import evaluate
from hedgebench.loaders import build_sae, load_sae
from hedgebench.results import write_table
from hedgebench.spans import expected_norm
from hedgebench.toy.world_config import WorldConfig
from hedgebench.toy.worlds import World, make_world

if TYPE_CHECKING:
    from sae_lens import SAE
    from torch import Tensor

HERE = Path(__file__).parent
TRAINED = HERE.parents[1] / "evals" / "checkpoints" / "batchtopk-mse-s0"
MODEL, HOOK, D = "smollm2-135m", "blocks.8.hook_resid_post", 576
N, P, D_TOY = 20, 0.1, 44
"""Toy features, how often each fires, and dimensions."""
SEEDS = (0, 1, 2)


class Known(NamedTuple):
    """One number and what it should be."""

    eval: str
    case: str
    amount: float
    metric: str
    params: str
    seed: int | None
    known: float
    found: float
    stderr: float | None


def sae(rows: Tensor, columns: Tensor | None = None, b_dec: Tensor | None = None, b_enc: float = 0.0) -> SAE:
    """ReLU((x - b_dec) columns^T + b_enc) rows + b_dec, at layer 8 of the model; without columns, the encoder is the decoder's transpose."""
    width, d = rows.shape
    metadata = {"hook_name": HOOK, "model_name": MODEL}
    config = {"architecture": "standard", "d_in": d, "d_sae": width, "dtype": "float32", "apply_b_dec_to_input": True, "metadata": metadata}  # fmt: skip
    given = {"W_dec": rows, "W_enc": (rows if columns is None else columns).T, "b_dec": torch.zeros(d) if b_dec is None else b_dec, "b_enc": torch.full((width,), b_enc)}  # fmt: skip
    return build_sae(config, {name: tensor.float().contiguous().clone() for name, tensor in given.items()})


def held(case: str, amount: float, name: str, known: Mapping[str, float], given: Any, **how: Any) -> Iterator[Known]:
    """What an eval says of SAEs beside what is known, by metric (`metric` or `metric params`)."""
    scores = evaluate(given, how.pop("config", None) or name, **how)
    whole = scores[scores["slice_by"] == "all"]
    for row in whole.itertuples():
        word = f"{row.metric} {row.params}".strip()
        if word in known:
            seed = None if pd.isna(row.seed) else int(row.seed)
            error = None if pd.isna(row.stderr) else float(row.stderr)
            yield Known(name, case, amount, row.metric, row.params, seed, known[word], float(row.value), error)


# --- a toy world of orthonormal features --------------------------------------------------------------------------------------------


def toy() -> Iterator[Known]:
    """`toy_recovery`: hedging, absorption, noise, dead latents and a bias of known size."""
    world = make_world(WorldConfig("known", D_TOY, (P,) * N))
    f = world.features
    off = torch.linalg.svd(f, full_matrices=True).Vh[N:]  # orthonormal, and orthogonal to every feature
    half = N // 2
    for h in (0.0, 0.1, 0.2, 0.4, 0.8):
        own, other = 1 / math.hypot(1, h), h / math.hypot(1, h)
        rows = {"decoder_cosine": own, "encoder_cosine": 1.0, "asymmetry": 1 - own, "dead_latents": 0.0}
        hedged = {**rows, "hedged": other, "absorbed": 0.0, "unexplained": 0.0, "tracked": 0.5, "mcc": own, "l0": half * P}  # fmt: skip
        yield from on_toy("hedging: a latent's row holds h of a feature that is lost", h, hedged, unit(f[:half] + h * f[half:]), f[:half], world)  # fmt: skip
        absorbed = {**rows, "hedged": 0.0, "absorbed": other, "unexplained": 0.0, "tracked": 1.0, "mcc": own, "l0": N * P}  # fmt: skip
        yield from on_toy("absorption: a latent's row holds h of another latent's feature", h, absorbed, unit(f + h * f.roll(1, 0)), f, world)  # fmt: skip
        noisy = {**rows, "hedged": 0.0, "absorbed": 0.0, "unexplained": other, "tracked": 1.0, "mcc": own}
        yield from on_toy("noise: a latent's row holds h of a direction that is no feature's", h, noisy, unit(f + h * off[:N]), f, world)  # fmt: skip
        yield from on_toy("bias: h of a feature in the decoder bias", h, {"b_dec_projection": h}, f, f, world, b_dec=h * f[0])  # fmt: skip
    for lost in (0.0, 0.25, 0.5, 0.75):
        kept = f.clone()
        kept[: round(lost * N)] = 0
        left = {"dead_latents": lost, "tracked": 1 - lost, "explained_variance": 1 - lost / (1 - P), "l0": (1 - lost) * N * P, "true_l0": N * P}  # fmt: skip
        alive = {"precision": 1 - lost, "recall": 1 - lost, "f1": 1 - lost, "mcc": 1.0}
        yield from on_toy("dead: a share of the latents never fires", lost, {**left, **alive}, f, kept, world)
    for size in (0.25, 0.5, 1.0):
        yield from on_toy("shrinkage: latents fire at a share of their strength", size, {"shrinkage": size, "explained_variance": 1 - (1 - size) ** 2 / (1 - P)}, f, size * f, world)  # fmt: skip


def on_toy(case: str, amount: float, known: Mapping[str, float], rows: Tensor, columns: Tensor, world: World, b_dec: Tensor | None = None) -> Iterator[Known]:  # fmt: skip
    """`toy_recovery` of these weights."""
    yield from held(
        case, amount, "toy_recovery", known, sae(rows, columns, b_dec, b_enc=-1e-3), world=world, seeds=SEEDS
    )


def unit(rows: Tensor) -> Tensor:
    """Rows of norm 1."""
    return rows / rows.norm(dim=-1, keepdim=True)


# --- weights --------------------------------------------------------------------------------------------------------------------------


def weights() -> Iterator[Known]:
    """`decoder_bias`, `decoder_similarity`, `seed_overlap` and `grow_delta`: rows and biases whose geometry is a dial."""
    axes = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(0))).Q
    n = 100
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        bias = 3 * (math.sqrt(share) * axes[0] + math.sqrt(1 - share) * axes[n])
        known = {"b_dec_norm": 3.0, "b_dec_relative_norm": 3.0, "b_dec_span_share": share, "d_in": float(D)}
        yield from held("bias: a share of its square in the span of the rows", share, "decoder_bias", known, sae(axes[:n], b_dec=bias))  # fmt: skip
    for s in (0.0, 0.25, 0.5, 1.0):
        common = s**2 / (1 + s**2)  # cosine of any two rows
        spectrum = torch.tensor([1 + (n - 1) * common] + [1 - common] * (n - 1))
        share = spectrum.sqrt() / spectrum.sqrt().sum()
        known = {
            "c_dec": common, "max_cosine": common, "effective_rank": float((-(share * share.log()).sum()).exp()),
            "stable_rank": n / float(spectrum[0]), "spectrum_share top=1": float(spectrum[0]) / n,
        }  # fmt: skip
        yield from held("crowding: every row holds s of one direction", s, "decoder_similarity", known, sae(unit(axes[:n] + s * axes[n])))  # fmt: skip
    trained = load_sae(TRAINED)
    width = trained.cfg.d_sae
    for replaced in (0.25, 0.5, 0.75, 1.0):
        other = sae(trained.W_dec, trained.W_enc.T)
        generator = torch.Generator().manual_seed(1)
        chosen = torch.randperm(width, generator=generator)[: round(replaced * width)]
        other.W_dec.data[chosen] = unit(torch.randn(len(chosen), D, generator=generator))
        other.W_enc.data[:, chosen] = other.W_dec.data[chosen].T
        known = {"shared threshold=0.7": 1 - replaced, "shared_by_all seeds=2,threshold=0.7": 1 - replaced}
        pair = {"a": sae(trained.W_dec, trained.W_enc.T), "b": other}
        yield from held("another seed: a share of the latents is new", replaced, "seed_overlap", known, pair, config={"seed_overlap": {"n_batches": 0}}, group="pair")  # fmt: skip
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        yield from grown(share, axes)


def grown(share: float, axes: Tensor, size: float = 0.4, old: int = 100, added: int = 20) -> Iterator[Known]:
    """Old rows that all change by `size`, this share of the square inside the span of the new rows, and stay of norm 1."""
    generator = torch.Generator().manual_seed(2)
    inside, outside, middle = axes[:added], axes[added : D // 2], axes[D // 2 :]

    def drawn(basis: Tensor) -> Tensor:
        return unit(torch.randn(old, len(basis), generator=generator)) @ basis

    change = size * (math.sqrt(share) * drawn(inside) + math.sqrt(1 - share) * drawn(outside))
    centre = math.sqrt(1 - size**2 / 4) * drawn(middle)
    before, after = sae(centre - change / 2), sae(torch.cat([centre + change / 2, inside]))
    g, b = size * math.sqrt(share), size * expected_norm(added, D)
    known = {
        "delta_share": share, "direction_share": math.sqrt(share), "delta_norm": size, "cosine": 1 - size**2 / 2, "projection": g, "baseline": b, "rank": float(added),
        "unclamped_degree": (g - b) / (1 - b), "hedging_degree": max(0.0, (g - b) / (1 - b)), "excess null=isotropic": g - b, "share_excess null=isotropic": share - added / D,
        **({"symmetry": 1.0} if share else {}),
    }  # fmt: skip
    yield from held("growth: a share of the change is in the span of the new rows", share, "grow_delta", known, {"grown": after}, control=before, config={"grow_delta": {"n_batches": 0, "min_live": 0.0}})  # fmt: skip


# --- a language model -----------------------------------------------------------------------------------------------------------------


def model() -> Iterator[Known]:
    """`bias_alignment` and `saebench_core`: biases that are a multiple of the mean activation; an SAE that gives back everything, and one that gives back nothing."""
    mean = mean_activation()
    signs = torch.cat([torch.eye(D), -torch.eye(D)])
    for times in (0.25, 0.5, 1.0, 2.0):
        known = {"relative_norm_of_mean": times, "cosine_mean": 1.0, "mean_explained": 1 - (1 - times) ** 2}
        yield from held("bias: a multiple of the mean activation", times, "bias_alignment", known, sae(torch.eye(D), b_dec=times * mean))  # fmt: skip
    core: dict[str, Any] = {"saebench_core": {"n_batches": 1, "n_sparsity_batches": 2}}
    for kept in (1.0, 0.5):
        known = {"l2_ratio": kept, "cossim": 1.0, "explained_variance": 1.0, "mse": 0.0, "l0": float(D), "relative_reconstruction_bias": 1.0}  # fmt: skip
        whole = {**known, "kl_div_score": 1.0, "ce_loss_score": 1.0, "upstream_explained_variance": 1.0}
        half = {name: known[name] for name in ("l2_ratio", "cossim", "l0")}
        yield from held("all of it: a latent for each sign of each coordinate, of this strength", kept, "saebench_core", whole if kept == 1 else half, sae(signs, kept * signs), config=core)  # fmt: skip
    nothing = {
        "l0": 0.0,
        "l1": 0.0,
        "dead_latents": 1.0,
        "frac_alive": 0.0,
        "kl_div_score": 0.0,
        "ce_loss_score": 0.0,
        "l2_ratio": 0.0,
    }
    yield from held("nothing: no latent fires, and the bias is zero", 0.0, "saebench_core", nothing, sae(signs, 0 * signs, b_enc=-1.0), config=core)  # fmt: skip
    just_the_mean = {"explained_variance": 0.0, "l0": 0.0}
    yield from held("the mean: no latent fires, and the bias is the mean activation", 0.0, "saebench_core", just_the_mean, sae(signs, 0 * signs, mean, b_enc=-1.0), config=core)  # fmt: skip


def mean_activation() -> Tensor:
    """[d_in], of the ordinary tokens that `bias_alignment` reads at evaluation seed 0."""
    from hedgebench.activations import ActivationSource, activation_folder
    from hedgebench.data import TokenSource, open_text
    from hedgebench.models import load_model, model_revision

    loaded, corpus = load_model(MODEL), open_text("offline", "eval")
    folder = activation_folder(model_revision(MODEL), corpus.identity, HOOK, None, 0, "float32")
    source = ActivationSource(loaded, HOOK, None, TokenSource(corpus, loaded.tokenizer, 0), folder, D)
    kept = torch.cat([batch.acts[batch.mask] for batch in source.batches(8)])
    return kept.double().mean(0).float()


def main() -> None:
    """Measure all cases, and write the table."""
    found = [known for part in (toy, weights, model) for known in tqdm(part(), desc=part.__name__)]
    write_table(pd.DataFrame(found), HERE / "known.csv")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
