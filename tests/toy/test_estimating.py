"""The test bed for estimates of hedging: what is trained, what is judged, what the rivals say where it is known, and how a perfect and a blind estimator come off."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import pandas as pd
import pytest
import torch

from hedgebench.toy.estimate_families import DEVELOPMENT, HELD_OUT, Family, factor_correlation, zipf
from hedgebench.toy.estimate_summary import by_sae, estimators_of, partial_rank_correlation, rank_correlation, summarise
from hedgebench.toy.estimate_truth import least_squares, measure_truth
from hedgebench.toy.estimating import Given, judge, recipe_name, train_families
from hedgebench.toy.firing import marginals
from hedgebench.toy.rivals import (
    ESTIMATORS,
    RIVALS,
    bias_norm,
    c_dec,
    find_atoms,
    hedging,
    kmeans_growth,
    smr,
    spike_size,
)
from hedgebench.toy.world_config import WorldConfig
from hedgebench.toy.worlds import make_world

FAMILIES = {family.name: family for family in (*DEVELOPMENT, *HELD_OUT)}
KINDS = {"orthogonal", "superposed", "hierarchical", "sizes", "zero", "hetero_noise", "random_sign", "mixed"}


# --- families --------------------------------------------------------------------------------------------------------------------


def test_every_kind_is_there_for_development_and_held_out_in_other_numbers():
    assert {f.kind for f in DEVELOPMENT} == {f.kind for f in HELD_OUT} == KINDS
    assert len(FAMILIES) == len(DEVELOPMENT) + len(HELD_OUT)
    assert not any(f.held_out for f in DEVELOPMENT) and all(f.held_out for f in HELD_OUT)
    laws = [(w.d_in, w.n_features) for w in (f.world(0) for f in HELD_OUT)]
    assert not set(laws) & {(w.d_in, w.n_features) for w in (f.world(0) for f in DEVELOPMENT)}


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda f: f.name)
def test_a_family_is_of_the_promised_size_and_a_seed_decides_its_world(family: Family):
    first, again, other = family.world(0), family.world(0), family.world(1)
    assert first == again and first != other
    assert 64 <= first.d_in <= 128 and 40 <= first.n_features <= 200
    rarest = 0.0005 if family.kind == "hierarchical" else 0.01
    assert all(rarest <= p <= 0.25 for p in marginals(first))
    assert len({recipe_name(recipe) for recipe in family.recipes}) == len(family.recipes)
    assert all(recipe.width <= first.n_features for recipe in family.recipes)


def test_only_what_a_kind_is_about_is_in_its_worlds():
    for family in FAMILIES.values():
        world = family.world(0)
        assert bool(world.random_sign) == (family.kind in ("random_sign", "mixed"))
        assert bool(world.noise_follows) == (family.kind == "hetero_noise")
        assert isinstance(world.magnitude, tuple) == (family.kind == "sizes")
        assert (world.n_features > world.d_in) == (family.kind == "superposed")
        assert bool(world.any_of) == (family.kind == "hierarchical")
        if family.kind in ("zero", "hetero_noise"):
            assert world.correlation is None and not world.parents


def test_random_signs_are_all_that_follows_tracked_features_in_one_kind_and_half_of_it_in_another():
    for family in FAMILIES.values():
        world, widest = family.world(0), max(recipe.width for recipe in family.recipes)
        if family.kind == "random_sign":
            assert set(world.parents) == set(world.random_sign) == set(range(widest, world.n_features))
        if family.kind == "mixed":
            assert 0.4 < len(world.random_sign) / len(world.parents) < 0.7


def test_factors_are_shared_as_stated():
    import numpy as np

    matrix = np.array(factor_correlation(200, 4, 0.6, np.random.default_rng(0)))
    assert np.diag(matrix) == pytest.approx(1) and np.allclose(matrix, matrix.T)
    assert np.sort(np.linalg.eigvalsh(matrix))[:196] == pytest.approx(0.4)
    assert zipf(3, 0.2, 1) == pytest.approx((0.2, 0.1, 0.2 / 3)) and zipf(50, 0.2, 1)[-1] == 0.02


# --- rivals ----------------------------------------------------------------------------------------------------------------------


def given_by(config: WorldConfig, tracked: list[int], n: int = 30_000) -> Given:
    """An SAE whose latents fire exactly as some features do, its decoder the best."""
    world = make_world(config)
    firings, x = world.sample(n, torch.Generator().manual_seed(0))
    f = firings[:, tracked]
    return Given(x, f, least_squares(f, x).float(), x.mean(dim=0))


TRACKED = {"apart": 16, "pairs": 15, "signs": 16}


@functools.cache
def first_of(name: str) -> Given:
    """Latents that track the first features of a family: no hedging; hedging; only random signs."""
    return given_by(FAMILIES[name].world(0), list(range(TRACKED[name])), 10_000)


def spike_left_by(sae: Given) -> float:
    r = sae.x - sae.x.mean(dim=0) - (sae.f - sae.f.mean(dim=0)) @ least_squares(sae.f, sae.x).float()
    return spike_size(r, find_atoms(r, torch.Generator().manual_seed(0)))


def test_smr_of_a_binary_pair_has_its_closed_form():
    """N = h (1 - q0 - q1) d1 d1^T, and a part 1/d of its squared norm is taken for isotropic."""
    given, alone, d = 0.4, 0.1, 50
    h = given - alone
    sae = given_by(WorldConfig("pair", d, (0.3, given), parents={1: 0}, otherwise={1: alone}), [0])
    expected = h * (1 - alone - given) * math.sqrt(1 - 1 / d) / (spike_left_by(sae) * math.hypot(1, h))
    assert float(smr(sae, 0)) == pytest.approx(expected, rel=0.1)


def test_smr_is_blind_where_a_feature_fires_as_surely_with_a_latent_as_it_is_silent_without():
    sae = given_by(WorldConfig("blind", 50, (0.3, 0.7), parents={1: 0}, otherwise={1: 0.3}), [0])
    assert float(smr(sae, 0)) < 0.05


def test_hedging_is_seen_by_both_rivals_and_none_where_there_is_none_but_a_random_sign_is_taken_for_it_by_smr():
    seen = {name: [float(estimate(first_of(name), 0).mean()) for estimate in (smr, kmeans_growth)] for name in TRACKED}
    assert max(seen["apart"]) < 0.04
    assert seen["pairs"][0] > 0.15 and seen["pairs"][1] > 2 * seen["apart"][1]
    assert seen["signs"][0] > 0.4  # and truly it hedges nothing


# --- the project's own -----------------------------------------------------------------------------------------------------------


def test_what_a_binary_pair_owes_has_its_closed_form_in_a_crowd_and_so_has_what_is_consistent():
    """`modulation.Modulation.consistent` says the second."""
    given, alone, d = 0.4, 0.1, 50
    h = given - alone
    rates = (0.3, given, *[0.04] * 40)
    sae = given_by(WorldConfig("pair", d, rates, parents={1: 0}, otherwise={1: alone}), [0], 20_000)
    found, g = hedging(sae, 0), h / math.hypot(1, h)
    assert float(found["owed"]) == pytest.approx(g, abs=0.02)
    along = h * (1 - alone - given) * math.sqrt(g**2 * (1 - 2 / d) + 1 / d**2)
    assert float(found["consistent"]) == pytest.approx(along / (spike_left_by(sae) * math.hypot(1, h)), rel=0.1)
    assert float(found["hedging"]) == pytest.approx(float(found["owed"]))  # a single latent has all of it


@pytest.mark.parametrize("name", TRACKED)
def test_the_projects_own_says_what_is_true_of_hedging_of_none_and_of_random_signs(name: str):
    sae = first_of(name)
    world = make_world(FAMILIES[name].world(0))
    truth = measure_truth(sae.f, world.sample(len(sae.x), torch.Generator().manual_seed(0))[0], world.features).hedge
    found = hedging(sae, 0)
    assert list(found) == ["hedging", "owed", "consistent"]
    assert all(values.shape == (TRACKED[name],) for values in found.values())
    for own in ("hedging", "owed"):
        assert float(found[own].mean()) == pytest.approx(float(truth.mean()), abs=0.02)
    says_nothing = (found["owed"] > 0) & (found["consistent"] <= 0)
    assert found["hedging"][says_nothing].eq(0).all()


def test_the_projects_own_has_no_number_where_nothing_is_left_over():
    sae = given_by(WorldConfig("all", 10, (0.3, 0.3, 0.3)), [0, 1, 2], 2000)
    found = hedging(sae, 0)
    assert list(found) == ["hedging", "owed", "consistent"]
    assert all(values.shape == (3,) and values.isnan().all() for values in found.values())


def test_the_study_asks_the_projects_own_first_and_then_the_rivals():
    assert list(ESTIMATORS) == ["hedging", *RIVALS] and ESTIMATORS["hedging"] is hedging


# --- rivals of weights -----------------------------------------------------------------------------------------------------------


def test_rivals_of_weights_alone():
    rows = torch.tensor([[1.0, 0, 0], [0, 2, 0], [3, 3, 0]])
    sae = Given(torch.zeros(1, 3), torch.zeros(1, 3), rows, torch.tensor([3.0, 4, 0]))
    root = math.sqrt(0.5)
    assert c_dec(sae, 0).tolist() == pytest.approx([root / 2, root / 2, root])
    assert bias_norm(sae, 0).tolist() == [5.0] * 3


# --- study -----------------------------------------------------------------------------------------------------------------------


def oracle(given: Given, _seed: int) -> torch.Tensor:
    return torch.arange(float(len(given.W_dec)))


def both(given: Given, seed: int) -> dict[str, torch.Tensor]:
    """One estimator with two things to say."""
    return {"first": oracle(given, seed), "second": -oracle(given, seed)}


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Three SAEs of three kinds, hardly trained: a start at the truth is where latents track features."""
    chosen = {"pairs": (1, 7), "apart": (3,)}
    families = [
        replace(FAMILIES[name], recipes=tuple(replace(FAMILIES[name].recipes[i], steps=30) for i in indices))
        for name, indices in chosen.items()
    ]
    state = torch.random.get_rng_state()
    cases = train_families(families, [0], progress=False)
    found = judge(cases, RIVALS | {"oracle": oracle, "both": both}, 4000, progress=False)
    assert torch.equal(torch.random.get_rng_state(), state)
    return found


