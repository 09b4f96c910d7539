"""SAEs that have a known share of their latents in common."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hedgebench_evals.seed_overlap import SeedOverlap
from hedgebench_evals.seed_overlap_figures import width_table
from hypothesis import given, settings
from hypothesis import strategies as st
from known_saes import build, orthonormal_features, permuted_decoder, random_rows, unit_rows
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from scipy.optimize import linear_sum_assignment

from hedgebench import evaluate
from hedgebench.checkpoint import describe
from hedgebench.eval import ActivationBatch, EvalContext
from hedgebench.looks import Looks
from hedgebench.matching import approximate
from hedgebench.overlap import deciles, mean_over_pairs
from hedgebench.plots import draw_figures
from hedgebench.results import SCORES, _frame, headline
from hedgebench.series import APART
from hedgebench.types import BadInput, CannotMeasure

D_IN = 24
FEATURES = orthonormal_features(D_IN, D_IN, torch.Generator().manual_seed(0))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def of(rows: torch.Tensor, columns: torch.Tensor | None = None):
    """The SAE with these decoder rows, and these encoder columns or the same."""
    return build((rows if columns is None else columns).T, rows)


class Given:
    """An activation source that hands out what it was given."""

    def __init__(self, *batches: ActivationBatch) -> None:
        self.given = batches

    def batches(self, n_batches, batch_size, context_size, start=0):
        return iter(self.given[start:n_batches])


def measure(*saes, acts: torch.Tensor | None = None, seeds=None, **config):
    """Values by (metric, params, slice) and the reasons for what is blank; without chance unless it is asked for."""
    cards = [describe(sae, name=f"sae{i}") for i, sae in enumerate(saes)]
    if seeds:
        for card, seed in zip(cards, seeds, strict=True):
            object.__setattr__(card, "train_seed", seed)
    source = None if acts is None else Given(ActivationBatch(torch.zeros(acts.shape[:2]), acts, acts[..., 0] < 1e9))
    ctx = EvalContext(
        saes[0] if saes else None,
        cards[0] if cards else None,
        seeded(),
        siblings=saes,
        sibling_cards=cards,
        activation_source=source,
    )
    cfg = SeedOverlap.Config(**{"chance": False, "curve": ()} | config)
    return {key(s): s for s in SeedOverlap().run(ctx, cfg)}, ctx.missing


def key(score) -> str:
    params = ",".join(f"{k}={v}" for k, v in sorted(score.params.items()))
    return " ".join(filter(None, [score.metric, params, "" if score.slice_by == "all" else score.slice_value]))


def values(found, *names: str) -> list[float]:
    return [found[name].value for name in names]


MAIN = ("shared threshold=0.7", "matched_cosine", "matched_cosine side=encoder", "mcc")


def test_an_sae_shares_all_with_itself_in_any_order_of_latents_and_of_any_length():
    rows, columns = unit_rows(40, D_IN, seeded(1)), unit_rows(40, D_IN, seeded(2))
    order, scale = torch.randperm(40, generator=seeded(3)), 0.1 + torch.rand(40, 1, generator=seeded(4))
    found, _ = measure(of(rows, columns), of(rows[order], (scale * columns)[order]), curve=(0.3, 0.99))
    assert values(found, *MAIN, "shared threshold=0.3", "shared threshold=0.99") == pytest.approx([1] * 6, abs=1e-6)


def test_half_of_the_latents_in_common_is_a_share_of_a_half():
    found, _ = measure(of(FEATURES[:8]), of(FEATURES[4:12].flip(0)))
    assert values(found, *MAIN) == pytest.approx([0.5, 0.5, 0.5, 0.5], abs=1e-6)


def test_a_latent_that_is_read_by_one_counterpart_and_written_by_another_is_not_shared():
    sae = of(FEATURES[:8])
    found, _ = measure(sae, permuted_decoder(sae, seeded()))
    assert values(found, *MAIN) == pytest.approx([0, 1, 1, 1], abs=1e-6)


@pytest.mark.parametrize("side", ["decoder", "encoder"])
def test_both_cosines_must_reach_the_threshold(side):
    turned = 0.8 * FEATURES[:8] + 0.6 * FEATURES[8:16]
    other = of(turned, FEATURES[:8]) if side == "decoder" else of(FEATURES[:8], turned)
    found, _ = measure(of(FEATURES[:8]), other, curve=(0.3, 0.79, 0.81))
    assert [found[f"shared threshold={t}"].value for t in (0.3, 0.7, 0.79, 0.81)] == [1, 1, 1, 0]
    assert found["matched_cosine" + (" side=encoder" if side == "encoder" else "")].value == pytest.approx(0.8)


def test_opposite_rows_are_no_counterparts_but_the_mcc_takes_them_for_some():
    found, _ = measure(of(FEATURES[:8]), of(-FEATURES[:8]))
    assert found["shared threshold=0.7"].value == 0
    assert found["mcc"].value == pytest.approx(1, abs=1e-6)
    assert found["matched_cosine"].value == pytest.approx(0, abs=1e-6)


def assignment(a: torch.Tensor, b: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The counterpart of each row, and the cosine with it."""
    cosine = torch.nn.functional.cosine_similarity(a[:, None], b[None], dim=-1).numpy()
    rows, columns = linear_sum_assignment(cosine, maximize=True)
    return columns, cosine[rows, columns]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.2, 0.5, 0.7]))
