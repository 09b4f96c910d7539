"""The pages of the reference run say what their tables say: made-up tables whose truth is known."""

from __future__ import annotations

import importlib.util
import itertools
import re
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import REPOSITORY
from known_scores import table

from hedgebench.verdicts import above, below, claim_of_each, falls, in_all, judged, rises

BASE = {"loss": "mse", "train_tokens": 2_000_000, "seed": None}
WIDTHS = (64, 128, 256, 512, 1024, 2048, 4096)


def page_of(place: str) -> ModuleType:
    script = REPOSITORY / f"results/{place}.py"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(script.parent))  # where its neighbours are
        spec = importlib.util.spec_from_file_location(place.replace("/", "_"), script)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


class Range(NamedTuple):
    low: float
    high: float


def test_what_holds_is_told_from_what_does_not_and_what_cannot_be_told():
    found = claim_of_each("It is so.", judged({"a": Range(-2, -1), "b": Range(1, 2), "c": Range(-1, 1)}, below, above))
    assert [part.split(" (")[0] for part in found.said.split(". ")] == [
        "Holds for a",
        "Does not hold for b",
        "Cannot tell for c",
    ]
    assert found.verdict == "holds for 1 of 3, does not hold for 1 of 3, cannot tell for 1 of 3"
    assert str(claim_of_each("It is so.", {})) == "- **It is so.** Cannot tell: not measured."
    assert claim_of_each("It is so.", judged({"a": Range(-2, -1)}, below, above)).verdict == "holds"


@pytest.mark.parametrize(
    ("so", "otherwise", "verdict"),
    [
        ([True, True], [False, False], "holds"),
        ([True, False], [False, True], "holds in part"),
        ([False, False], [True, False], "does not hold"),
        ([False, False], [False, False], "cannot tell"),
        ([], [], "cannot tell"),
    ],
)
def test_what_is_claimed_of_all_holds_in_part_where_it_is_so_in_some(
    so: list[bool], otherwise: list[bool], verdict: str
):
    assert in_all(so, otherwise) == verdict


@pytest.mark.parametrize(
    ("exponent", "noise", "verdict"),
    [(0.5, 0.01, "Holds for"), (0.2, 0.01, "Does not hold for"), (0.5, 0.6, "Cannot tell for")],
)
def test_the_exponent_of_the_bias_norm_beyond_d_model(exponent: float, noise: float, verdict: str):
    rng, rows = np.random.default_rng(0), list[dict[str, Any]]()
    for s in range(3):
        for width in WIDTHS:
            one = {**BASE, "sae": f"{width}-{s}", "k": 20.0, "width": width, "train_seed": s, "eval": "decoder_bias"}
            norm = (width / 576) ** (-0.3 if width < 576 else exponent) * np.exp(noise * rng.normal())
            rows += [{**one, "metric": "b_dec_norm", "value": norm}, {**one, "metric": "d_in", "value": 576.0}]
    said = page_of("widths/page").page(table(rows))
    (line,) = (line for line in said.splitlines() if line.startswith("- **It rises as √n would"))
    assert f"** {verdict} BatchTopK, k 20" in line
    if noise < 0.1:
        (line,) = (line for line in said.splitlines() if line.startswith("- **The norm falls with the width"))
        assert "** Holds for BatchTopK, k 20 (-0.3" in line


def test_of_one_seed_no_exponent_is_told():
    rows = list[dict[str, Any]]()
    for width in WIDTHS:
        one = {**BASE, "sae": f"{width}", "k": 20.0, "width": width, "train_seed": 0, "eval": "decoder_bias"}
        rows += [{**one, "metric": "b_dec_norm", "value": width**0.1}, {**one, "metric": "d_in", "value": 576.0}]
    said = page_of("widths/page").page(table(rows))
    (line,) = (line for line in said.splitlines() if line.startswith("- **It rises as √n would"))
    assert "Cannot tell for BatchTopK, k 20 (0.100 (one seed, no interval); from 2,048 to 4,096 0.100" in line


def test_a_rise_at_the_last_step_alone_is_one_in_part():
    rng, rows = np.random.default_rng(0), list[dict[str, Any]]()
    for s, width in itertools.product(range(3), WIDTHS):
        one = {**BASE, "sae": f"{width}-{s}", "k": 20.0, "width": width, "train_seed": s, "eval": "decoder_bias"}
        norm = (2**0.5 if width == WIDTHS[-1] else 1.0) * np.exp(0.001 * rng.normal())
        rows += [{**one, "metric": "b_dec_norm", "value": norm}, {**one, "metric": "d_in", "value": 576.0}]
    said = page_of("widths/page").page(table(rows))
    (line,) = (line for line in said.splitlines() if line.startswith("- **It rises as √n would"))
    assert re.search(r"Holds in part for BatchTopK, k 20 \(0.25\d .*; from 2,048 to 4,096 0.(49|50)", line)


