"""What `hedging_estimate` says of SAEs whose latents hedge features by a known share, or none."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from hedgebench_evals.hedging_estimate import HEADLINE, HedgingEstimate
from hedgebench_evals.hedging_estimate_controls import RANKED, repeatability
from hedgebench_evals.hedging_estimate_rows import measure as measure_sample
from known_saes import build, orthonormal_features

from hedgebench.checkpoint import describe
from hedgebench.eval import ActivationBatch, EvalContext
from hedgebench.hedging import hedging_of
from hedgebench.latent_regression import LatentRegression
from hedgebench.latent_sample import LatentSample, csr
from hedgebench.records import score_row
from hedgebench.types import CannotMeasure, Score

D, LIVE, HEDGING, WIDTH, RARE = 48, 26, 8, 30, 26
"""Of the first `LIVE` latents the first `HEDGING` may hedge; latent `RARE` fires hardly ever and those after it never."""
GIVEN, ALONE = 0.35, 0.03
"""Chance of a missing feature where its latent fires, and elsewhere."""
FEATURES = orthonormal_features(D, D, torch.Generator().manual_seed(0))
MISSING = FEATURES[LIVE + 1 : LIVE + 1 + HEDGING]
"""Those that follow the first latents, in their order."""
SETTINGS = {"n_batches": 4, "n_atoms": 40, "pairs": 64, "groups": 4}
SHARES = ("hedging", "owed", "modulation", "modulation_unscaled", "consistent", "virtual_growth")
"""What is said of each live latent and of prefixes, too."""
N = 5000


def strengths(
    n: int, given: float = GIVEN, rate: float = 0.12, random_sign: bool = False, seed: int = 1
) -> torch.Tensor:
    """[n, D]: of the latents' features, one that is hardly ever there, those that follow the first latents, and independent ones that no latent has."""
    generator = torch.Generator().manual_seed(seed)

    def fires(p: torch.Tensor) -> torch.Tensor:
        noise = torch.randn(p.shape, generator=generator, dtype=torch.float64)
        return (torch.rand(p.shape, generator=generator) < p) * (1 + 0.1 * noise)

    latents = fires(torch.full((n, LIVE), rate))
    rare = fires(torch.full((n, 1), 0.002))
    followers = fires(torch.where(latents[:, :HEDGING] > 0, given, ALONE))
    if random_sign:
        followers = followers * (torch.randint(2, followers.shape, generator=generator) * 2 - 1)
    crowd = fires(torch.full((n, D - LIVE - 1 - HEDGING), 0.04))
    return torch.cat([latents, rare, followers, crowd], dim=1)


def text(known: torch.Tensor) -> list[ActivationBatch]:
    """Four batches of rows of 50 tokens, with a special token amid each, where a document begins."""
    acts = (known @ FEATURES).view(4, -1, 50, D)
    mask = torch.ones(acts.shape[:3], dtype=torch.bool)
    mask[:, :, 25] = False
    return [ActivationBatch(own.long(), x, own) for x, own in zip(acts, mask, strict=True)]


def tracker(width: int = WIDTH, scale: float = 1.0):
    """Latents that fire where their features do, `scale` times as strongly; those from `WIDTH` - 3 on never do."""
    rows = torch.cat([FEATURES[: LIVE + 1], FEATURES[-1:].expand(width - LIVE - 1, D)])
    bias = torch.full((width,), -1e-3, dtype=torch.float64)
    bias[LIVE + 1 :] = -100
    return build(rows.T * scale, rows / scale, bias * scale, torch.full((D,), 1e-9))


class Given:
    """An activation source that hands out what it was given."""

    def __init__(self, batches: list[ActivationBatch]) -> None:
        self.given = batches

    def batches(self, n_batches, batch_size, context_size, start=0):
        return iter(self.given[start:n_batches])


