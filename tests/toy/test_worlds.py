"""Toy worlds: what fires is what the description says, the truth travels in files, and an impossible world is one clear line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgebench import world_files
from hedgebench.toy.drawing import draw_activations
from hedgebench.toy.world_config import RandomCorrelation, WorldConfig
from hedgebench.toy.worlds import World, load_world, make_world, synthetic_config
from hedgebench.types import BadInput

N = 100_000
HIERARCHY = WorldConfig("hierarchy", 8, (0.25, 0.2), parents={1: 0})
PAIR = WorldConfig("pair", 8, (0.25, 0.1), parents={1: 0}, otherwise={1: 0.2})
FAMILY = WorldConfig("family", 8, (0.5, 0.2, 0.3, 0.4, 0.6), parents={1: 0, 2: 0, 3: 0, 4: 1}, exclusive=((1, 2, 3),))
ANY = WorldConfig("any", 8, (0.0, 0.1, 0.2, 0.3), any_of={0: (1, 2, 3)})
ANY_OF_RIVALS = WorldConfig("rivals", 8, (0.0, 0.3, 0.4, 0.1), any_of={0: (1, 2, 3)}, exclusive=((1, 2),))
SIGNED = WorldConfig(
    "signed", 8, (0.3, 0.6, 0.2), parents={1: 0}, otherwise={1: 0.1}, magnitude=(0.5, 1.0, 3.0), random_sign=(1,)
)
NOISY = WorldConfig("noisy", 32, (0.4, 0.3, 0.2), magnitude=10, noise=0.2, noise_follows={0: 3.0, 2: 2.0})
LOPSIDED = replace(NOISY, name="lopsided", noise_shape="anisotropic")
CORRELATED = WorldConfig("correlated", 8, (0.25, 0.25, 0.1, 0.1, 0.3), correlation=RandomCorrelation(0.8, 2))
SYNTHETIC: dict[str, Any] = {
    "num_features": 24,
    "hidden_dim": 12,
    "hierarchy": {"total_root_nodes": 3, "branching_factor": 3, "max_depth": 2},
    "correlation": {"rank": 3, "correlation_scale": 0.1},
    "orthogonalization": {"num_steps": 5},
    "seed": 3,
}


def draw(world: World, n: int = N, seed: int = 0) -> torch.Tensor:
    return world.sample(n, torch.Generator().manual_seed(seed)).firings > 0


def close(observed: torch.Tensor, p: torch.Tensor | float, n: float = N) -> bool:
    """Within five standard errors of a frequency."""
    p = torch.as_tensor(p, dtype=torch.float64)
    return bool(((observed.double() - p).abs() <= 5 * (p * (1 - p) / n).sqrt() + 1e-12).all())


# --- firing --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [HIERARCHY, PAIR, FAMILY, ANY, ANY_OF_RIVALS, CORRELATED], ids=lambda c: c.name)
def test_every_feature_fires_as_often_as_stated(config: WorldConfig):
    world = make_world(config)
    assert close(draw(world).double().mean(0), world.probabilities)


@pytest.mark.parametrize("config", [HIERARCHY, PAIR, FAMILY, ANY, ANY_OF_RIVALS], ids=lambda c: c.name)
def test_the_exact_outcomes_are_those_that_are_drawn(config: WorldConfig):
    world = make_world(config)
    patterns = world.patterns()
    fires = draw(world)
    drawn = torch.stack([(fires == row).all(1).double().mean() for row in patterns.firings > 0])
    assert float(patterns.probabilities.sum()) == pytest.approx(1)
    assert close(drawn, patterns.probabilities)
    assert float(drawn.sum()) == pytest.approx(1)  # nothing is drawn that is not listed
    assert patterns.firings.double().T @ patterns.probabilities == pytest.approx(world.probabilities.double())


def test_the_conditional_probabilities_of_a_correlated_pair():
    fires = draw(make_world(PAIR))
    given_parent, given_silence = fires[fires[:, 0], 1], fires[~fires[:, 0], 1]
    assert close(given_parent.double().mean(), 0.1, len(given_parent))
    assert close(given_silence.double().mean(), 0.2, len(given_silence))


def test_a_child_never_fires_without_its_parent_and_exclusive_siblings_never_together():
    fires = draw(make_world(FAMILY))
    assert not (fires[:, 1:4].any(1) & ~fires[:, 0]).any()
    assert not (fires[:, 4] & ~fires[:, 1]).any()
    assert int(fires[:, 1:4].sum(1).max()) == 1


def test_exclusive_siblings_keep_their_probabilities_which_saelens_tie_breaking_lowers():
    config = WorldConfig("three", 8, (1.0, 0.2, 0.2, 0.2), parents={1: 0, 2: 0, 3: 0}, exclusive=((1, 2, 3),))
    assert close(draw(make_world(config)).double().mean(0)[1:], 0.2)
    from sae_lens.synthetic import ActivationGenerator, HierarchyNode, hierarchy_modifier

    tree = HierarchyNode(0, [HierarchyNode(i) for i in (1, 2, 3)], mutually_exclusive_children=True)
    theirs = ActivationGenerator(4, torch.tensor(config.probability), modify_activations=hierarchy_modifier([tree]))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        rates = (theirs.sample(N) > 0).double().mean(0)[1:]
    assert close(rates, (1 - 0.8**3) / 3)  # .163


def test_the_leading_features_are_uncorrelated_and_the_others_are_not():
    fires = draw(make_world(CORRELATED)).double()
    correlation = torch.corrcoef(fires.T)
    assert abs(float(correlation[0, 1])) < 5 / N**0.5
    assert float(correlation[:2, 2:].abs().max()) > 0.1


def test_a_given_correlation_is_that_of_the_gaussians():
    """For medians as thresholds, P(both fire) = 1/4 + arcsin(r) / (2 pi) (Sheppard 1899)."""
    r = -0.6
    fires = draw(make_world(WorldConfig("pair", 2, (0.5, 0.5), correlation=((1.0, r), (r, 1.0)))))
    assert close((fires[:, 0] & fires[:, 1]).double().mean(), 0.25 + torch.tensor(r).asin() / (2 * torch.pi))


def test_strengths_have_the_stated_mean_and_spread_wherever_a_feature_fires():
    config = WorldConfig(
        "strong",
        8,
        (0.5, 0.5, 0.5),
        parents={1: 0},
        otherwise={1: 0.5},
        exclusive=((2,),),
        magnitude=10,
        magnitude_std=1,
    )
    firings = make_world(config).sample(N, torch.Generator().manual_seed(0)).firings
    for feature in range(3):
        strength = firings[:, feature][firings[:, feature] > 0]
        assert float(strength.mean()) == pytest.approx(10, abs=0.05)
        assert float(strength.std()) == pytest.approx(1, abs=0.05)


@settings(max_examples=25, deadline=None)
@given(
    p=st.lists(st.floats(0, 1), min_size=5, max_size=5),
    parents=st.lists(st.integers(-1, 3), min_size=5, max_size=5),
    seed=st.integers(0, 2**40),
)
def test_any_tree_of_features_has_outcomes_that_sum_to_1_and_meet_its_marginals(
    p: list[float], parents: list[int], seed: int
):
    tree = {child: parent for child, parent in enumerate(parents) if 0 <= parent < child}
    world = make_world(WorldConfig("tree", 5, tuple(p), parents=tree, seed=seed))
    patterns = world.patterns()
    assert float(patterns.probabilities.sum()) == pytest.approx(1)
    assert (patterns.firings.double().T @ patterns.probabilities).tolist() == pytest.approx(
        world.probabilities.tolist(), abs=1e-6
    )
    fires = draw(world, 200, seed)
    listed = {tuple(row) for row in (patterns.firings > 0).tolist()}
    assert {tuple(row) for row in fires.tolist()} <= listed


def test_no_short_list_of_outcomes_is_pretended_where_there_is_none():
    assert make_world(CORRELATED).patterns() is None
    assert make_world(WorldConfig("many", 13, (0.1,) * 13)).patterns() is None
    assert make_world(WorldConfig("vague", 8, (0.1,), magnitude_std=0.1)).patterns() is None
    assert make_world(FAMILY).patterns(limit=3) is None
    assert make_world(SIGNED).patterns() is None
    assert make_world(NOISY).patterns() is None


def drawn_both_ways(config: WorldConfig) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Firings, read off orthonormal features, and activations: as samples are drawn for us, and as batches are for training."""
    world = make_world(config)
    ways = (
        world.sample(N, torch.Generator().manual_seed(0)).activations,
        draw_activations(world, N, torch.Generator().manual_seed(1)),
    )
    return [(x @ world.features.T, x) for x in ways]