def test_every_live_latent_of_every_sae_and_prefix_has_a_row(frame: pd.DataFrame):
    units = frame.groupby(["family", "recipe", "prefix"], sort=False).size()
    matryoshka = FAMILIES["pairs"].recipes[7]
    assert [prefix for _, _, prefix in units.index] == [30, *matryoshka.levels, 16]
    assert (units.to_numpy() == units.index.get_level_values("prefix")).all()
    assert set(frame["latent"][frame["prefix"] == 7]) == set(range(7))


def test_a_row_has_the_truth_and_what_every_estimator_says(frame: pd.DataFrame):
    assert {"hedge", "absorb", "best_cosine", "density", *RIVALS, "oracle"} <= set(frame.columns)
    assert frame[["hedge", "absorb", "best_cosine", "density", *RIVALS]].notna().all(axis=None)
    assert frame["hedge"].between(0, 1).all() and frame["density"].between(0.0125, 1).all()
    apart, pairs = (frame[frame["family"] == name]["hedge"].mean() for name in ("apart", "pairs"))
    assert apart < 0.05 < 0.1 < pairs
    assert set(frame["oracle"][frame["family"] == "apart"]) == set(range(16))


def test_an_estimator_that_says_several_things_has_a_column_for_each_by_its_name(frame: pd.DataFrame):
    assert estimators_of(frame) == [*RIVALS, "oracle", "first", "second"]
    assert frame["first"].equals(frame["oracle"]) and frame["second"].equals(-frame["oracle"])