def test_an_sae_that_explains_less_than_a_narrower_one_was_trained_too_shortly():
    rows = list[dict[str, Any]]()
    for s, width in itertools.product(range(3), WIDTHS):
        one = {**BASE, "sae": f"{width}-{s}", "k": 20.0, "width": width, "train_seed": s}
        explained = 0.7 if width == 4096 else width / 4096 + 0.3
        rows += [{**one, "eval": "decoder_bias", "metric": metric, "value": 576.0} for metric in ("b_dec_norm", "d_in")]
        rows.append({**one, "eval": "saebench_core", "metric": "explained_variance", "value": explained})
    said = page_of("widths/page").page(table(rows))
    assert (
        "as those trained to their end would not: BatchTopK, k 20, from 2,048 to 4,096 latents (-0.100 [-0.100, -0.100] of the variance). What"
        in said
    )
    (beyond,) = (line for line in said.splitlines() if line.startswith("- **Beyond d_model it rises"))
    assert beyond.endswith(
        "width; they explain less from 2,048 to 4,096 latents (-0.100 [-0.100, -0.100] of the variance))."
    )


def test_a_width_that_one_seed_alone_has_is_in_the_table_and_in_no_slope():
    rng, rows = np.random.default_rng(0), list[dict[str, Any]]()
    for s, width in itertools.product(range(3), WIDTHS):
        one = {**BASE, "sae": f"{width}-{s}", "k": 20.0, "width": width, "train_seed": s, "eval": "decoder_bias"}
        norm = width**0.5 * np.exp(0.001 * rng.normal())
        rows += [{**one, "metric": "b_dec_norm", "value": norm}, {**one, "metric": "d_in", "value": 576.0}]
    before = page_of("widths/page").page(table(rows))
    rows.append({**rows[-2], "sae": "alone", "width": 8192, "train_seed": 0, "value": 30.0})
    said = page_of("widths/page").page(table(rows))
    (slope,) = {line for line in before.splitlines() if line.startswith("- **It rises as √n would")}
    assert slope in said and "Holds for BatchTopK, k 20 (0.5" in slope
    assert "| 8,192 | 30.000 (one seed, no interval) |" in said
    assert "There are 3 seeds, of some SAEs fewer" in said and "There are 3 seeds. Each" in before
    assert "Gemma Scope's SAEs.** Cannot tell: no SAE here has more than 8,192 latents." in said


@pytest.mark.parametrize(("more", "verdict"), [(1.0, "Holds for"), (-1.0, "Does not hold for")])
def test_a_smaller_k_and_a_larger_l1_weight_are_the_lower_l0(more: float, verdict: str):
    rng, rows = np.random.default_rng(0), list[dict[str, Any]]()
    kinds = [
        ("batchtopk", 8.0, None),
        ("batchtopk", 64.0, None),
        ("standard", None, "l1=3"),
        ("standard", None, "l1=0.5"),
    ]
    for (architecture, k, objective), width, s in itertools.product(kinds, (64, 128), range(3)):
        one = {**BASE, "sae": f"{architecture} {k} {objective} {width} {s}", "width": width, "train_seed": s, "k": k}
        one |= {"architecture": architecture, "objective": objective, "eval": "decoder_bias", "l0": 9.0}
        norm = 5 + more * (k == 64.0 or objective == "l1=0.5") + 0.001 * rng.normal()
        rows += [{**one, "metric": "b_dec_norm", "value": norm}, {**one, "metric": "d_in", "value": 576.0}]
    said = page_of("widths/page").page(table(rows))
    assert (
        f"is smaller at a lower L0 here, too (BatchTopK SAEs of 64 to 128 latents).** {verdict} k 8 − k 64 at 64, 128 latents ({'-' if more > 0 else '+'}"
        in said
    )
    assert (
        f"is smaller at a lower L0 here, too (L1 SAEs of 64 to 128 latents).** {verdict} weight 3 − weight 0.5 at 64, 128 latents ({'-' if more > 0 else '+'}"
        in said
    )


@pytest.mark.parametrize(("more", "verdict"), [(0.1, "Holds for"), (-0.1, "Does not hold for")])
def test_topk_is_compared_with_l1_at_equal_l0(more: float, verdict: str):
    rows = list[dict[str, Any]]()
    for architecture, setting, l0 in [("topk", 40.0, 40), ("standard", 2.0, 30), ("standard", 1.0, 60)]:
        one = {**BASE, "architecture": architecture, "width": 512, "k": setting if architecture == "topk" else None}
        one["objective"] = None if architecture == "topk" else f"l1={setting:g}"
        shared = {"eval": "seed_overlap", "metric": "shared", "params": "threshold=0.7", "stderr": 0.005, "n": 3}
        value = 0.6 + (more if architecture == "standard" else 0.0)
        rows.append({**one, **shared, "sae": f"{architecture} {setting}", "value": value, "chance": 0.0})
        sae = {"sae": f"{architecture} {setting} s0", "train_seed": 0}
        rows.append({**one, **sae, "eval": "decoder_bias", "metric": "b_dec_norm", "value": 1.0, "l0": float(l0)})
    said = page_of("seeds/page").page(table(rows))
    assert f"TopK shares less than L1 at equal L0.** {verdict} TopK, width 512, L0 40 ({-more:+.3f} [" in said


