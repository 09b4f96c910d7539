"""grow_delta on grown pairs whose answer is known, against the closed forms and against the paper's formula written out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hedgebench_evals.grow_delta import GrowDelta
from known_growth import Pair, exact_pair, mixed_pair, pair
from known_saes import build, sparse_activations, unit_rows

from hedgebench.checkpoint import describe
from hedgebench.eval import ActivationBatch, EvalContext
from hedgebench.eval_config import make_config
from hedgebench.records import score_row
from hedgebench.types import BadInput, CannotMeasure


class Acts:
    """Activations that are simply there."""

    def __init__(self, rows: torch.Tensor) -> None:
        self.rows = rows

    def batches(self, n_batches: int, batch_size: int, context_size: int, start: int = 0) -> Any:
        for i in range(start, n_batches):
            acts = self.rows[i * batch_size * context_size :][: batch_size * context_size]
            acts = acts.reshape(batch_size, context_size, -1)
            yield ActivationBatch(
                torch.zeros(acts.shape[:2], dtype=torch.long), acts, torch.ones(acts.shape[:2]).bool()
            )


TEXT = {"n_batches": 2, "batch_size": 8, "context_size": 64}


def measure(
    made: Pair,
    *,
    second: Any = None,
    siblings: Any = (),
    acts: torch.Tensor | None = None,
    seed: int = 0,
    **config: Any,
) -> tuple[dict[tuple[str, str], Any], EvalContext]:
    """The scores by (metric, params), and the context with what was left blank."""
    ctx = EvalContext(
        sae=made.grown,
        checkpoint=describe(made.grown, name="grown"),
        generator=torch.Generator().manual_seed(seed),
        control=made.control,
        second_control=second,
        siblings=siblings,
        sibling_cards=[describe(other, name="other") for other in siblings],
        activation_source=Acts(acts) if acts is not None else None,
    )
    text = TEXT if acts is not None else {"n_batches": 0, "min_live": 0.0}
    cfg = make_config(GrowDelta, text | config)
    rows = {}
    for score in GrowDelta().run(ctx, cfg):
        row = score_row(GrowDelta, score)
        assert (row["metric"], row["params"]) not in rows
        rows[row["metric"], row["params"]] = score
    return rows, ctx


def value(rows: dict[tuple[str, str], Any], metric: str, params: str = "") -> float:
    return float(rows[metric, params].value)


def paper_degree(control: np.ndarray, grown: np.ndarray, n_spans: int, rng: np.random.Generator) -> float:
    """The paper's hedging degree from its formula: h = max(0, (g - b) / (1 - b)), g = mean |P δ| / mean |d|, b the same for random spans."""

    def unit(rows: np.ndarray) -> np.ndarray:
        return rows / np.sqrt((rows**2).sum(1))[:, None]

    def g(span: np.ndarray) -> float:
        projector = np.linalg.pinv(span) @ span
        changes = [np.sqrt(((projector @ delta) ** 2).sum()) for delta in unit(grown[: len(control)]) - unit(control)]
        return float(np.mean(changes) / np.mean(np.sqrt((unit(control) ** 2).sum(1))))

    new = grown[len(control) :]
    b = np.mean([g(rng.standard_normal(new.shape)) for _ in range(n_spans)])
    return float(max(0.0, (g(new) - b) / (1 - b)))


# --- the published numbers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_on_a_pair_made_to_measure_every_number_is_the_closed_form(share):
    rows, _ = measure(exact_pair(share, size=0.4))
    c = math.exp(math.lgamma(2.5) + math.lgamma(24) - math.lgamma(2) - math.lgamma(24.5))  # rank 4 in 48 dimensions
    g, b = 0.4 * share**0.5, 0.4 * c
    wanted = {
        "delta_share": share,
        "direction_share": share**0.5,
        "projection": g,
        "baseline": b,
        "unclamped_degree": (g - b) / (1 - b),
        "hedging_degree": max(0.0, (g - b) / (1 - b)),
        "delta_norm": 0.4,
        "cosine": 1 - 0.08,
        "rank": 4,
    }
    assert {name: value(rows, name) for name in wanted} == pytest.approx(wanted, abs=1e-7)
    assert {name: value(rows, name, "weights=encoder") for name in wanted if name != "rank"} == pytest.approx(
        {name: w for name, w in wanted.items() if name != "rank"}, abs=1e-7
    )
    assert rows["delta_share", ""].chance == pytest.approx(4 / 48)
    assert rows["direction_share", ""].chance == pytest.approx(c)
    assert value(rows, "share_excess", "null=isotropic") == pytest.approx(share - 4 / 48)
    assert value(rows, "excess", "null=isotropic") == pytest.approx(g - b)