class Found(NamedTuple):
    scores: list[Score]
    ctx: EvalContext
    known: torch.Tensor

    def latents(self, metric: str) -> dict[int, Score]:
        return {
            int(s.slice_value): s for s in self.scores if (s.metric, s.slice_by, s.params) == (metric, "latent", {})
        }

    def values(self, metric: str) -> torch.Tensor:
        """Of the live latents that have one."""
        return torch.tensor([s.value for s in self.latents(metric).values()], dtype=torch.float64)

    def value(self, metric: str, by: str = "all", at: str = "all", **params) -> float:
        return self.score(metric, by, at, **params).value

    def score(self, metric: str, by: str = "all", at: str = "all", **params) -> Score:
        (one,) = (s for s in self.scores if (s.metric, s.slice_by, s.slice_value, s.params) == (metric, by, at, params))
        return one

    @property
    def told(self) -> list[dict]:
        return self.ctx.details["eval_result_unstructured"]["hedging"]

    @property
    def reasons(self) -> list[str]:
        return self.ctx.details["eval_result_unstructured"]["doubts"]


def measure(known: torch.Tensor, sae=None, prefixes=(), seed: int = 0, batches=None, **config) -> Found:
    sae = tracker() if sae is None else sae
    card = replace(describe(sae, name="known"), prefixes=prefixes)
    source = Given(text(known) if batches is None else batches)
    ctx = EvalContext(sae, card, torch.Generator().manual_seed(seed), activation_source=source)
    cfg = HedgingEstimate.Config(**SETTINGS | config)
    return Found(list(HedgingEstimate().run(ctx, cfg)), ctx, known)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def hedging_sae() -> tuple[Found, Callable[[], None]]:
    """The first latents hedge; everything is on. And a check that nothing was changed by it."""
    sae = tracker()
    before, random_state = copy.deepcopy(sae.state_dict()), torch.get_rng_state()
    found = measure(strengths(N), sae, prefixes=(4, 12, WIDTH), inject=0.3)
    after_state = torch.get_rng_state()

    def check() -> None:
        assert before.keys() == sae.state_dict().keys()
        assert all(torch.equal(before[name], weight) for name, weight in sae.state_dict().items())
        assert torch.equal(random_state, after_state)

    return found, check


@pytest.fixture(scope="module")
def found(hedging_sae) -> Found:
    return hedging_sae[0]


@pytest.fixture(scope="module")
def random_signs() -> Found:
    return measure(strengths(N, random_sign=True), inject=0)


@pytest.fixture(scope="module")
def unhedged() -> Found:
    """The same features, none of which follows a latent, and added hedging."""
    return measure(strengths(6000, given=ALONE), inject=0.3)


@pytest.fixture(scope="module")
def few_firings() -> Found:
    """Latents that fire seldom, most of a wide SAE never."""
    return measure(strengths(4000, rate=0.04), tracker(60), inject=0)


@pytest.fixture(scope="module")
def always_on() -> Found:
    """The latent 3 always fires alike: beside an intercept the best row for it is zero."""
    sae = tracker()
    sae.W_enc.data[:, 3], sae.b_enc.data[3] = 0, 1.5
    return measure(strengths(3000), sae, inject=0.3)


def expected(known: torch.Tensor) -> torch.Tensor:
    """[HEDGING]: h / sqrt(1 + h²), h the coefficient of each follower on its latent."""
    h = LatentRegression(known[:, :LIVE]).coefficients(known[:, LIVE + 1 : LIVE + 1 + HEDGING]).diagonal()
    return h / (1 + h.square()).sqrt()


# --- what is known ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["hedging", "owed"])
def test_latents_that_hedge_score_the_share_of_the_missing_feature_in_their_row_and_others_nothing(found, metric):
    values = found.values(metric)
    assert expected(found.known).min() > 0.24
    torch.testing.assert_close(values[:HEDGING], expected(found.known), atol=0.03, rtol=0)
    assert values[HEDGING:].abs().max() < 0.08
    assert values[HEDGING:].mean().abs() < 0.03