def shared(width: int, values: Sequence[float], name: str = "") -> list[dict[str, Any]]:
    """What seed_overlap says of TopK SAEs of k 40, from the share of every pair of seeds; and the SAEs themselves."""
    one = {**BASE, "architecture": "topk", "width": width, "k": 40.0}
    group = {**one, "sae": f"{width} s*{name}", "eval": "seed_overlap", "metric": "shared", "params": "threshold=0.7"}
    n = 3 if len(values) == 3 else 2
    rows = [{**group, "value": np.mean(values), "stderr": 0.01 if n == 3 else None, "n": n, "chance": 0.0}]
    rows += [{**group, "value": value, "slice_by": "pair", "slice_value": f"{i}"} for i, value in enumerate(values)]
    own = {**one, "eval": "decoder_bias", "metric": "b_dec_norm", "value": 1.0, "l0": 40.0}
    return [*rows, *({**own, "sae": f"{width} s{s}{name}", "train_seed": s} for s in range(n))]


@pytest.mark.parametrize(("narrow", "verdict"), [(0.9, "holds in part"), (0.48, "holds in part"), (0.4, "holds")])
def test_seeds_find_other_latents_where_less_than_half_are_shared_for_certain(narrow: float, verdict: str):
    page = page_of("seeds/page")
    some, *_ = page.Seeds(table(shared(64, [narrow] * 3) + shared(128, [0.3] * 3))).claims()
    # .01 with two degrees of freedom
    assert some.verdict == verdict
    assert f"k 40 (0.300 [0.257, 0.343] at 128 latents to {narrow:.3f} [{narrow - 0.043:.3f}, " in some.said
    for alone, verdict in ((0.9, "does not hold"), (0.48, "cannot tell")):
        some, *_ = page.Seeds(table(shared(64, [alone] * 3))).claims()
        assert some.verdict == verdict and some.said.endswith("at 64 latents).")


def test_a_group_that_was_measured_before_it_was_whole_says_nothing():
    whole = shared(64, (0.5, 0.5, 0.5)) + shared(128, (0.4, 0.4, 0.4))
    page = page_of("seeds/page")
    said = page.page(table(whole))
    stale = [row for row in shared(128, (0.9,), "~old") if row["eval"] == "seed_overlap"]
    assert page.page(table(whole + stale)) == said
    assert "| 128 | 0.400 [0.357, 0.443] |" in said  # .01 with two degrees of freedom


def grown(settings: dict[str, Any], value: float) -> list[dict[str, Any]]:
    """What grow_delta says of an SAE, all of it the same but the new rows' number."""
    nulls = ("residual", "other_seed", "reordered")
    metrics = [("hedging_degree", ""), ("excess", ""), ("delta_share", "")]
    metrics += [(metric, f"null={null}") for metric in ("excess", "share_excess") for null in nulls]
    of = {**settings, "eval": "grow_delta"}
    rows = [{**of, "metric": metric, "params": params, "value": value} for metric, params in metrics]
    sides = [("symmetry", ""), ("hedging_degree", "weights=encoder"), ("excess", "weights=encoder")]
    rows += [{**of, "metric": metric, "params": params, "value": value / 2} for metric, params in sides]
    rows.append({**of, "metric": "scale", "params": "null=reordered", "value": 1.0})
    return [*rows, {**of, "metric": "rank", "params": "", "value": 64.0}]


def degrees(layers: tuple[int, ...], ks: tuple[float, ...], flat_from: int = 10**6) -> list[dict[str, Any]]:
    """Degrees that fall by .1 for each doubling of the width up to one, by .05 for each doubling of k from 8, and rise with the layer."""
    rng, rows = np.random.default_rng(0), list[dict[str, Any]]()
    for layer, k, width, s in itertools.product(layers, ks, (64, 128, 256), range(3)):
        one = {**BASE, "sae": f"{layer} {k} {width} {s}", "k": k, "width": width + 64, "train_seed": s, "layer": layer}
        one["hook"] = f"blocks.{layer}.hook_resid_post"
        doublings = np.log2(min(width, flat_from) / 64)
        rows += grown(one, 0.6 - 0.1 * doublings - 0.05 * np.log2(k / 8) + 0.05 * layer + 0.001 * rng.normal())
    return rows


def test_the_degree_is_told_by_width_and_layer():
    said = page_of("growth/where").page(table(degrees((4, 8), (8.0,))))
    assert "the larger the hedging degree.** Holds for layer 4, k 8 (-0.1" in said
    assert "| apart | " + "4 / 8 | " * 11 + "none |" in said
    assert re.search(
        r"Layers differ in hedging \(k 8, [^)]*\).\*\* Holds for hedging degree \(layer 4 0.(69|70).; layer 8 0.(89|90).; apart: 4 / 8",
        said,
    )
    assert "other training seeds' rows (layer 4" not in said  # of which a layer's seeds are not independent
    assert "larger the hedging degree.** Cannot tell: not measured." in said  # of L0: there is one