def test_the_values_are_those_of_the_definition(seed, threshold):
    """Written from the paper: two assignments on signed cosine; and SAELens's own MCC."""
    from sae_lens.synthetic.evals import mean_correlation_coefficient

    w = [unit_rows(30, 10, seeded(seed + i)) for i in range(4)]
    w[1], w[3] = (w[0] + 0.6 * w[1]).roll(3, 0), (w[2] + 0.6 * w[3]).roll(3, 0)
    (at_dec, cos_dec), (at_enc, cos_enc) = assignment(w[0], w[1]), assignment(w[2], w[3])
    shared = (at_dec == at_enc) & (cos_dec >= threshold) & (cos_enc >= threshold)
    found, _ = measure(of(w[0], w[2]), of(w[1], w[3]), threshold=threshold)
    assert found[f"shared threshold={threshold}"].value == pytest.approx(shared.mean())
    assert values(found, "matched_cosine", "matched_cosine side=encoder") == pytest.approx(
        [cos_dec.mean(), cos_enc.mean()], abs=1e-6
    )
    assert found["mcc"].value == pytest.approx(mean_correlation_coefficient(w[0], w[1]), abs=1e-6)


def test_of_three_seeds_every_pair_is_told_and_what_all_have_in_common():
    sets = ([0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 8, 9, 10, 11], [0, 1, 4, 8, 12, 13, 14, 15])
    found, _ = measure(*(of(FEATURES[rows]) for rows in sets), seeds=[3, 5, 9])
    pair = {"3-5": 4 / 8, "3-9": 3 / 8, "5-9": 3 / 8}
    assert {name: found[f"shared threshold=0.7 {name}"].value for name in pair} == pair
    assert found["shared threshold=0.7"].value == pytest.approx(sum(pair.values()) / 3)
    assert found["shared_by_all seeds=3,threshold=0.7"].value == pytest.approx(2 / 8)
    # leaving out a seed leaves one pair: those three values are the jackknife's
    spread = np.array(list(pair.values()))
    expected = math.sqrt(2 / 3 * ((spread - spread.mean()) ** 2).sum())
    assert found["shared threshold=0.7"].stderr == pytest.approx(expected)
    assert found["shared threshold=0.7"].n == 3 and found["shared threshold=0.7 3-5"].n == 8


def test_of_two_seeds_no_error_is_known_and_shared_by_all_is_shared():
    found, _ = measure(of(FEATURES[:8]), of(FEATURES[4:12]))
    assert found["shared threshold=0.7"].stderr is None and "shared threshold=0.7 0-1" in found
    assert found["shared_by_all seeds=2,threshold=0.7"].value == found["shared threshold=0.7"].value