def test_the_mean_is_that_of_the_rows_and_has_an_error(found):
    for metric in (*SHARES, "density"):
        score, values = found.score(metric), found.values(metric)
        assert score.n == len(values) == LIVE
        assert score.value == pytest.approx(float(values.mean()))
    for metric in ("hedging", "modulation"):
        assert 0 < found.score(metric).stderr < 0.06


def test_hedging_is_what_is_owed_dealt_out_by_two_witnesses(found, unhedged, random_signs):
    for one in (found, unhedged, random_signs):
        owed, consistent = one.values("owed"), one.values("consistent")
        torch.testing.assert_close(one.values("hedging"), hedging_of(owed, consistent))
        assert one.value("hedging") == pytest.approx(one.value("owed"))
        assert one.values("hedging")[(owed > 0) & (consistent <= 0)].eq(0).all()
    assert (found.values("owed")[HEDGING:] > 0).sum() > (found.values("hedging")[HEDGING:] > 0).sum()


def test_an_sae_that_hedges_nothing_scores_about_nothing(unhedged):
    assert abs(unhedged.value("hedging")) < 0.03
    for metric in ("hedging", "owed"):
        assert unhedged.values(metric).abs().max() < 0.1


def test_random_signs_modulate_and_are_not_hedged(random_signs):
    hedged = [random_signs.latents("hedging")[i].value for i in range(HEDGING)]
    modulated = [random_signs.latents("modulation")[i].value for i in range(HEDGING)]
    assert max(map(abs, hedged)) < 0.1
    assert min(modulated) > 0.15
    assert sum(modulated) / HEDGING > 5 * abs(random_signs.value("modulation", null="shuffled"))


def test_random_signs_show_in_opposite_directions_and_one_sign_does_not(found, random_signs):
    assert found.value("two_sided") < 0.05
    n = random_signs.score("two_sided").n
    assert random_signs.value("two_sided") * n >= 2 * HEDGING - 2


def test_the_spike_is_the_strength_of_what_is_missed(found):
    assert found.value("spike") == pytest.approx(1, abs=0.15)
    assert found.score("spike").n >= D - LIVE - 1
    for i, row in found.latents("modulation").items():
        unscaled = found.latents("modulation_unscaled")[i].value
        assert row.value * found.value("spike") == pytest.approx(unscaled)


# --- which latents ----------------------------------------------------------------------------------------------------------------


def test_rows_are_of_live_latents_only_and_the_live_share_says_how_many_they_are(found):
    for metric in (*SHARES, "density"):
        assert list(found.latents(metric)) == list(range(LIVE))
    score = found.score("live_share")
    assert (score.value, score.n) == (LIVE / WIDTH, WIDTH)


def test_density_is_how_often_a_latent_fires_on_ordinary_tokens(found):
    ordinary = torch.ones(len(found.known), dtype=torch.bool)
    ordinary[25::50] = False
    fired = (found.known[ordinary, :LIVE] > 0).double()
    rows = found.latents("density")
    assert [s.value for s in rows.values()] == pytest.approx(fired.mean(dim=0).tolist())
    assert [s.n for s in rows.values()] == fired.sum(dim=0).tolist()


def test_wide_saes_have_no_row_for_each_latent_and_no_directions_where_none_are_wanted():
    found = measure(strengths(3000), inject=0, slice_limit=LIVE, directions=0, min_firings=10)
    assert {s.slice_by for s in found.scores} == {"all"}
    assert {"hedging", "modulation", "density", "live_share", "doubts"} <= {s.metric for s in found.scores}
    assert "leading_strength" not in {s.metric for s in found.scores}
    assert found.told == []