def test_each_feature_has_its_own_magnitude_and_a_random_sign_leaves_no_mean_but_a_variance_that_follows_others():
    for firings, _ in drawn_both_ways(SIGNED):
        fires = firings.abs() > 1e-4
        for feature, magnitude in enumerate(SIGNED.magnitudes):
            torch.testing.assert_close(firings[:, feature][fires[:, feature]].abs(), torch.full((int(fires[:, feature].sum()),), magnitude))  # fmt: skip
        assert (firings[:, [0, 2]] > -1e-4).all()
        on = fires[:, 0]
        assert close(fires[on, 1].double().mean(), 0.6, int(on.sum()))
        assert close(fires[~on, 1].double().mean(), 0.1, int((~on).sum()))
        for part in (on, ~on):
            assert close((firings[part & fires[:, 1], 1] > 0).double().mean(), 0.5, int((part & fires[:, 1]).sum()))


def test_patterns_have_each_feature_at_its_own_magnitude():
    patterns = make_world(replace(SIGNED, random_sign=())).patterns()
    assert patterns.firings.max(dim=0).values.tolist() == [0.5, 1.0, 3.0]


@pytest.mark.parametrize("config", [NOISY, LOPSIDED], ids=lambda config: config.name)
def test_noise_has_the_stated_variance_and_what_follows_a_feature_is_added_where_it_fires(config: WorldConfig):
    world = make_world(config)
    for firings, x in drawn_both_ways(config):
        fires = firings > 5
        noise = x - 10 * fires.float() @ world.features
        assert float(noise.mean(dim=0).abs().max()) < 0.02
        for pattern, variance in (((0, 0), 1), ((1, 0), 9), ((0, 1), 4), ((1, 1), 12)):
            rows = (fires[:, [0, 2]] == torch.tensor(pattern).bool()).all(dim=1)
            assert float(noise[rows].square().mean()) == pytest.approx(0.04 * variance, rel=0.02)