def test_layers_are_compared_at_the_widths_that_all_have():
    rows = [row for row in degrees((4, 8), (8.0,)) if (row["layer"], row["width"]) != (8, 64 + 64)]
    said = page_of("growth/where").page(table(rows))
    assert re.search(
        r"Layers differ in hedging \(k 8, [^)]*\).\*\* Holds for hedging degree \(layer 4 0.6[45].; layer 8 0.8[45].; apart: 4 / 8",
        said,
    )


def test_a_layer_of_one_seed_is_not_compared():
    said = page_of("growth/where").page(
        table([row for row in degrees((4, 8), (8.0,)) if row["layer"] == 4 or row["train_seed"] == 0])
    )
    assert re.search(r"Layers differ in hedging \(k 8, [^)]*\).\*\* Cannot tell: not measured.", said)
    assert "## By layer\n\nNot measured." in said
    assert "above 0 in 3 of 3 settings of layer, k and width" in said  # and not 3 of 6


def test_a_width_that_one_seed_alone_has_is_in_no_slope_and_no_verdict():
    rows = degrees((8,), (8.0,))
    more = [{**row, "width": 512 + 64, "sae": "alone", "value": 0.9} for row in rows if row["sae"] == "8 8.0 64 0"]
    before, said = (page_of("growth/where").Where(table(of)).claims() for of in (rows, rows + more))
    assert [str(one) for one in said] == [str(one) for one in before]


def test_what_was_not_measured_of_growth_is_said():
    rows = [
        row
        for row in degrees((4, 8), (8.0,))
        if "other_seed" not in row["params"] and row["metric"] != "symmetry" and row["params"] != "weights=encoder"
    ]
    said = page_of("growth/where").page(table(rows))
    for claim in (
        "Encoder columns give something up",
        "Encoder columns change as decoder rows do",
        "The narrower, the larger g beyond other",
    ):
        assert next(line for line in said.splitlines() if claim in line).endswith("** Cannot tell: not measured.")
    assert "hedging degree.** Holds for layer 4, k 8 (-0.1" in said


def test_the_degree_is_told_by_l0():
    said = page_of("growth/where").page(table(degrees((8,), (8.0, 32.0))))
    assert "The smaller L0, the larger the hedging degree.** Holds for width 64 (-0.05" in said
    assert "## By layer\n\nNot measured." in said


def test_a_fall_that_ends_on_the_way_is_certain_at_fewer_steps():
    said = page_of("growth/where").page(table(degrees((8,), (8.0,), flat_from=128)))
    assert re.search(r"hedging degree.\*\* Holds for layer 8, k 8 \(-0.05.*?; certain at 1 of 2 steps\)", said)


def test_encoder_columns_have_a_claim_of_their_own():
    said = page_of("growth/where").page(table(degrees((8,), (8.0,))))
    claim = next(line for line in said.splitlines() if line.startswith("- **Encoder columns give something up"))
    assert "** Holds for encoder columns beyond no new latents (0.4" in claim
    assert "above 0 in 3 of 3 settings of layer, k and width" in claim
    alike = next(line for line in said.splitlines() if line.startswith("- **Encoder columns change as decoder rows do"))
    assert "** Holds for" not in alike and "layer 8, k 8 (0.50 at 64 latents to 0.40 at 256, -0.05" in alike


@pytest.mark.parametrize(
    ("steps", "verdict"),
    [
        ([Range(-2, -1), Range(-1, 1)], ("holds", "Range(low=-2, high=-1) as exponent; certain at 1 of 2 steps")),
        ([Range(-3, -2), Range(1, 2)], ("holds in part", "Range(low=-2, high=-1) as exponent; certain at 1 of 2 steps, but rises from b (Range(low=1, high=2))")),
    ],
)  # fmt: skip
def test_what_falls_on_the_whole_holds_unless_it_rises_for_certain_on_the_way(
    steps: list[Range], verdict: tuple[str, str]
):
    assert falls(Range(-2, -1), dict(zip("ab", steps, strict=True)), "as exponent") == verdict
    assert falls(Range(-1, 1), {})[0] == "cannot tell" and falls(Range(1, 2), {})[0] == "does not hold"
    mirrored = {name: Range(-step.high, -step.low) for name, step in zip("ab", steps, strict=True)}
    assert rises(Range(1, 2), mirrored)[0] == verdict[0]
    assert rises(Range(-1, 1), {})[0] == "cannot tell" and rises(Range(-2, -1), {})[0] == "does not hold"


@pytest.mark.parametrize(
    ("shift", "verdict"), [(0.0, "Cannot tell: none found among 3"), (0.2, "Does not hold: 2 of 3")]
)
def test_losses_differ_where_they_do(shift: float, verdict: str):
    rng, rows = np.random.default_rng(1), list[dict[str, Any]]()
    for loss in ("mse", "l2", "snap"):
        for k in (20.0, 40.0):
            for s in range(3):
                one = {**BASE, "sae": f"{loss} {k} {s}", "loss": loss, "k": k, "train_seed": s}
                value = 0.5 + k / 200 + shift * (loss == "snap") + 0.01 * rng.normal()
                rows.append({**one, "eval": "saebench_core", "metric": "explained_variance", "value": value})
    said = page_of("losses/page").page(table(rows))
    assert f"curves of explained variance against L0 (BatchTopK).** {verdict} differences" in said
    assert "against L0 (Matryoshka, mse and snap).** Cannot tell: not measured." in said