def test_a_latent_whose_best_row_is_zero_owes_nothing_and_has_no_share_of_it(always_on):
    assert always_on.latents("density")[3].value == 1
    for metric in ("hedging", "owed"):
        assert list(always_on.latents(metric)) == list(range(LIVE))
        assert always_on.latents(metric)[3].value == 0
        assert always_on.value(metric) == pytest.approx(float(always_on.values(metric).mean()))
    for metric in ("modulation", "modulation_unscaled", "consistent", "virtual_growth"):
        assert list(always_on.latents(metric)) == [i for i in range(LIVE) if i != 3]
        assert always_on.value(metric) == pytest.approx(float(always_on.values(metric).mean()))


def test_a_latent_whose_best_row_is_zero_leaves_the_others_as_they_are(always_on):
    others = [i for i in range(HEDGING) if i != 3]
    hedged = torch.stack([torch.tensor(always_on.latents("hedging")[i].value) for i in others]).double()
    torch.testing.assert_close(hedged, expected(always_on.known)[others], atol=0.05, rtol=0)
    assert 0 < always_on.score("hedging").stderr < 0.06 and 0 < always_on.score("modulation").stderr < 0.06
    assert 3 not in {one["latent"] for one in always_on.told}
    for of in RANKED:
        assert always_on.score("injected_rise", of=of, share=0.3).n == LIVE // 8


def test_prefixes_have_rows_of_their_own_but_for_those_of_too_few_latents(found):
    by_prefix = {(s.metric, *s.params): s for s in found.scores if s.slice_by == "prefix"}
    assert {s.slice_value for s in by_prefix.values()} == {"12"}
    metrics = {metric for metric, *_ in by_prefix}
    assert metrics == {*SHARES, "spike", "two_sided"}
    # eight of twelve hedge; features of the other latents are missing here, and nobody hedges them
    wanted = float(expected(found.known).sum()) / 12
    for metric in ("hedging", "owed"):
        assert found.value(metric, "prefix", "12") == pytest.approx(wanted, abs=0.05)
    assert found.score("hedging", "prefix", "12").n == 12
    assert list(found.ctx.missing) == ["prefix 4"] and "4 of its latents" in found.ctx.missing["prefix 4"]


# --- controls, directions, doubts -------------------------------------------------------------------------------------------------


def test_added_hedging_raises_the_estimate_by_its_share_and_random_signs_do_not(unhedged):
    for of in ("hedging", "owed"):
        assert unhedged.value("injected_rise", of=of, share=0.3) == pytest.approx(0.3, abs=0.06)
        assert abs(unhedged.value("random_sign_rise", of=of, share=0.3)) < 0.06
        assert unhedged.value("injected_auc", of=of, share=0.3) > 0.9
        assert unhedged.value("injected_auc", of=of, share=0.3, than="before") > 0.9
        assert unhedged.value("injected_auc", of=of, share=0.3, than="itself") == 1
    assert unhedged.value("random_sign_rise", of="modulation", share=0.3) > 0.15


def test_latents_that_hedge_already_rise_by_less_since_squares_add(found):
    before = float(found.values("hedging").max())
    rise = found.value("injected_rise", of="hedging", share=0.3)
    assert math.hypot(before, 0.3) - before - 0.05 < rise < 0.36
    assert abs(found.value("random_sign_rise", of="hedging", share=0.3)) < 0.06
    assert found.value("injected_auc", of="hedging", share=0.3, than="before") > 0.6
    assert found.value("injected_auc", of="hedging", share=0.3, than="itself") == 1


def test_random_signs_do_not_stand_out_from_other_latents(unhedged):
    for than in ({}, {"than": "live"}):
        assert unhedged.value("random_sign_auc", of="modulation", share=0.3, **than) > 0.9
        assert unhedged.value("injected_auc", of="hedging", share=0.3, **than) > 0.9


def test_nothing_is_read_where_nothing_is_owed(found):
    null = {"null": "nothing owed"}
    for metric in ("hedging", "owed"):
        assert abs(found.value(metric, **null)) < 0.03 < 0.06 < found.value(metric)
        each = [s.value for s in found.scores if (s.metric, s.slice_by, s.params) == (metric, "latent", null)]
        assert len(each) == found.score(metric, **null).n == LIVE
        assert max(map(abs, each)) < 0.1
        assert found.value(metric, **null) == pytest.approx(sum(each) / LIVE)
    assert found.value("modulation", **null) > 0.8 * found.value("modulation")
    assert not any("where nothing is owed" in why for why in found.reasons)