def test_anisotropic_noise_of_a_feature_is_in_an_eighth_of_the_dimensions_and_isotropic_noise_in_all():
    for config, shares in ((NOISY, 32 * (1 / 32,)), (LOPSIDED, 4 * ((8 * 8 + 1) / 9 / 32,) + 28 * (1 / 9 / 32,))):
        world = make_world(config)
        for firings, x in drawn_both_ways(config):
            alone = (firings[:, 0] > 5) & (firings[:, 2] < 5)
            noise = x[alone] - 10 * (firings[alone] > 5).float() @ world.features
            spectrum = torch.linalg.eigvalsh(torch.cov(noise.T)).flip(0)
            assert (spectrum / spectrum.sum()).tolist() == pytest.approx(shares, rel=0.1)


# --- directions and samples ----------------------------------------------------------------------------------------------------


def test_activations_are_the_sum_of_what_fires_and_the_bias():
    world = make_world(WorldConfig("biased", 8, (0.5, 0.5, 0.5), bias=2.0, directions="random"))
    firings, activations = world.sample(50, torch.Generator().manual_seed(1))
    assert float(world.bias.norm()) == pytest.approx(2)
    torch.testing.assert_close(activations, firings @ world.features + world.bias)


def test_orthonormal_features_are_exactly_so_and_spread_ones_nearer_to_it_than_random_ones():
    def overlap(directions: Any, n: int) -> float:
        rows = make_world(WorldConfig("d", 16, (0.1,) * n, directions=directions)).features.double()
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(n, dtype=torch.float64), atol=1e-6, rtol=0)
        return float((rows @ rows.T - torch.eye(n)).abs().max())

    assert overlap("orthonormal", 16) < 1e-6
    assert overlap("spread", 24) < overlap("random", 24)


def test_a_sample_is_decided_by_its_generator_and_leaves_the_global_state_alone():
    world = make_world(CORRELATED)
    before = torch.random.get_rng_state()
    first, again = (world.sample(100, torch.Generator().manual_seed(5)).activations for _ in range(2))
    other = world.sample(100, torch.Generator().manual_seed(6)).activations
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    generator = torch.Generator().manual_seed(5)
    assert not torch.equal(world.sample(100, generator).activations, world.sample(100, generator).activations)
    assert torch.equal(torch.random.get_rng_state(), before)


# --- files ---------------------------------------------------------------------------------------------------------------------


def worlds() -> list[World]:
    configs = [HIERARCHY, PAIR, FAMILY, ANY, SIGNED, NOISY, LOPSIDED, CORRELATED]
    return [make_world(c) for c in configs] + [make_world(synthetic_config(SYNTHETIC))]