@pytest.mark.parametrize(
    ("shift", "by_degree_alone", "verdict"),
    [
        (0.0, False, "cannot tell"),
        (-0.2, False, "holds"),
        (0.2, False, "does not hold"),
        (-0.2, True, "holds in part"),
        (0.2, True, "does not hold"),
    ],
)
def test_whether_a_loss_hedges_less_is_told_from_saes_that_grow(shift: float, by_degree_alone: bool, verdict: str):
    rng, rows = np.random.default_rng(2), list[dict[str, Any]]()
    for loss in ("mse", "l2", "snap"):
        for s in range(3):
            one = {**BASE, "sae": f"{loss} {s}", "loss": loss, "k": 40.0, "train_seed": s, "width": 1088}
            for row in grown(one, 0.5):
                more = shift if row["metric"] == "hedging_degree" or not by_degree_alone else 0.0
                rows.append({**row, "value": row["value"] + more * (loss == "snap") + 0.005 * rng.normal()})
            trained = {**one, "sae": f"{loss} {s} trained", "width": 1024, "eval": "saebench_core"}
            rows.append({**trained, "metric": "explained_variance", "value": 0.8 + 0.01 * rng.normal()})
    found = next(
        one
        for one in page_of("losses/page").Found(table(rows)).claims()
        if "(BatchTopK SAEs, when they grow)" in one.words
    )
    if shift == 0:
        assert found.verdict == verdict
    else:
        assert f"{verdict.capitalize()} for snap − mse (hedging degree" in found.said
        assert "Cannot tell for l2 − mse (hedging degree" in found.said
    said = page_of("losses/page").page(table(rows))
    assert str(found) in said
    assert "what inner levels mix in).** Cannot tell: not measured." in said
    assert (
        "9 SAEs of 1,024 latents" in said and "Of the 63 SAEs that the configs name, 9 are in the table so far." in said
    )


def test_committed_pages_are_those_of_the_committed_tables():
    claims = page_of("claims")
    tables = claims.tables()
    assert tables
    for part, scores in tables.items():
        told = page_of(f"{part.folder}/{part.page}").page(scores)
        assert (REPOSITORY / "results" / part.folder / part.told).read_text() == told
    assert (REPOSITORY / "results/claims.md").read_text() == claims.page(tables)


def test_the_claims_lead_to_files_that_are_there():
    text = (REPOSITORY / "results/claims.md").read_text()
    linked = re.findall(r"\]\(([^)]+)\)", text)
    assert linked and all((REPOSITORY / "results" / link).is_file() for link in linked)


def test_every_claim_of_a_table_is_on_the_page_and_what_is_not_measured_is_said():
    claims = page_of("claims")
    told = (REPOSITORY / "results/claims.md").read_text()
    for part, scores in claims.tables().items():
        found = getattr(page_of(f"{part.folder}/{part.page}"), part.teller)(scores).claims()
        assert len(found) > 1 and all(str(one) in told for one in found)
        short = {one: f"| {one.words.rstrip('.')} | {one.verdict} |" in told for one in found}
        assert all(short[one] != one.ours for one in found)  # the table is of what the sources claim
    assert claims.page({}).count("Not measured yet") == len(claims.PARTS)


@pytest.mark.parametrize(
    ("more", "verdict"),
    [
        (0.2, "Holds for TPP (0.25)"),
        (0.0, "Cannot tell for TPP (none is better than both ends for certain)"),
        (-0.08, "Does not hold for TPP (1 is better than all between)"),
    ],
)
def test_a_multiplier_is_better_where_it_beats_both_ends(more: float, verdict: str):
    rng, rows = np.random.default_rng(2), list[dict[str, Any]]()
    for objective, better in (("batchtopk", 0.0), (None, 0.1), ("balance=0.25", 0.1 + more), ("balance=0.75", 0.05)):
        flat = objective == "batchtopk"
        for s in range(3):
            one = {**BASE, "sae": f"{objective} {s}", "k": 40.0, "train_seed": s, "higher_is_better": True}
            one |= {
                "architecture": objective if flat else "matryoshka_batchtopk",
                "objective": None if flat else objective,
            }
            metric = {"eval": "saebench_tpp", "metric": "tpp_total_metric", "params": "n=10"}
            rows.append({**one, **metric, "value": 0.5 + better + 0.005 * rng.normal()})
    said = page_of("losses/page").page(table(rows))
    assert f"is better than both, as in toy worlds.** {verdict}" in said
    assert "| metric | 1 (plain) | 0 − 1 | 0.25 − 1 | 0.75 − 1 |" in said