def test_the_saes_own_rows_are_held_against_the_best_ones(found):
    """Its rows hold none of the missing features, and the best ones h of each."""
    h = expected(found.known)
    cosines = found.values("row_cosine")
    torch.testing.assert_close(cosines[:HEDGING], (1 - h.square()).sqrt(), atol=0.02, rtol=0)
    assert cosines[HEDGING:].min() > 0.98
    assert found.value("row_cosine") == pytest.approx(float(cosines.mean()))


def test_the_controls_say_of_how_many_latents_they_are(found, unhedged):
    assert {"hedging", "owed", "modulation", "consistent", "virtual_growth"} == set(RANKED)
    count = LIVE // 8
    for one in (found, unhedged):
        for of in RANKED:
            for metric in ("injected_rise", "random_sign_rise", "injected_auc", "random_sign_auc"):
                assert one.score(metric, of=of, share=0.3).n == count
            assert one.score("injected_rise", of=of, share=0.3).stderr > 0
            for than in ("live", "before", "itself"):
                assert one.score("injected_auc", of=of, share=0.3, than=than).n == count
            rose = one.value("injected_auc", of=of, share=0.3, than="itself") * count
            assert rose == pytest.approx(round(rose))  # of each latent it is told whether it rose


def test_halves_of_the_text_rank_latents_alike_where_some_hedge_and_not_where_none_do(found, unhedged):
    for of in RANKED:
        assert found.score("repeatability", of=of).n == unhedged.score("repeatability", of=of).n == LIVE
        assert found.value("repeatability", of=of) > 0.35
    assert found.value("repeatability", of="hedging") > unhedged.value("repeatability", of="hedging") + 0.2


def repeated(sample: LatentSample, **config) -> tuple[list[Score], dict[str, str]]:
    """The scores of halves alone, and what was left blank."""
    cfg = HedgingEstimate.Config(**SETTINGS | {"pairs": 8} | config)
    ctx = EvalContext(tracker(), describe(tracker(), name="known"), torch.Generator().manual_seed(0))
    measured = measure_sample(sample, ctx.generator, cfg)
    return list(repeatability(measured, ctx, cfg)), ctx.missing


def sample_of(known: torch.Tensor, document: torch.Tensor, half: torch.Tensor) -> LatentSample:
    f = known[:, :LIVE].float()
    sparse = csr((f != 0).sum(1), f.nonzero()[:, 1], f[f != 0], LIVE)
    return LatentSample((known @ FEATURES).float(), sparse, document, half, 0.0, len(known))


def test_halves_of_a_single_document_leave_repeatability_blank():
    document = torch.arange(3000) // 1500
    scores, missing = repeated(sample_of(strengths(3000), document, document == 1))
    assert scores == [] and list(missing) == ["repeatability"]
    assert "single document" in missing["repeatability"]


def test_halves_in_which_too_few_latents_fire_in_both_parts_leave_repeatability_blank():
    """Latents fire in one document of each half."""
    known, document = strengths(4000), torch.arange(4000) // 1000
    known[document >= 2, :LIVE] = 0
    scores, missing = repeated(sample_of(known, document, document % 2 == 1))
    assert scores == [] and list(missing) == ["repeatability"]
    assert "0 latents fire often enough in half of the text, and 8 must" in missing["repeatability"]


def test_only_latents_that_fire_in_both_parts_of_both_halves_are_ranked():
    """In one half latent 20 fires in the first document alone."""
    known, document = strengths(3200), torch.arange(3200) // 50
    known[(document % 2 == 1) & (document > 1), 20] = 0
    scores, missing = repeated(sample_of(known, document, document % 2 == 1))
    assert missing == {} and {score.params["of"] for score in scores} == set(RANKED)
    assert {score.n for score in scores} == {LIVE - 1}