@pytest.mark.parametrize("world", worlds(), ids=lambda w: w.name)
def test_a_saved_world_comes_back_the_same_and_keeps_its_identity(world: World, tmp_path: Path):
    folder = tmp_path / "checkpoint" / "world"
    world.save(folder)
    loaded = load_world(folder)
    assert world_files.find_world(tmp_path / "checkpoint") == folder
    assert loaded.identity == world.identity == world_files.world_identity(folder)
    assert loaded.identity.startswith(f"toy:{world.name}@")
    mine, theirs = (w.sample(64, torch.Generator().manual_seed(0)) for w in (world, loaded))
    assert torch.equal(mine.firings, theirs.firings)
    assert torch.equal(mine.activations, theirs.activations)
    assert loaded.probabilities is None or torch.equal(loaded.probabilities, world.probabilities)


def test_equal_descriptions_make_equal_worlds_and_any_change_another():
    identities = {make_world(c).identity for c in (PAIR, HIERARCHY, FAMILY)}
    identities |= {
        make_world(WorldConfig("pair", 8, (0.25, 0.1), parents={1: 0}, otherwise={1: p})).identity for p in (0.2, 0.21)
    }
    identities.add(make_world(WorldConfig("pair", 8, (0.25, 0.1), parents={1: 0}, otherwise={1: 0.2}, seed=1)).identity)
    assert len(identities) == 5  # PAIR was made twice


def test_a_description_survives_json():
    for config in (HIERARCHY, PAIR, FAMILY, ANY, SIGNED, NOISY, LOPSIDED, CORRELATED):
        assert WorldConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_a_world_without_signs_and_noise_keeps_the_identity_it_had_before_there_were_any():
    assert make_world(PAIR).identity == "toy:pair@1bc7ea971a6e"
    assert not {"random_sign", "noise", "noise_follows", "noise_shape"} & set(PAIR.to_dict())


@pytest.mark.parametrize(
    "config", [SYNTHETIC, {"num_features": 8, "hidden_dim": 4}, WorldConfig("s", 8, (0.1,) * 12, directions="spread")]
)
def test_making_and_loading_a_world_draws_nothing_from_the_global_state_and_needs_no_grad_mode(
    config: Any, tmp_path: Path
):
    config = synthetic_config(config) if isinstance(config, dict) else config
    before = torch.random.get_rng_state()
    with torch.no_grad():
        first = make_world(config)
        torch.rand(3)  # whatever stands in the global generator
        again = make_world(config)
        first.save(tmp_path)
        state = torch.random.get_rng_state()
        loaded = load_world(tmp_path)
        assert torch.equal(torch.random.get_rng_state(), state)
        assert not torch.is_grad_enabled()
    torch.random.set_rng_state(before)
    assert first.identity == again.identity == loaded.identity
    assert torch.equal(first.features, again.features)
    make_world(config)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_world_that_saelens_own_runner_saves_is_found(tmp_path: Path):
    make_world(synthetic_config(SYNTHETIC)).synthetic.save(tmp_path / "synthetic_model")
    assert load_world(world_files.find_world(tmp_path)).n_features == 24


def test_a_checkpoint_without_a_world_has_none(tmp_path: Path):
    (tmp_path / "world").mkdir()
    assert world_files.find_world(tmp_path) is None
    with pytest.raises(BadInput, match="holds no toy world"):
        load_world(tmp_path)