@pytest.mark.parametrize("dial", [0.2, 0.6])
def test_with_the_sampled_baseline_it_is_the_papers_formula_within_its_sampling_error(dial):
    made = mixed_pair(dial)
    theirs = [
        paper_degree(made.control.W_dec.numpy(), made.grown.W_dec.numpy(), 50, np.random.default_rng(seed))
        for seed in range(8)
    ]
    ours = [value(measure(made, baseline="sampled", seed=seed)[0], "hedging_degree") for seed in range(8)]
    error = math.hypot(np.std(theirs, ddof=1), np.std(ours, ddof=1)) / 8**0.5
    assert 0 < error < 0.01
    assert np.mean(ours) == pytest.approx(np.mean(theirs), abs=4 * error)
    closed = value(measure(made)[0], "hedging_degree")
    assert closed == pytest.approx(np.mean(theirs), abs=4 * np.std(theirs, ddof=1) / 8**0.5 + 1e-3)


# --- the dial --------------------------------------------------------------------------------------------------------------------


def test_share_degree_and_z_follow_the_dial():
    found = [measure(mixed_pair(dial))[0] for dial in (0.0, 0.1, 0.2, 0.4, 0.7, 1.0)]
    for metric in ("delta_share", "direction_share", "hedging_degree", "unclamped_degree", "z"):
        values = [value(rows, metric) for rows in found]
        assert values[1:] == sorted(values[1:]) and min(values[1:]) > values[0], metric
    assert value(found[-1], "delta_share") == pytest.approx(0.98, abs=0.02)


def test_at_dial_nought_nothing_is_above_the_random_span():
    shares = [measure(mixed_pair(0.0, seed=seed), seed=seed)[0] for seed in range(12)]
    z = [value(rows, "z") for rows in shares]
    excess = [value(rows, "excess", "null=isotropic") for rows in shares]
    assert abs(np.mean(z)) < 4 / 12**0.5 and 0.3 < np.std(z) < 3
    assert abs(np.mean(excess)) < 4 * np.std(excess, ddof=1) / 12**0.5
    assert max(abs(value(rows, "unclamped_degree")) for rows in shares) < 0.02


def test_new_rows_replaced_by_isotropic_ones_leave_nothing_within_the_error():
    made = mixed_pair(0.8)
    for seed in range(5):
        new = torch.randn(made.new.shape, generator=torch.Generator().manual_seed(100 + seed), dtype=torch.float64)
        replaced = pair(made.control.W_dec, made.grown.W_dec[: len(made.delta)], new)
        rows, _ = measure(replaced, seed=seed)
        assert abs(value(rows, "z")) < 4
        assert abs(value(rows, "unclamped_degree")) < 0.05


def test_the_error_over_latents_is_that_of_a_mean():
    rows, _ = measure(mixed_pair(0.4))
    made = mixed_pair(0.4)
    basis = torch.linalg.qr(made.new.T).Q.T
    shares = (made.delta @ basis.T).square().sum(-1) / made.delta.square().sum(-1)
    assert rows["delta_share", ""].stderr == pytest.approx(float(shares.std()) / 200**0.5, rel=0.1)
    assert rows["delta_share", ""].n == 200


# --- matched nulls ---------------------------------------------------------------------------------------------------------------