# --- summary ---------------------------------------------------------------------------------------------------------------------


def invented(estimates: dict[str, list[float]]) -> pd.DataFrame:
    """Latents of 4 SAEs in families of their own, 8 each, with a known truth."""
    about = {"held_out": False, "world_seed": 0, "recipe": "r", "architecture": "standard", "width": 8, "k": 0.0, "prefix": 8}  # fmt: skip
    rows = [
        {"family": f"f{i}", "kind": "zero" if i == 0 else "orthogonal", **about, "latent": j, "hedge": 0.1 * i * (j + 1) / 4.5, "absorb": [0.3, 0.1, 0.4, 0.2][i], "best_cosine": 0.95, "density": 0.1}
        for i in range(4)
        for j in range(8)
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(**estimates)


def told(summary: pd.DataFrame) -> dict[tuple[str, str], float]:
    return {(row.estimator, row.measure): row.value for row in summary.itertuples()}


def test_a_perfect_estimator_has_the_best_of_every_number_and_a_constant_one_has_no_rank():
    truth = invented({})["hedge"]
    values = told(summarise(invented({"perfect": truth, "half": 0.5 * truth, "constant": 7.0}), resamples=20))
    for name in ("perfect", "half"):
        assert values[name, "across"] == values[name, "within_median"] == values[name, "within_p10"] == pytest.approx(1)
    assert (values["perfect", "level"], values["half", "level"]) == (pytest.approx(1), pytest.approx(0.5))
    assert values["perfect", "control zero"] == pytest.approx(0) and values[
        "constant", "control zero"
    ] == pytest.approx(7)
    assert math.isnan(values["constant", "across"]) and math.isnan(values["constant", "within_median"])
    assert math.isnan(values["perfect", "control random_sign"])


def test_merged_saes_do_not_count_and_those_with_nothing_to_rank_are_not_ranked_within():
    frame = invented({"e": 1.0})
    summary = summarise(frame, resamples=20).set_index("measure")["n"]
    assert summary["across"] == 4 and summary["level"] == 3 and summary["control zero"] == 1
    assert by_sae(frame)["spread"].ge(0.02).tolist() == [False, True, True, True]
    frame.loc[frame["family"] == "f3", "best_cosine"] = 0.7
    assert summarise(frame, resamples=20).set_index("measure")["n"]["across"] == 3


def test_an_interval_holds_its_value_and_is_the_same_for_the_same_seed():
    frame = invented({"e": invented({})["hedge"] + 0.02 * invented({})["absorb"]})
    one, again = (summarise(frame, resamples=50) for _ in range(2))
    pd.testing.assert_frame_equal(one, again)
    level = one[one["measure"] == "level"].iloc[0]
    assert level["low"] <= level["value"] <= level["high"]


def test_partial_rank_correlation_is_pearsons_formula_on_ranks():
    generator = torch.Generator().manual_seed(0)
    z = torch.rand(4000, generator=generator)
    x, y = (z + 0.3 * torch.rand(4000, generator=generator) for _ in range(2))
    columns = torch.stack([x, y, z], dim=1).double().numpy()
    assert rank_correlation(columns) > 0.8
    assert abs(partial_rank_correlation(columns)) < 0.1
    assert math.isnan(partial_rank_correlation(columns[:, [0, 2, 2]]))