# --- bad input -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probability": (0.1, 1.4)}, r"the probability of feature 1 is 1\.4: it must lie between 0 and 1"),
        ({"probability": (0.1, -0.1)}, r"the probability of feature 1 is -0\.1"),
        ({"probability": (0.1, float("nan"))}, "the probability of feature 1 is nan"),
        ({"probability": ()}, "at least one feature"),
        ({"parents": {0: 1, 1: 0}}, "its own ancestor: a hierarchy has no cycles"),
        ({"parents": {1: 1}}, "its own ancestor"),
        ({"parents": {0: 7}}, "there is no feature 7: there are 2"),
        ({"otherwise": {1: 0.5}}, "'otherwise' names feature 1, which has no parent"),
        ({"parents": {1: 0}, "otherwise": {1: 1.5}}, r"the probability of feature 1 is 1\.5"),
        ({"correlation": ((1.0, 1.5), (1.5, 1.0))}, r"no features can correlate .* eigenvalue is -0\.5"),
        ({"correlation": ((1.0, 1.0), (1.0, 1.0))}, "no features can correlate"),
        ({"correlation": ((1.0, 0.2), (0.3, 1.0))}, "must be symmetric"),
        ({"correlation": ((1.0, 0.2),)}, "a matrix of 2 rows of 2 numbers"),
        ({"correlation": RandomCorrelation(1.0)}, "'strength' must be from 0 up to, not including, 1"),
        ({"correlation": RandomCorrelation(0.1), "parents": {1: 0}}, "goes with neither 'parents'"),
        ({"exclusive": ((0, 1),), "probability": (0.6, 0.6)}, r"sum to 1\.2: at most 1"),
        ({"exclusive": ((0, 1), (1,))}, "in two exclusive groups"),
        ({"exclusive": ((0, 1),), "parents": {1: 0}}, "have different parents"),
        ({"any_of": {0: (0,)}}, "must name at least one other feature"),
        ({"d_in": 1}, "2 features cannot be orthonormal in 1 dimensions"),
        ({"directions": "orthogonal"}, "'directions' is 'orthogonal'"),
        ({"magnitude": -1.0}, "'magnitude' must be a number from 0 up"),
        ({"magnitude": (1.0, -1.0)}, "'magnitude' must be a number from 0 up"),
        ({"magnitude": (1.0,)}, "'magnitude' must be one number, or one for each of the 2 features, not 1"),
        ({"random_sign": (2,)}, "there is no feature 2"),
        ({"random_sign": (1, 1)}, "'random_sign' names a feature twice"),
        ({"noise": -1.0}, "'noise' must be a number from 0 up"),
        ({"noise_follows": {0: 2.0}}, "'noise_follows' multiplies 'noise', which is 0"),
        ({"noise": 1.0, "noise_follows": {2: 2.0}}, "there is no feature 2"),
        ({"noise": 1.0, "noise_follows": {1: 0.5}}, "'noise_follows' of feature 1 must be a factor from 1 up, not 0.5"),
        ({"noise_shape": "isotropc"}, "'noise_shape' is 'isotropc'.*isotropic"),
        ({"seed": -1}, "'seed' must be a whole number from 0"),
    ],
)
def test_an_impossible_world_is_one_line_with_its_name_and_reason(change: dict[str, Any], message: str):
    with pytest.raises(BadInput, match=message) as error:
        WorldConfig(**{"name": "impossible", "d_in": 8, "probability": (0.1, 0.1), **change})
    assert str(error.value).startswith("toy world 'impossible': ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"d_in": 8, "probability": [0.1], "probabilty": 1}, "no key 'probabilty'.*probability"),
        ({"probability": [0.1]}, "'d_in' is missing"),
        ({"d_in": 8, "probability": 0.1}, "'probability' must be a list"),
        ({"d_in": 8, "probability": ["often"]}, "must hold numbers, not 'often'"),
        ({"d_in": 8.5, "probability": [0.1]}, "must hold whole numbers"),
        ({"d_in": True, "probability": [0.1]}, "must hold whole numbers"),
        ({"d_in": 8, "probability": [0.1], "magnitude": ["big"]}, "must hold numbers, not 'big'"),
        ({"d_in": 8, "probability": [0.1], "random_sign": 0}, "'random_sign' must be a list"),
        ({"d_in": 8, "probability": [0.1], "noise_follows": [0]}, "must be a mapping from features"),
        ({"d_in": 8, "probability": [0.1], "parents": [0]}, "must be a mapping from features"),
        ({"d_in": 8, "probability": [0.1], "parents": {"first": 0}}, "must hold whole numbers, not 'first'"),
        ({"d_in": 8, "probability": [0.1], "correlation": {"strenght": 0.1}}, "no key 'strenght'.*strength"),
    ],
)
def test_a_wrong_key_or_kind_is_named(data: dict[str, Any], message: str):
    with pytest.raises(BadInput, match=message):
        WorldConfig.from_dict({"name": "wrong", **data})