def anisotropic(seed: int, old: int = 300, added: int = 5, d: int = 40) -> Pair:
    """Old rows that change, and new rows, in the same few large directions, and otherwise independently: no hedging."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.tensor([1 / (1 + i) for i in range(d)], dtype=torch.float64)
    before = unit_rows(old, d, generator)
    change = torch.randn(old, d, generator=generator, dtype=torch.float64) * scale
    after = before + 0.3 * change
    return pair(
        before,
        after / after.norm(dim=-1, keepdim=True),
        torch.randn(added, d, generator=generator, dtype=torch.float64) * scale,
    )


def test_large_directions_flatter_the_random_span_and_another_seeds_rows_tell_so():
    one, others = anisotropic(0), [anisotropic(seed).grown for seed in (1, 2, 3, 4)]
    rows, _ = measure(one, siblings=others)
    assert value(rows, "z") > 5 and value(rows, "share_excess", "null=isotropic") > 0.1
    assert value(rows, "excess", "null=isotropic") > 3 * abs(value(rows, "excess", "null=other_seed"))
    assert abs(value(rows, "share_excess", "null=other_seed")) < 0.12
    assert value(rows, "excess") == value(rows, "excess", "null=other_seed")


def test_rows_drawn_with_the_residuals_covariance_tell_so_too():
    made = anisotropic(0)
    scale = torch.tensor([1 / (1 + i) for i in range(40)], dtype=torch.float64)
    acts = torch.randn(1024, 40, generator=torch.Generator().manual_seed(9), dtype=torch.float64) * scale
    silent = build(made.control.W_enc, made.control.W_dec, b_enc=torch.full((300,), -99.0))  # all is residual
    rows, _ = measure(made._replace(control=silent), acts=acts, min_live=0.0)
    assert value(rows, "null_share", "null=residual") > 0.3
    assert abs(value(rows, "share_excess", "null=residual")) < 0.15
    assert abs(value(rows, "z", "null=residual")) < value(rows, "z") / 3


def test_the_headline_is_over_the_second_control_and_without_one_over_the_largest_null_and_every_null_is_there():
    made = mixed_pair(0.5)
    again = made.control.W_dec + 0.1 * unit_rows(200, 40, torch.Generator().manual_seed(3))
    second = build(again.T, again)
    acts = torch.randn(1024, 40, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    others = [mixed_pair(0.5, seed=1).grown]
    rows, ctx = measure(made, second=second, siblings=others, acts=acts)
    shares = {
        name: value(rows, "null_share", f"null={name}") for name in ("isotropic", "residual", "other_seed", "reordered")
    }
    assert shares["isotropic"] == pytest.approx(6 / 40)
    assert all(0.05 < share < 0.3 for share in shares.values())
    assert value(rows, "excess") == value(rows, "excess", "null=reordered")
    assert ctx.missing == {}
    assert ("excess", "null=reordered,weights=encoder") in rows and ("excess", "weights=encoder") in rows
    without, _ = measure(made, siblings=others, acts=acts)
    least = min(value(without, "excess", f"null={name}") for name in ("residual", "other_seed"))
    assert value(without, "excess") == least


@pytest.mark.parametrize("decay", [0.0, 1.0])
@pytest.mark.parametrize("size", [0.1, 0.4, 0.8])
def test_changes_that_are_to_the_new_rows_what_those_of_the_second_control_are_leave_no_excess_whatever_their_size(
    size, decay
):
    found, raw = [], []
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)

        def rows(n: int, generator: torch.Generator = generator) -> torch.Tensor:
            scale = (
                1 + torch.arange(40, dtype=torch.float64)
            ) ** -decay  # large directions, if any, are the same for all
            drawn = torch.randn(n, 40, generator=generator, dtype=torch.float64) * scale
            return drawn / drawn.norm(dim=-1, keepdim=True)

        before = rows(300)
        after, again = before + 0.4 * rows(300), before + size * rows(300)
        scores, _ = measure(pair(before, after, rows(6)), second=build(again.T, again), seed=seed)
        found.append(value(scores, "excess"))
        unscaled = value(scores, "null_projection", "null=reordered") / value(scores, "scale", "null=reordered")
        raw.append(value(scores, "projection") - unscaled)
    assert abs(np.mean(found)) < 4 * np.std(found, ddof=1) / 10**0.5 and abs(np.mean(found)) < 0.015
    assert size == 0.4 or abs(np.mean(raw)) > 0.05  # as they are, the two do not compare


@pytest.mark.parametrize("drift", [0.02, 0.1])
def test_the_excess_is_what_old_rows_gave_up_whatever_else_they_and_the_second_control_did(drift):
    found = []
    for hedged in (0.0, 0.2, 0.4):
        generator = torch.Generator().manual_seed(0)
        axes = torch.eye(60, dtype=torch.float64)
        own = unit_rows(300, 40, generator) @ axes[20:]
        outside = unit_rows(300, 4, generator) @ axes[:4]
        before = own * (1 - hedged**2) ** 0.5 + hedged * outside
        after = own + 0.05 * unit_rows(300, 60, generator)
        again = before + drift * unit_rows(300, 60, generator)
        scores, _ = measure(pair(before, after, axes[:4]), second=build(again.T, again))
        found.append(value(scores, "excess"))
    assert found == pytest.approx([0.0, 0.2, 0.4], abs=0.02)


def test_dead_new_rows_of_another_seed_are_no_null():
    made = mixed_pair(0.5)
    twin = mixed_pair(0.5, seed=1)
    dead = pair(twin.control.W_dec, twin.grown.W_dec[:200], torch.zeros(6, 40)).grown
    rows, ctx = measure(made, siblings=[dead])
    assert ("excess", "null=other_seed") not in rows and "dead" in ctx.missing["excess null=other_seed"]
    silent = twin.grown
    bias = torch.zeros(206, dtype=torch.float64)
    bias[200:] = -99
    silent = build(silent.W_enc, silent.W_dec, b_enc=bias)
    acts = torch.randn(1024, 40, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    both, _ = measure(made, siblings=[silent, mixed_pair(0.5, seed=2).grown], acts=acts)
    alone, _ = measure(made, siblings=[mixed_pair(0.5, seed=2).grown], acts=acts)
    assert both["excess", "null=other_seed"].value == alone["excess", "null=other_seed"].value


def test_a_span_of_smaller_rank_is_held_to_what_its_own_rank_holds_by_chance():
    found = []
    for seed in range(10):
        made = mixed_pair(0.0, seed=seed)  # no hedging at all
        twin = mixed_pair(0.0, seed=100 + seed)
        collapsed = pair(twin.control.W_dec, twin.grown.W_dec[:200], twin.new[:1].repeat(6, 1)).grown
        found.append(value(measure(made, siblings=[collapsed])[0], "excess", "null=other_seed"))
    assert abs(np.mean(found)) < 4 * np.std(found, ddof=1) / 10**0.5 and max(map(abs, found)) < 0.03


def test_a_control_of_another_place_is_refused():
    made = mixed_pair(0.5)
    made.control.cfg.metadata.hook_name = "blocks.2.hook_resid_post"
    with pytest.raises(BadInput, match=r"hook_name is 'blocks.1.hook_resid_post' and its control's"):
        measure(made)
    twin = mixed_pair(0.5)
    for role in ("second", "siblings"):
        other = mixed_pair(0.5).grown
        other.cfg.metadata.hook_name = "blocks.7.hook_mlp_out"
        word = {"second": "second control", "siblings": "group"}[role]
        with pytest.raises(BadInput, match=f"its {word}'s 'blocks.7.hook_mlp_out'"):
            measure(twin, **{role: other if role == "second" else [other]})


def test_the_headline_comes_first():
    names = [
        metric for metric, params in measure(mixed_pair(0.5), siblings=[mixed_pair(0.5, seed=1).grown])[0] if not params
    ]
    assert names[:4] == ["excess", "delta_share", "direction_share", "hedging_degree"]


def test_the_live_share_stands_beside_the_headline():
    features = unit_rows(12, 30, torch.Generator().manual_seed(0))
    acts = sparse_activations(features, 1024, 0.3, torch.Generator().manual_seed(1))
    made = Pair(build(features[:4].T, features[:4]), build(features.T, features + 0.01), torch.empty(0), features[4:])
    assert [metric for metric, params in measure(made, acts=acts)[0] if not params][:2] == ["excess", "live_added"]


def test_a_second_control_that_did_not_move_is_no_null():
    made = mixed_pair(0.5)
    _, ctx = measure(made, second=build(made.control.W_enc, made.control.W_dec))
    assert "turned no row" in ctx.missing["excess null=reordered, decoder side"]


def test_moving_far_in_the_span_counts_for_more_than_moving_little():
    still = exact_pair(0.5).control
    second = build(still.W_enc, still.W_dec + 0.01 * unit_rows(30, 48, torch.Generator().manual_seed(0)))
    far, little = (measure(exact_pair(0.5, size=size), second=second)[0] for size in (0.4, 0.04))
    assert value(far, "delta_share") == pytest.approx(value(little, "delta_share"))
    assert value(far, "projection") == pytest.approx(10 * value(little, "projection"))
    assert value(far, "excess") > 5 * value(little, "excess")


def test_without_any_matched_null_the_headline_is_blank_with_the_reason():
    rows, ctx = measure(mixed_pair(0.5))
    assert ("excess", "") not in rows and "there is no matched null" in ctx.missing["excess"]


def test_rows_of_another_shape_are_no_null():
    _, ctx = measure(mixed_pair(0.5), siblings=[mixed_pair(0.5, added=7, seed=1).grown])
    assert "no SAE of this recipe" in ctx.missing["excess null=other_seed"]


# --- encoder ---------------------------------------------------------------------------------------------------------------------


def test_a_change_of_both_sides_is_symmetric_and_one_of_the_encoder_alone_is_not():
    hedging = mixed_pair(0.8)
    before, after = hedging.control.W_dec, hedging.grown.W_dec[:200]
    absorption = pair(before, before, hedging.new, encoder=(before, after))
    both, alone = (measure(made)[0] for made in (hedging, absorption))
    assert value(both, "symmetry") == pytest.approx(1)
    assert value(alone, "symmetry") == pytest.approx(0)
    assert value(alone, "projection") == 0 and value(alone, "projection", "weights=encoder") > 0.1
    assert ("delta_share", "") not in alone


# --- dead latents, refusals ------------------------------------------------------------------------------------------------------


def test_dead_new_latents_are_counted_and_below_the_stated_share_nothing_is_said():
    features = unit_rows(12, 30, torch.Generator().manual_seed(0))
    control = build(features[:4].T, features[:4])
    acts = sparse_activations(features, 1024, 0.3, torch.Generator().manual_seed(1))
    bias = torch.zeros(12, dtype=torch.float64)
    for dead, share in ((0, 1.0), (4, 0.5), (5, 0.375)):
        bias[4 : 4 + dead] = -99
        grown = build(features.T, features + 0.01, b_enc=bias)
        made = Pair(control, grown, torch.empty(0), features[4:])
        if share >= 0.5:
            assert value(measure(made, acts=acts)[0], "live_added") == share
        else:
            with pytest.raises(CannotMeasure, match="38% of the 8 new latents are alive, less than min_live 50%"):
                measure(made, acts=acts)
            assert value(measure(made, acts=acts, min_live=0.2)[0], "live_added") == share


def test_where_nobody_knows_who_is_alive_it_is_not_guessed():
    with pytest.raises(CannotMeasure, match="whether the new latents are alive is not known: no text is read"):
        measure(exact_pair(0.5), min_live=0.5)
    _, ctx = measure(exact_pair(0.5), min_live=0.0)
    assert "not known" in ctx.missing["live_added"]


def test_as_many_new_rows_as_dimensions_are_refused_and_dependent_ones_count_once():
    made = exact_pair(0.5)
    rows = made.grown.W_dec[:30]
    with pytest.raises(CannotMeasure, match="48 new latents span all 48 dimensions"):
        measure(pair(made.control.W_dec, rows, unit_rows(48, 48, torch.Generator().manual_seed(0))))
    twice, _ = measure(pair(made.control.W_dec, rows, torch.cat([made.new, made.new[:2] + made.new[2:]])))
    assert value(twice, "rank") == 4 and value(twice, "delta_share") == pytest.approx(0.5)
    with pytest.raises(CannotMeasure, match="all new decoder rows are zero"):
        measure(pair(made.control.W_dec, rows, torch.zeros(3, 48)))


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({"baseline": "guessed"}, "'baseline' is closed_form or sampled"),
        ({"n_null": 1}, "'n_null' must be 2 or more"),
        ({"min_live": 1.5}, "'min_live' is a share"),
        ({"n_batches": -1}, "'n_batches' must be 0 or more"),
    ],
)
def test_wrong_settings_are_refused(config, wanted):
    with pytest.raises(BadInput, match=wanted):
        make_config(GrowDelta, config)


def test_the_saes_are_left_as_they_were_and_the_seed_decides_the_numbers():
    made = mixed_pair(0.4)
    before = [{k: v.clone() for k, v in sae.state_dict().items()} for sae in made[:2]]
    one, again, other = (measure(made, seed=seed)[0] for seed in (0, 0, 1))
    assert one == again and one["z", ""].value != other["z", ""].value
    for sae, state in zip(made[:2], before, strict=True):
        assert all(torch.equal(sae.state_dict()[k], v) for k, v in state.items())