def test_an_sae_turned_as_a_whole_scores_what_chance_is_told_to_be():
    rows = unit_rows(60, D_IN, seeded(1))
    turn = torch.linalg.qr(torch.randn(D_IN, D_IN, generator=seeded(2), dtype=torch.float64)).Q
    found, _ = measure(of(rows), of(rows), chance=True, curve=(0.1,))
    turned, _ = measure(of(rows), of(rows @ turn))
    assert found["shared threshold=0.7"].chance == 0 == turned["shared threshold=0.7"].value
    assert found["shared threshold=0.1"].chance > 0.5  # encoder and decoder are one: they agree on any counterpart
    for name in MAIN[1:]:
        assert found[name].value == pytest.approx(1, abs=1e-6)
        assert found[name].chance == pytest.approx(turned[name].value, abs=0.03)


def test_rows_of_zeros_are_shared_with_none():
    rows = FEATURES[:8].clone()
    rows[:2] = 0
    found, _ = measure(of(rows), of(rows))
    assert values(found, *MAIN) == pytest.approx([0.75] * 4, abs=1e-6)


def test_the_share_by_firing_density_is_that_of_the_latents_in_it():
    """Twenty latents fire, latent i on i + 1 tokens, and two never; the more frequent ten are in both SAEs."""
    acts = torch.zeros(1, 22, D_IN, dtype=torch.float64)
    for i in range(20):
        acts[0, : i + 1] += FEATURES[i]
    rows = FEATURES[:22]
    other = rows.clone()
    other[:10] = -other[:10]
    other[20] = -other[20]
    bias = torch.full((22,), -0.1)
    saes = [build(rows.T, rows, b_enc=bias), build(rows.T, other, b_enc=bias)]
    found, _ = measure(*saes, acts=acts)
    by_decile = {name.split()[-1]: s.value for name, s in found.items() if s.slice_by == "density_decile" and s.metric == "shared"}  # fmt: skip
    assert by_decile == {"dead": 0.5, **{str(d): 0.0 for d in range(1, 6)}, **{str(d): 1.0 for d in range(6, 11)}}
    assert found["density 10"].value == pytest.approx(19.5 / 22)
    assert found["density dead"].value == 0


def test_without_activations_the_deciles_are_blank_and_say_why():
    found, missing = measure(of(FEATURES[:8]), of(FEATURES[4:12]), n_batches=0)
    assert missing == {"density": "no text was to be read: n_batches is 0"}
    assert not [s for s in found.values() if s.slice_by == "density_decile"]
    assert SeedOverlap.uses(SeedOverlap.Config(n_batches=0)) == {"siblings"}
    assert SeedOverlap.uses(SeedOverlap.Config()) == {"siblings", "activations"}