def test_a_world_that_does_not_fit_into_memory_is_refused_before_it_is_made():
    with pytest.raises(BadInput, match=r"1000000000 dimensions takes .* GB, and .* GB are available"):
        make_world(WorldConfig("huge", 10**9, (0.1,) * 1000))
    with pytest.raises(BadInput, match="available: make it smaller"):
        make_world(synthetic_config({"num_features": 10**9, "hidden_dim": 10**4}))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"num_features": 5}, "hidden_dim"),
        ({"num_features": 0, "hidden_dim": 4}, "num_features must be at least 1"),
        ({"num_features": 5, "hidden_dim": 4, "colour": "red"}, "colour"),
        ({"num_features": 5, "hidden_dim": 4, "hierarchy": {"branching_factor": 1}}, "branching_factor"),
    ],
)
def test_a_wrong_synthetic_world_is_one_line_with_saelens_own_words(data: dict[str, Any], message: str):
    with pytest.raises(BadInput, match=f"SAELens does not take it: .*{message}"):
        synthetic_config(data)


def damage_truncate(folder: Path) -> None:
    file = folder / "world.safetensors"
    file.write_bytes(file.read_bytes()[:-5])


def damage_shape(folder: Path) -> None:
    data = json.loads((folder / "world.json").read_text())
    (folder / "world.json").write_text(json.dumps({**data, "d_in": 9}))


def damage_json(folder: Path) -> None:
    (folder / "world.json").write_text("[" * 100_000)


def damage_nan(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "world.safetensors")
    save_file({**tensors, "features": tensors["features"] * float("nan")}, folder / "world.safetensors")


def edit_tensors(folder: Path, **changes: Any) -> None:
    from safetensors.torch import load_file, save_file

    tensors = {**load_file(folder / "world.safetensors"), **changes}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, folder / "world.safetensors")


def damage_norm(folder: Path) -> None:
    edit_tensors(folder, features=3 * torch.eye(8)[:2])


def damage_zero(folder: Path) -> None:
    edit_tensors(folder, features=torch.eye(8)[:2] * torch.tensor([[1.0], [0.0]]))


def damage_twice(folder: Path) -> None:
    edit_tensors(folder, features=torch.eye(8)[[0, 0]])


def damage_dtype(folder: Path) -> None:
    edit_tensors(folder, features=torch.eye(8, dtype=torch.int64)[:2])


def damage_correlation(folder: Path) -> None:
    edit_tensors(folder, correlation=torch.eye(2))


def damage_missing(folder: Path) -> None:
    (folder / "world.safetensors").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_truncate, "cannot read the toy world"),
        (damage_shape, r"features are \[2, 8\], its description says \[2, 9\]"),
        (damage_json, "cannot read the toy world: JSON nested too deeply"),
        (damage_nan, "NaN or infinite|not orthonormal"),
        (damage_missing, "cannot read the toy world"),
        (damage_norm, "not orthonormal, as its description says"),
        (damage_zero, "not orthonormal"),
        (damage_twice, "not orthonormal"),
        (damage_dtype, "must be float32"),
        (damage_correlation, "disagree on a correlation"),
    ],
)
def test_a_damaged_world_is_one_line(damage: Any, message: str, tmp_path: Path):
    make_world(HIERARCHY).save(tmp_path)
    damage(tmp_path)
    with pytest.raises(BadInput, match=message) as error:
        load_world(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_world_of_random_directions_must_still_have_unit_features(tmp_path: Path):
    make_world(WorldConfig("loose", 8, (0.1, 0.1), directions="random")).save(tmp_path)
    edit_tensors(tmp_path, features=2 * torch.eye(8)[:2])
    with pytest.raises(BadInput, match="its features are not unit vectors"):
        load_world(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"firing_probability": {"generator_name": "constant", "probability": 7.0}},
            "must lie between 0 and 1|must be",
        ),
        ({"firing_probability": {"generator_name": "zipfian", "max_prob": 1.4}}, "max_prob|between 0 and 1"),
        ({"mean_firing_magnitudes": float("nan")}, "a strength of firing"),
        ({"std_firing_magnitudes": -1.0}, "a strength of firing"),
    ],
)
def test_an_impossible_synthetic_world_is_one_line(changes: dict[str, Any], message: str):
    with pytest.raises(BadInput, match=message) as error:
        make_world(synthetic_config({"num_features": 16, "hidden_dim": 8, **changes}))
    assert str(error.value).startswith("synthetic world: ")
    assert "\n" not in str(error.value)


def test_a_synthetic_model_whose_config_promises_another_size_is_refused(tmp_path: Path):
    make_world(synthetic_config(SYNTHETIC)).save(tmp_path)
    file = tmp_path / "synthetic_model_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "num_features": 10**9}))
    with pytest.raises(BadInput, match=r"features are \[24, 12\], its config says otherwise"):
        load_world(tmp_path)