def test_a_latent_whose_best_row_is_zero_is_left_out_of_ranks(always_on):
    assert {s.params["of"] for s in always_on.scores if s.metric == "repeatability"} == set(RANKED)


def test_nothing_is_injected_where_none_is_wanted(random_signs):
    controls = {"injected_rise", "random_sign_rise", "injected_auc", "random_sign_auc", "repeatability"}
    assert not controls & {s.metric for s in random_signs.scores}
    assert "nothing owed" not in {s.params.get("null") for s in random_signs.scores}
    assert any("no controls were wanted" in why for why in random_signs.reasons)
    assert random_signs.ctx.missing == {}


def test_controls_are_left_blank_where_latents_fire_too_seldom_for_them():
    found = measure(strengths(4000, rate=0.04), directions=0, inject=0.3)
    assert set(found.ctx.missing) == {"injected_rise", "random_sign_rise", "injected_auc", "random_sign_auc"}
    assert all("fire often enough" in why for why in found.ctx.missing.values())
    assert any(why.startswith("the controls could not be run") for why in found.reasons)
    assert not set(found.ctx.missing) & {s.metric for s in found.scores}


def test_the_record_names_the_latents_that_hedge_most_and_what_they_hedge(found):
    assert len(found.told) == 16
    assert {one["latent"] for one in found.told[:HEDGING]} == set(range(HEDGING))
    rows = found.latents("hedging")
    ranked = [rows[one["latent"]].value for one in found.told]
    assert ranked == sorted((s.value for s in rows.values()), reverse=True)[:16]
    for one in found.told:
        for part in (*one["features"], one["leading"]):
            assert math.sqrt(sum(value**2 for value in part["direction"])) == pytest.approx(1, abs=1e-3)
    wanted = expected(found.known)
    for one in found.told[:HEDGING]:
        first = one["features"][0]
        feature = MISSING[one["latent"]]
        assert abs(float(torch.tensor(first["direction"]).double() @ feature)) > 0.97
        assert first["share"] == pytest.approx(float(wanted[one["latent"]]), abs=0.08)
        assert all(abs(other["share"]) < 0.1 for other in one["features"][1:])
        assert abs(float(torch.tensor(one["leading"]["direction"]).double() @ feature)) > 0.9
        assert one["leading"]["strength"] > 3 * abs(one["leading"]["null"])


def test_leading_strengths_are_those_of_the_record(found):
    rows = found.latents("leading_strength")
    assert {i: s.value for i, s in rows.items()} == pytest.approx(
        {one["latent"]: one["leading"]["strength"] for one in found.told}, abs=1e-4
    )
    assert found.value("leading_strength") == pytest.approx(sum(s.value for s in rows.values()) / 16)
    assert abs(found.value("leading_strength", null="shuffled")) < 0.3 * found.value("leading_strength")


def test_what_is_seen_first_is_the_estimate_beside_its_controls(found):
    first = [(s.metric, s.params.get("of", "hedging")) for s in found.scores[:7]]
    assert first == [(metric, "hedging") for metric in (HEADLINE[0], *HEADLINE)]
    assert found.scores[0].params == {} and found.scores[1].params == {"null": "nothing owed"}


def test_what_is_owed_has_an_error_for_each_latent(found):
    errors = [s.stderr for s in found.latents("owed").values()]
    assert all(0 < error < 0.2 for error in errors[:HEDGING])
    assert all(s.stderr is None for s in found.latents("consistent").values())


def test_latents_that_hedge_nothing_are_not_to_be_told_from_nothing(unhedged):
    assert any("not to be told from nothing" in why for why in unhedged.reasons)