def test_latents_of_equal_frequency_are_in_one_decile():
    assert deciles(torch.tensor([0, 5, 5, 5, 5, 0])).tolist() == [0, 6, 6, 6, 6, 0]
    assert deciles(torch.arange(1, 101)).tolist() == [1 + i // 10 for i in range(100)]
    assert deciles(torch.zeros(3, dtype=torch.int64)).tolist() == [0, 0, 0]


def test_the_jackknife_finds_the_error_of_a_mean_over_pairs():
    """Each pair's value is the sum of its two seeds' own: the mean is 2 * the mean of n independent seeds."""
    rng = np.random.default_rng(0)
    n, errors, means = 8, [], []
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    for _ in range(400):
        own = rng.normal(size=n)
        mean, error = mean_over_pairs([own[i] + own[j] for i, j in pairs], pairs)
        means.append(mean)
        errors.append(error)
    assert np.std(means) == pytest.approx(2 / math.sqrt(n), rel=0.1)
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(2 / math.sqrt(n), rel=0.1)


def test_wide_saes_are_matched_approximately_and_every_row_says_so():
    shared = unit_rows(60, 10, seeded(1))
    saes = [of(torch.cat([shared, unit_rows(60, 10, seeded(s))])) for s in (2, 3)]
    exact, _ = measure(*saes)
    found, _ = measure(*saes, exact_up_to=50, candidates=20)
    gaps = {s.params["of"]: s.value for s in found.values() if s.metric == "matching_gap"}
    assert set(gaps) == {"decoder", "encoder", "mcc"} and not [n for n in exact if n.startswith("matching_gap")]
    assert all(s.params["approximate"] is True for s in found.values())
    for name, of_ in (("matched_cosine", "decoder"), ("mcc", "mcc")):
        below = exact[name].value - found[f"{name} approximate=True"].value
        assert -1e-6 <= below <= gaps[of_] + 1e-6
    close = found["shared approximate=True,threshold=0.7"].value
    assert close == pytest.approx(exact["shared threshold=0.7"].value, abs=0.02) and close > 0.4


def test_the_tolerance_decides_how_near_the_approximation_comes():
    """From one candidate each, on random rows: without any patience the best matching, with all of it the first guess."""
    saes = [of(unit_rows(80, 10, seeded(s))) for s in (1, 2)]
    exact, _ = measure(*saes)
    gaps, below = {}, {}
    for tolerance in (0.0, 1.0):
        found, _ = measure(*saes, exact_up_to=1, candidates=1, tolerance=tolerance)
        gaps[tolerance] = found["matching_gap approximate=True,of=decoder"].value
        below[tolerance] = exact["matched_cosine"].value - found["matched_cosine approximate=True"].value
    assert gaps[0.0] <= 1e-6 and below[0.0] == pytest.approx(0, abs=1e-6)
    assert gaps[1.0] >= below[1.0] > 0.01


def test_a_pairing_that_stays_farther_from_the_best_than_asked_is_said_aloud(caplog, monkeypatch):
    monkeypatch.setitem(approximate.__kwdefaults__, "rounds", 1)
    saes = [of(unit_rows(80, 10, seeded(s))) for s in (1, 2)]
    found, _ = measure(*saes, exact_up_to=1, candidates=1, tolerance=0.0)
    gap = max(s.value for s in found.values() if s.metric == "matching_gap")
    assert gap > 1e-6
    (line,) = (record.getMessage() for record in caplog.records if record.name == "hedgebench.notice")
    assert "more than the tolerance of 0" in line and "candidates" in line
    caplog.clear()
    measure(*saes, exact_up_to=1, candidates=1, tolerance=2.0)
    measure(*saes)
    assert not caplog.records


def test_the_share_at_the_threshold_is_what_is_printed_first():
    saes = {f"s{i}": of(unit_rows(20, 8, seeded(i))).to(torch.float32) for i in range(2)}
    printed = headline(evaluate(saes, {"seed_overlap": {"n_batches": 0}}, group="g")).splitlines()[1]
    names = ["shared threshold=0.7", "shared_by_all seeds=2,threshold=0.7", "matched_cosine", "matched_cosine side=encoder", "mcc"]  # fmt: skip
    assert printed.split() == " ".join([*names, "shared threshold=0.3"]).split()


def test_an_sae_without_an_encoder_matrix_has_cosines_and_no_share():
    saes = [of(FEATURES[:8]), of(FEATURES[4:12])]
    for sae in saes:
        del sae.W_enc
    found, missing = measure(*saes, n_batches=0)
    assert {s.metric for s in found.values()} == {"matched_cosine", "mcc"}
    assert missing["shared"] == missing["shared_by_all"] == "the SAEs have no encoder matrix"


def test_other_shapes_and_hook_points_are_refused_with_a_line():
    with pytest.raises(BadInput, match="differ in d_sae x d_in: 8 x 24 and 9 x 24"):
        measure(of(FEATURES[:8]), of(FEATURES[:9]))
    other = of(FEATURES[:8])
    other.cfg.metadata.hook_name = "blocks.2.hook_resid_post"
    with pytest.raises(BadInput, match=r"hook point: blocks\.1\.hook_resid_post and blocks\.2"):
        measure(of(FEATURES[:8]), other)
    with pytest.raises(CannotMeasure, match="no other training seed"):
        measure(of(FEATURES[:8]))


@pytest.mark.parametrize("bad", [{"threshold": 1.5}, {"curve": (0.5, -1.0)}, {"exact_up_to": 0}, {"candidates": 0}, {"tolerance": -1}, {"n_batches": -1}, {"batch_size": -1}, {"batch_size": 0}, {"context_size": 0}])  # fmt: skip
def test_settings_without_a_meaning_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        SeedOverlap.Config(**bad)


def test_the_harness_runs_it_on_a_group_and_draws_its_figures(tmp_path):
    saes = {f"s{i}": random_rows(8, 12, seeded(i)).to(torch.float32) for i in range(3)}
    table = evaluate(saes, {"seed_overlap": {"n_batches": 0}}, group="g")
    assert set(table["sae"]) == {"g"}
    shared = table[(table["metric"] == "shared") & (table["slice_by"] == "pair")]
    by_hand, _ = measure(*saes.values(), n_batches=0)
    assert dict(zip(shared["slice_value"], shared["value"], strict=True)) == {
        name: by_hand[f"shared threshold=0.7 {name}"].value for name in ("0-1", "0-2", "1-2")
    }
    names = {file.name for file in draw_figures(table, tmp_path)}
    shown = {f"seed_overlap-shared_vs_{of}" for of in ("threshold.png", "width.png", "width.csv")}
    assert {name for name in names if name.startswith("seed_overlap") and not name.endswith("svg")} == shown
    (width,) = pd.read_csv(tmp_path / "seed_overlap-shared_vs_width.csv").to_dict("records")
    whole = by_hand["shared threshold=0.7"]
    reach = whole.stderr * 4.302653  # the 97.5 % quantile of Student's t with two degrees of freedom
    assert width["mean"] == pytest.approx(whole.value) and width["low"] == pytest.approx(max(whole.value - reach, 0.0))
    assert (width["high"], width["train_seeds"]) == (pytest.approx(whole.value + reach), 3)


def test_recipes_of_one_architecture_are_lines_of_their_own_against_the_width():
    def group(width, loss, value):
        said = {"eval": "seed_overlap", "metric": "shared", "params": "threshold=0.7", "architecture": "standard"}
        said |= {"sae": f"{loss}{width}", "width": width, "loss": loss, "value": value, "n": 3, "stderr": 0.01}
        return [said | {"slice_by": of, "slice_value": of} for of in ("all", "pair")]

    losses = {"a": 0.2, "b": 0.6}
    rows = [row for loss, value in losses.items() for width in (64, 128) for row in group(width, loss, value)]
    axes = Figure().add_subplot()
    SeedOverlap.figures[1].draw(_frame(rows, SCORES), axes)
    drawn = [c.lines[0] for c in axes.containers]
    assert [line.get_ydata().tolist() for line in drawn] == [[0.2, 0.2], [0.6, 0.6]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]


def groups(slice_by: str, params: str, slices: list[str], **value: list[float]) -> list[dict]:
    """A row for each group and slice."""
    said = {"eval": "seed_overlap", "metric": "shared", "params": params, "architecture": "standard", "n": 3}
    return [
        said
        | {
            "sae": name,
            "width": 64 * (1 + i),
            "slice_by": slice_by,
            "slice_value": of,
            "value": one,
            "stderr": 0.01,
            "chance": 0.001,
        }
        for i, (name, values) in enumerate(value.items())
        for of, one in zip(slices, values, strict=True)
    ]


def test_what_is_read_off_the_figures_is_what_the_table_says():
    whole = [row for t, a, b in ((0.3, 0.9, 0.8), (0.7, 0.5, 0.25)) for row in groups("all", f"threshold={t}", ["all"], narrow=[a], wide=[b])]  # fmt: skip
    pairs = groups("pair", "threshold=0.7", ["0-1", "0-2"], narrow=[0.4, 0.6], wide=[0.2, 0.3])
    tenths = [str(i) for i in (*range(1, 11), "dead")]
    density = groups("density_decile", "threshold=0.7", tenths, narrow=[0.9] + [0.5] * 10, wide=[0.4] * 9 + [0.7, 0])
    scores = _frame([*whole, *pairs, *density], SCORES)
    said = [figure.caption(scores) for figure in SeedOverlap.figures]
    assert said[0] == (
        "Share of latents that another training seed has, too, both cosines at 0.3: "
        "0.9 [0.857, 0.943] at width 64, 0.8 [0.757, 0.843] at width 128 (95 % over training seeds); "
        "at 0.7: 0.5 [0.457, 0.543] at width 64, 0.25 [0.207, 0.293] at width 128 (95 % over training seeds). "
        "An SAE that is turned at random shares at most 0.001."
    )
    ends = [
        f"{at.mean:.3g} [{at.low:.3g}, {at.high:.3g}] at width {at.width}" for at in width_table(scores).itertuples()
    ]
    assert ends[0] == "0.5 [0.457, 0.543] at width 64"  # 4.303 standard errors
    assert (
        said[1]
        == f"Share of latents that another training seed has, too: {', '.join(ends)} (95 % over training seeds)."
    )
    assert said[2] == (
        "Share of latents that another training seed has, too: of the rarest tenth "
        "0.9 [0.857, 0.943] at width 64, 0.4 [0.357, 0.443] at width 128 (95 % over training seeds); "
        "of the most frequent tenth 0.5 [0.457, 0.543] at width 64, 0.7 [0.657, 0.743] at width 128 (95 % over training seeds)."
    )


def test_the_page_says_how_the_picture_by_density_is_read(tmp_path):
    tenths = [str(i) for i in (*range(1, 11), "dead")]
    rows = groups("density_decile", "threshold=0.7", tenths, narrow=[0.9] + [0.5] * 10, wide=[0.4] * 9 + [0.7, 0])
    draw_figures(_frame([{**row, "run_id": row["sae"]} for row in rows], SCORES), tmp_path)
    page = (tmp_path / "figures.md").read_text()
    (how,) = (line for line in page.splitlines() if line.startswith("*How to read it*"))
    for word in ("cut into tenths, 1 the rarest and 10 the most frequent", "one standard error", "falls to the right"):
        assert word in how
    axes = Figure().add_subplot()
    SeedOverlap.figures[2].draw(_frame(rows, SCORES), axes)
    assert "1: rarest, 10: most frequent" in axes.get_xlabel() and axes.get_ylabel().endswith("at least 0.7")


@pytest.mark.parametrize("which", [0, 1, 2])
def test_what_two_versions_measured_is_never_one_line_of_a_figure(which):
    slices = (("all", ["all"]), ("pair", ["0-1"]), ("density_decile", ["1", "2"]))
    rows = [
        {**row, "eval_version": version, "value": 0.3 * version}
        for version in (1, 2)
        for slice_by, of in slices
        for row in groups(slice_by, "threshold=0.7", of, g=[0.0] * len(of))
    ]
    axes = Figure().add_subplot()
    SeedOverlap.figures[which].draw(_frame(rows, SCORES), axes)
    assert sorted({v for c in axes.containers for v in c.lines[0].get_ydata()}) == [0.3, 0.6]
    assert [text.get_text().split(", ")[-1] for text in axes.get_legend().get_texts()] == ["version 1", "version 2"]
    assert len({h.get_markerfacecolor() for h in axes.get_legend().legend_handles}) == 2
    said = SeedOverlap.figures[which].caption(_frame(rows, SCORES))
    assert "version 1: 0.3 " in said and "version 2: 0.6 " in said


def test_groups_are_drawn_from_the_narrowest_in_shades_and_lines_of_their_recipe():
    rows = groups("all", "threshold=0.7", ["all"], **{f"g{width}": [0.5] for width in range(9, -1, -1)})
    axes = Figure().add_subplot()
    SeedOverlap.figures[0].draw(_frame(rows, SCORES), axes)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [f"g{width}" for width in range(9, -1, -1)]
    lines = [c.lines[0] for c in axes.containers]
    lightness = [sum(to_rgb(line.get_color())) for line in lines]
    assert lightness == sorted(set(lightness)) and {line.get_marker() for line in lines} == {"v"}
    handles = axes.get_legend().legend_handles
    assert [to_hex(h.get_color()) for h in handles] == [to_hex(line.get_color()) for line in lines]
    assert handles[0].get_linestyle() != handles[1].get_linestyle()


def test_a_recipe_looks_as_in_every_other_figure():
    rows = [
        {**row, "loss": loss}
        for loss in ("snap", "mse")
        for row in (
            *groups("all", "threshold=0.7", ["all"], **{loss: [0.5]}),
            *groups("pair", "threshold=0.7", ["0-1"], **{loss: [0.5]}),
        )
    ]
    scores = _frame(rows, SCORES)
    looks = Looks(scores, "seed_overlap")
    expected = [looks.of(scores[scores["loss"] == loss], *APART) for loss in ("mse", "snap")]
    for figure in SeedOverlap.figures[:2]:
        axes = Figure().add_subplot()
        figure.draw(scores, axes)
        lines = [c.lines[0] for c in axes.containers]
        assert [(line.get_color(), line.get_marker()) for line in lines] == [(of.color, of.marker) for of in expected]