@pytest.mark.parametrize(
    ("narrow", "wide", "verdict"),
    [(0.2, 0.1, "holds"), (0.2, -0.2, "holds in part"), (-0.2, -0.1, "does not hold"), (0.0, 0.0, "cannot tell")],
)
def test_balanced_saes_are_an_improved_variant_where_some_are_better_and_none_is_worse(
    narrow: float, wide: float, verdict: str
):
    rng, rows = np.random.default_rng(2), list[dict[str, Any]]()
    for (objective, more), s in itertools.product(
        {None: 0.0, "balance=0.25": narrow, "balance=0.75": wide}.items(), range(3)
    ):
        one = {**BASE, "sae": f"{objective} {s}", "k": 40.0, "train_seed": s, "architecture": "matryoshka_batchtopk"}
        one |= {"eval": "saebench_tpp", "metric": "tpp_total_metric", "params": "n=10", "higher_is_better": True}
        rows.append({**one, "objective": objective, "value": 0.5 + more + 0.005 * rng.normal()})
    found = page_of("losses/page").Found(table(rows)).claims()
    (claim,) = (one for one in found if one.words.startswith("Balanced Matryoshka SAEs"))
    assert claim.verdict == verdict and not claim.ours
    assert claim.said.startswith(f"{verdict.capitalize()} for TPP (0.25 − 1 ") and "; 0.75 − 1 " in claim.said
    assert claim.said.endswith(").") and "; would be found 4 times in 5: 0.0" in claim.said


def test_an_improved_variant_that_flat_saes_are_better_than_is_said_to_be():
    rng, rows = np.random.default_rng(2), list[dict[str, Any]]()
    for (objective, more), s in itertools.product({None: 0.0, "balance=0.5": 0.1, "flat": 0.2}.items(), range(3)):
        flat = objective == "flat"
        one = {**BASE, "sae": f"{objective} {s}", "k": 40.0, "train_seed": s, "higher_is_better": True}
        one |= {"architecture": "batchtopk" if flat else "matryoshka_batchtopk"}
        one |= {"eval": "saebench_tpp", "metric": "tpp_total_metric", "params": "n=10"}
        rows.append({**one, "objective": None if flat else objective, "value": 0.5 + more + 0.005 * rng.normal()})
    found = page_of("losses/page").Found(table(rows)).claims()
    (claim,) = (one for one in found if one.words.startswith("Balanced Matryoshka SAEs"))
    assert claim.verdict == "holds" and claim.said.endswith("; but 0, without levels, is better still).")


@pytest.mark.parametrize(
    ("shift", "noise", "verdict"),
    [
        (0.02, 0.001, "does not hold, by little"),
        (0.2, 0.001, "does not hold"),
        (0.0, 0.001, "holds"),
        (0.0, 0.5, "cannot tell"),
    ],
)
def test_losses_differ_by_little_or_not_at_all_beside_the_architectures(shift: float, noise: float, verdict: str):
    rng, rows = np.random.default_rng(3), list[dict[str, Any]]()
    for architecture, loss, s in itertools.product(("batchtopk", "matryoshka_batchtopk"), ("mse", "snap"), range(3)):
        one = {**BASE, "sae": f"{architecture} {loss} {s}", "loss": loss, "k": 40.0, "train_seed": s}
        one |= {"architecture": architecture, "eval": "saebench_core", "metric": "explained_variance"}
        value = 0.5 + shift * (loss == "snap") + 0.2 * (architecture == "batchtopk") + noise * rng.normal()
        rows.append({**one, "value": value})
    for claim in page_of("losses/page").Found(table(rows)).claims()[:2]:
        found = "explained variance, snap" if shift else "none found among 1 difference."
        assert claim.verdict == verdict and claim.said.startswith(f"{verdict.capitalize()}: {found}")
        assert noise > 0.1 or re.search(r" 0.(199|200|201) lie between the architectures", claim.said)


@pytest.mark.parametrize(
    ("noise", "random", "verdict"), [(0.001, 0.0, "holds"), (0.2, 0.0, "cannot tell"), (0.001, 0.6, "cannot tell")]
)
def test_losses_are_alike_on_a_panel_where_as_much_as_between_the_architectures_would_be_found(
    noise: float, random: float, verdict: str
):
    rng, rows = np.random.default_rng(3), list[dict[str, Any]]()
    metric = {"eval": "saebench_tpp", "metric": "tpp_total_metric", "params": "n=10", "higher_is_better": True}
    for architecture, loss, s in itertools.product(
        ("batchtopk", "matryoshka_batchtopk"), ("mse", "l2", "snap"), range(3)
    ):
        one = {**BASE, **metric, "sae": f"{architecture} {loss} {s}", "loss": loss, "k": 40.0, "train_seed": s}
        value = 0.5 + 0.05 * (architecture != "batchtopk") + noise * rng.normal()
        rows.append({**one, "architecture": architecture, "value": value})
    rows.append({**BASE, **metric, "k": 40.0, "sae": "b/random", "architecture": "random_control", "value": random})
    for claim in page_of("losses/page").Found(table(rows)).claims():
        if "the losses of" in f"{claim.words[0].lower()}{claim.words[1:]}":
            assert claim.verdict == verdict and "for TPP (none told apart; would be found 4 times in 5: " in claim.said
            assert ("a random SAE" in claim.said) == (random > 0)