def test_doubts_are_counted_and_named(found, random_signs, few_firings):
    for one in (found, random_signs, few_firings):
        assert one.value("doubts") == len(one.reasons)
    assert not any("fires on" in why or "of the SAE" in why for why in found.reasons)
    assert any("the median live latent fires on 1" in why and "give more text" in why for why in few_firings.reasons)
    assert any(why.startswith(f"{len(few_firings.latents('hedging'))} of 60 latents") for why in few_firings.reasons)


def test_an_sae_where_the_estimate_works_has_no_doubts_but_of_ranks_and_of_controls_on_few_latents(found):
    of_three_latents = "stands out", "features of random sign", "the controls are of 3 latents only"
    allowed = "rank", *of_three_latents
    assert [why for why in found.reasons if not any(word in why for word in allowed)] == []


# --- what must not matter ---------------------------------------------------------------------------------------------------------


def test_every_number_is_one_that_a_record_takes(found, random_signs, few_firings, always_on):
    for one in (found, random_signs, few_firings, always_on):
        rows = [score_row(HedgingEstimate, score) for score in one.scores]
        keys = [(r["metric"], r["params"], r["slice_by"], r["slice_value"]) for r in rows]
        assert len(set(keys)) == len(keys)
    assert {m.name for m in HedgingEstimate.metrics} == {s.metric for s in found.scores}


def test_the_sae_and_global_random_state_are_left_alone(hedging_sae):
    hedging_sae[1]()


def test_a_seed_decides_every_number(few_firings):
    again, other = (measure(few_firings.known, tracker(60), seed=seed, inject=0) for seed in (0, 1))
    assert again.scores == few_firings.scores
    assert again.ctx.details == few_firings.ctx.details
    assert other.latents("hedging") != few_firings.latents("hedging")


def test_the_scale_of_an_saes_activations_does_not_matter(few_firings):
    scaled = measure(few_firings.known, tracker(60, scale=16.0), inject=0)
    for metric in (*RANKED, "density"):
        plain, other = few_firings.latents(metric), scaled.latents(metric)
        assert plain.keys() == other.keys()
        assert [s.value for s in other.values()] == pytest.approx([s.value for s in plain.values()], abs=0.02), metric


# --- what cannot be measured --------------------------------------------------------------------------------------------------------


def test_too_few_live_latents_are_refused_with_a_way_out():
    with pytest.raises(CannotMeasure, match=r"0 of 30 latents fire on 5000 tokens.*n_batches"):
        measure(strengths(2000), min_firings=5000)
    sae = tracker()
    sae.b_enc.data[7:] = -100
    with pytest.raises(CannotMeasure, match=r"7 of 30 latents .* 8 must"):
        measure(strengths(2000), sae, min_firings=10)


def test_a_single_document_is_refused():
    batches = text(strengths(2000))
    batches = [batch._replace(mask=torch.ones_like(batch.mask)) for batch in batches]
    with pytest.raises(CannotMeasure, match="single document"):
        measure(strengths(2000), batches=batches)


def test_two_documents_are_measured_or_refused():
    batches = text(strengths(4000))
    for batch in batches:
        batch.mask.fill_(True)
    batches[2].mask[0, 10] = False  # where the second begins
    with contextlib.suppress(CannotMeasure):
        measure(strengths(4000), batches=batches, inject=0)


def test_activations_that_are_not_numbers_are_refused():
    batches = [batch._replace(acts=torch.full_like(batch.acts, math.nan)) for batch in text(strengths(2000))]
    with pytest.raises(CannotMeasure, match="1960 of 1960 ordinary tokens have activations that are not finite"):
        measure(strengths(2000), batches=batches)


def test_an_sae_that_leaves_nothing_over_is_refused():
    known = strengths(4000)
    known[:, LIVE:] = 0
    with pytest.raises(CannotMeasure, match="leaves"):
        measure(known, min_firings=10)


@pytest.mark.parametrize(
    "setting", [{"inject": 1.0}, {"inject": -0.1}, {"min_firings": 9}, {"groups": 1}, {"sink": 0.5}]
)
def test_impossible_settings_are_refused(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        HedgingEstimate.Config(**setting)