def test_scr_is_judged_at_higher_l0_alone():
    rng, rows = np.random.default_rng(3), list[dict[str, Any]]()
    for architecture, k, s in itertools.product(("batchtopk", "matryoshka_batchtopk"), (20.0, 40.0), range(3)):
        one = {**BASE, "sae": f"{architecture} {k} {s}", "k": k, "train_seed": s, "architecture": architecture}
        one |= {"eval": "saebench_scr", "metric": "scr_metric", "params": "n=10", "higher_is_better": True}
        better = (0.2 if k > 20 else -0.2) * (architecture != "batchtopk")
        rows.append({**one, "value": 0.5 + better + 0.005 * rng.normal()})
    (claim,) = (one for one in page_of("losses/page").Found(table(rows)).claims() if "SCR" in one.words)
    assert claim.verdict == "holds"  # over all k nothing is left


@pytest.mark.parametrize(
    ("more", "verdict"),
    [
        (0.2, "Holds for TPP (Matryoshka − BatchTopK +0."),
        (-0.2, "Does not hold for TPP (Matryoshka − BatchTopK -0."),
        (0.0, "Cannot tell for TPP ("),
    ],
)
def test_levels_are_compared_over_all_losses_with_a_training_seed_as_the_unit(more: float, verdict: str):
    rng, rows = np.random.default_rng(3), list[dict[str, Any]]()
    for architecture in ("batchtopk", "matryoshka_batchtopk"):
        for s, own in enumerate(0.01 * rng.normal(size=3)):
            for loss in ("mse", "l2", "snap"):
                one = {**BASE, "sae": f"{architecture} {loss} {s}", "loss": loss, "k": 40.0, "train_seed": s}
                one |= {"architecture": architecture, "higher_is_better": True, "value": 0.5 + own}
                one["value"] += more * (architecture != "batchtopk")
                rows.append({**one, "eval": "saebench_tpp", "metric": "tpp_total_metric", "params": "n=10"})
    found = page_of("losses/page").Found(table(rows))
    assert found.facts()["saes"] == 18
    assert f"are better on TPP (the post: much).** {verdict}" in "\n".join(map(str, found.claims()))
    assert (
        found.architectures_over_losses["df"].item() <= 4
    )  # three seeds against three, and not nine SAEs against nine


def test_a_metric_that_a_random_sae_does_well_on_tells_nothing():
    rng, rows = np.random.default_rng(3), list[dict[str, Any]]()
    metric = {"eval": "saebench_autointerp", "metric": "autointerp_score", "higher_is_better": True, "k": 40.0}
    for architecture, s in itertools.product(("batchtopk", "matryoshka_batchtopk"), range(3)):
        one = {**BASE, **metric, "sae": f"{architecture} {s}", "train_seed": s, "architecture": architecture}
        rows.append({**one, "value": 0.5 + 0.2 * (architecture != "batchtopk") + 0.01 * rng.normal()})
    rows.append({**BASE, **metric, "sae": "b/random", "architecture": "random_control", "value": 0.6})
    said = page_of("losses/page").page(table(rows))
    assert "better on autointerp (too noisy to tell for the post).** Cannot tell for autointerp (Matryoshka −" in said
    assert re.search(r", told apart; mse \+0.(19|20|21)", said)
    assert "a random SAE is no worse than 1 of 2 variants of its k" in said
    (line,) = (line for line in said.splitlines() if line.startswith("| autointerp | +0."))
    assert line.endswith("| mse |  |")  # apart, and neither is better


def test_saes_that_grew_under_snap_are_held_to_the_others_though_they_say_when_they_went_over():
    rng, rows = np.random.default_rng(2), list[dict[str, Any]]()
    for loss, s in itertools.product(("mse", "snap"), range(3)):
        one = {**BASE, "sae": f"{loss} {s}", "loss": loss, "k": 40.0, "train_seed": s, "width": 1088}
        one["objective"] = "snap_at=0.01" if loss == "snap" else None
        rows += [
            {**row, "value": row["value"] + 0.001 * rng.normal()} for row in grown(one, 0.4 if loss == "snap" else 0.5)
        ]
    trained = {**BASE, "sae": "trained", "k": 40.0, "train_seed": 0, "width": 1024, "eval": "saebench_core"}
    rows.append({**trained, "metric": "explained_variance", "value": 0.8})
    found = page_of("losses/page").Found(table(rows)).claims()
    (claim,) = (one for one in found if "(BatchTopK SAEs, when they grow)" in one.words)
    assert claim.verdict == "holds" and claim.said.startswith("Holds for snap − mse (hedging degree -0.")
    assert "l2" not in claim.said  # there is none


def test_the_estimate_is_told_loss_by_loss_and_apart_from_the_runs_that_check_it():
    rows = []
    for loss, seeds in {"mse": (0.30, 0.32, 0.34), "snap": (0.2, 0.2, 0.2)}.items():
        for train_seed, value in enumerate(seeds):
            for seed in (0, 1):  # of the evaluation: .01 to either side
                one = {**BASE, "sae": f"{loss}-{train_seed}", "loss": loss, "k": 40.0, "train_seed": train_seed}
                one |= {
                    "eval": "hedging_estimate",
                    "metric": "hedging",
                    "seed": seed,
                    "run_id": f"{loss}{train_seed}{seed}",
                }
                rows.append({**one, "value": value + (0.01 if seed else -0.01)})
    checked = {**rows[0], "seed": 0, "run_id": "checked"}
    known = {"metric": "injected_auc", "params": "of=hedging,share=0.3", "value": 0.9}
    signs = {"metric": "random_sign_auc", "params": "of=hedging,share=0.3", "value": 0.5}
    nothing = {"params": "null=nothing owed", "value": 0.25}
    rows += [{**checked, **more} for more in ({"value": 0.5}, known, signs, nothing)]
    rows.append({**rows[0], "metric": "sink_share", "value": 0.01, "n": 32_189})
    page = page_of("losses/page")
    said = page.estimates(page.Found(table(rows)))
    # the run of the checks is not among these
    assert "| BatchTopK | 40 | mse | 0.320 [0.270, 0.370] |" in said
    assert "| BatchTopK | 40 | snap | 0.200 [0.200, 0.200] |" in said and "on about 32,000 tokens" in said
    assert "evaluation seeds that all have (2), which move one number by 0.0141" in said
    rows.append({**rows[0], "seed": 2, "run_id": "more", "value": 0.9})  # of one SAE: the others have none
    partly = page.estimates(page.Found(table(rows)))
    assert "| BatchTopK | 40 | mse | 0.320 [0.270, 0.370] |" in partly and "that all have (2)" in partly
    assert "| `mse-0` | 0.500 | 0.250 | 0.900 | 0.500 |" in said
    assert page.estimates(page.Found(table(rows[:0]))) == "Not measured."


def test_losses_of_one_seed_are_held_to_each_other_seed_by_seed():
    """What a seed adds to all losses hides a difference between seeds, and none within them."""
    rng, rows = np.random.default_rng(4), list[dict[str, Any]]()
    for s, own in enumerate((0.0, 0.2, 0.4)):
        for loss in ("mse", "l2", "snap"):
            one = {**BASE, "sae": f"{loss} {s}", "loss": loss, "k": 40.0, "train_seed": s}
            value = 0.5 + own + 0.05 * (loss == "snap") + 0.001 * rng.normal()
            rows.append({**one, "eval": "saebench_tpp", "metric": "tpp_total_metric", "params": "n=10", "value": value})
    said = page_of("losses/page").page(table(rows))
    assert (
        "between the losses of BatchTopK SAEs (in the post l2 and mse, here snap, too).** Cannot tell for TPP (none told apart; "
        in said
    )
    assert re.search(r"each by itself, 2 of 3 lie on one side of 0: TPP, snap − mse \+0.0[45]\d+ \[0.0[45]", said)
    assert re.search(r"\| TPP \| .* \| none \| 0.\d+ \|", said)
    assert re.search(r"\| TPP \| [^|]*\| \+0.0[45]\d+ \[0.0[45][^|]*\| \+0.0[45]", said)


def test_losses_that_share_no_seeds_have_nothing_seed_by_seed():
    rng, rows = np.random.default_rng(4), list[dict[str, Any]]()
    for loss, seeds in {"mse": range(3), "snap": range(3, 6)}.items():
        for s in seeds:
            one = {**BASE, "sae": f"{loss} {s}", "loss": loss, "k": 40.0, "train_seed": s, "value": rng.normal()}
            rows.append({**one, "eval": "saebench_tpp", "metric": "tpp_total_metric", "params": "n=10"})
    said = page_of("losses/page").page(table(rows))
    assert "Seed by seed, each by itself, 0 of 0 lie on one side of 0." in said
    assert "| TPP |  |  |  |" in said


def test_what_is_compared_for_one_claim_is_one_question():
    """Six panels: a difference that one line by itself would find is not found among eighteen."""
    rng, rows = np.random.default_rng(5), list[dict[str, Any]]()
    page = page_of("losses/page")
    for shown, (loss, s) in itertools.product(
        page_of("losses/compared").PANELS, itertools.product(("mse", "l2", "snap"), range(3))
    ):
        one = {**BASE, "sae": f"{loss} {s}", "loss": loss, "k": 40.0, "train_seed": s, "higher_is_better": True}
        value = 0.5 + (0.03 if (loss, shown.words) == ("l2", "TPP") else 0.0) + 0.01 * rng.normal()
        rows.append({**one, "eval": shown.eval, "metric": shown.metric, "params": shown.params, "value": value})
    found = page.Found(table(rows))
    assert found.losses.loc[found.losses["words"] == "TPP", "apart"].any()
    claim = next(one for one in found.claims() if "the losses of BatchTopK SAEs" in one.words)
    assert claim.verdict == "cannot tell" and claim.said.count("none told apart") == 6
    assert (found.panels_of_losses["batchtopk"]["detectable"].to_numpy() > found.losses["detectable"].to_numpy()).all()
