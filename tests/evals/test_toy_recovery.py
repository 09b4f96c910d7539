"""What `toy_recovery` says of SAEs whose right answer is known, and that its plain numbers are SAELens's own."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hedgebench_evals.toy_recovery import ToyRecovery
from known_saes import bias_only, build, dead, dial, oracle, permuted_decoder, random_rows, unit_rows

from hedgebench import evaluate
from hedgebench.checkpoint import describe
from hedgebench.eval import EvalContext
from hedgebench.eval_config import make_config
from hedgebench.loaders import build_sae, prepare
from hedgebench.toy.world_config import WorldConfig
from hedgebench.toy.worlds import World, make_world
from hedgebench.types import BadInput, CannotMeasure, Score

SMALL: dict[str, Any] = {"n_samples": 2_000, "batch_size": 500}
SAELENS = {
    "mcc": "mcc",
    "uniqueness": "uniqueness",
    "precision": "classification.precision",
    "recall": "classification.recall",
    "f1": "classification.f1_score",
    "explained_variance": "explained_variance",
    "l0": "sae_l0",
    "true_l0": "true_l0",
    "shrinkage": "shrinkage",
    "dead_latents": "dead_latents",
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def world_of(features: torch.Tensor, *probability: float, bias: torch.Tensor | None = None) -> World:
    """Independent features in these directions, exactly: those that are drawn are orthogonal up to rounding only."""
    world = make_world(WorldConfig("by_hand", features.shape[1], probability, directions="random"))
    world.feature_dict.feature_vectors.data = features.float()
    if bias is not None:
        world.feature_dict.bias.data = bias.float()
    return world


def axes(n: int, d: int = 5) -> World:
    """`n` features along the first axes, each firing on a fifth of the samples."""
    return world_of(torch.eye(n, d), *[0.2] * n)


def features_of(world: World) -> torch.Tensor:
    return world.features.double()


def context(sae: Any, world: World, seed: int = 0, dtype: str = "float64") -> EvalContext:
    folded = prepare(sae, dtype=dtype)
    return EvalContext(folded, describe(sae, name="known"), seeded(seed), seed=seed, features=world)


Found = dict[tuple[str, str, str, str], Score]


def measure(
    sae: Any, world: World, seed: int = 0, dtype: str = "float64", **config: Any
) -> tuple[Found, dict[str, str]]:
    """Scores by metric, parameters, slice; and what was left blank."""
    ctx = context(sae, world, seed, dtype)
    scores = list(ToyRecovery().run(ctx, ToyRecovery.Config(**{**SMALL, **config})))
    found = {
        (s.metric, ",".join(f"{k}={v}" for k, v in s.params.items()), s.slice_by, s.slice_value): s for s in scores
    }
    assert len(found) == len(scores)
    return found, ctx.missing


def whole(found: Found) -> dict[str, float]:
    return {metric: s.value for (metric, params, by, _), s in found.items() if by == "all" and not params}


def each(found: Found, metric: str, by: str = "latent") -> dict[int, float]:
    return {int(v): s.value for (m, params, b, v), s in found.items() if (m, b, params) == (metric, by, "")}


# --- known SAEs ----------------------------------------------------------------------------------------------------------------


def test_the_oracle_recovers_everything():
    world = axes(3)
    found, missing = measure(oracle(features_of(world)), world)
    expected = dict.fromkeys(
        ("hedged", "absorbed", "unexplained", "asymmetry", "dead_latents", "b_dec_projection"), 0.0
    )
    expected |= dict.fromkeys(("mcc", "uniqueness", "precision", "recall", "f1", "tracked", "shrinkage"), 1.0)
    expected |= dict.fromkeys(("decoder_cosine", "encoder_cosine", "explained_variance"), 1.0)
    scores = whole(found)
    assert not missing and scores.pop("l0") == scores.pop("true_l0") == pytest.approx(0.6, abs=0.05)
    assert scores == pytest.approx(expected, abs=1e-6)
    assert each(found, "feature") == {0: 0, 1: 1, 2: 2}
    assert each(found, "tracked", "feature") == {0: 1, 1: 1, 2: 1}


def test_latents_in_another_order_recover_the_same_and_say_which_is_which():
    world = axes(4)
    found, _ = measure(oracle(features_of(world)[[2, 0, 3]]), world)
    assert each(found, "feature") == {0: 2, 1: 0, 2: 3}
    scores = whole(found)
    assert (scores["hedged"], scores["absorbed"], scores["tracked"]) == pytest.approx((0, 0, 3 / 4))
    assert each(found, "tracked", "feature") == {0: 1, 1: 0, 2: 1, 3: 1}
    assert each(found, "decoder_cosine", "feature") == pytest.approx({0: 1, 2: 1, 3: 1})


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_a_row_turned_towards_a_feature_nobody_tracks_is_hedged_by_its_cosine(alpha):
    world = axes(3)
    features, cosine = features_of(world), alpha / math.sqrt(1 + alpha**2)
    narrow = dial(features, alpha, other=2)
    sae = build(narrow.W_enc[:, :2], narrow.W_dec[:2])
    found, _ = measure(sae, world)
    assert each(found, "hedged") == pytest.approx({0: cosine, 1: 0}, abs=1e-7)
    assert whole(found)["hedged"] == pytest.approx(cosine / 2, abs=1e-7)
    assert found["hedged", "", "all", "all"].n == 2
    assert whole(found)["absorbed"] == pytest.approx(0, abs=1e-7)
    assert each(found, "decoder_cosine")[0] == pytest.approx(1 / math.sqrt(1 + alpha**2))
    assert each(found, "encoder_cosine") == pytest.approx({0: 1, 1: 1})
    assert each(found, "asymmetry")[0] == pytest.approx(1 - 1 / math.sqrt(1 + alpha**2), abs=1e-7)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.9])
def test_a_row_turned_towards_a_feature_of_another_latent_is_absorbed_by_its_cosine(alpha):
    world = axes(3)
    found, _ = measure(dial(features_of(world), alpha, other=2), world)
    assert each(found, "absorbed") == pytest.approx({0: alpha / math.sqrt(1 + alpha**2), 1: 0, 2: 0}, abs=1e-7)
    assert whole(found)["hedged"] == pytest.approx(0, abs=1e-7)


def test_a_permuted_decoder_tracks_every_feature_and_detects_none():
    world = axes(3)
    sae = permuted_decoder(oracle(features_of(world)), seeded())
    found, _ = measure(sae, world)
    scores = whole(found)
    assert (scores["hedged"], scores["absorbed"], scores["mcc"]) == pytest.approx((0, 0, 1))
    assert (scores["asymmetry"], scores["encoder_cosine"]) == pytest.approx((1, 0))
    # a latent fires with another feature: on its own one's samples only by chance, a fifth of the time
    assert scores["precision"] == pytest.approx(0.2, abs=0.05) == scores["recall"]
    assert scores["explained_variance"] < 0 and scores["shrinkage"] == pytest.approx(1)


def test_a_dead_sae_has_nothing_to_say_of_its_latents_and_says_so():
    world = axes(3)
    found, missing = measure(dead(5, 4, seeded()), world)
    scores = whole(found)
    assert (scores["dead_latents"], scores["l0"], scores["tracked"], scores["recall"]) == (1, 0, 0, 0)
    assert scores["mcc"] > 0  # SAELens counts dead rows
    names = {"hedged", "absorbed", "unexplained", "asymmetry", "decoder_cosine", "encoder_cosine"}
    assert missing == dict.fromkeys(names, "no latent fires") and not names & set(scores)
    assert not each(found, "hedged") and not each(found, "feature")


def test_what_a_dead_latent_points_at_counts_as_hedged():
    world, both = axes(2), unit_rows(1, 5, seeded()) * 0
    both[0, :2] = torch.tensor([0.8, 0.6])
    rows = torch.cat([both, torch.eye(2, 5)[1:]])
    alive, _ = measure(build(rows.T, rows), world)
    assert (whole(alive)["hedged"], each(alive, "absorbed")[0]) == pytest.approx((0, 0.6))
    silenced, _ = measure(build(rows.T, rows, b_enc=torch.tensor([0.0, -9.0])), world)
    assert each(silenced, "hedged") == pytest.approx({0: 0.6})
    assert each(silenced, "absorbed") == pytest.approx({0: 0})
    assert whole(silenced)["dead_latents"] == 0.5 and found_n(silenced, "hedged") == 1


def found_n(found: Found, metric: str) -> int | None:
    return found[metric, "", "all", "all"].n


def test_random_rows_are_neither_clean_nor_explained():
    world = axes(3, d=12)
    scores = whole(measure(random_rows(12, 3, seeded()), world)[0])
    assert scores["unexplained"] > 0.5 and scores["hedged"] + scores["absorbed"] > 0.1 and scores["mcc"] < 0.8


# --- directions that are not orthogonal ----------------------------------------------------------------------------------------


def sixty_degrees() -> World:
    features = torch.tensor([[1.0, 0.0, 0.0], [0.5, math.sqrt(0.75), 0.0]])
    return world_of(features, 0.2, 0.2)


def test_a_latent_that_is_a_feature_does_not_hedge_the_one_at_sixty_degrees():
    world = sixty_degrees()
    found, _ = measure(oracle(features_of(world)[:1]), world)
    assert found["decoder_cosine", "feature=1", "latent", "0"].value == pytest.approx(0.5)
    assert whole(found)["hedged"] == pytest.approx(0, abs=1e-6)
    mixed, _ = measure(dial(features_of(world), 0.25), world)
    assert each(mixed, "absorbed")[0] == pytest.approx(0.25 / math.sqrt(1 + 0.25**2 + 0.25), abs=1e-6)


def test_in_superposition_the_oracle_is_clean():
    features = unit_rows(12, 6, seeded(3))
    world = world_of(features, *[0.05] * 12)
    scores = whole(measure(oracle(features_of(world)), world)[0])
    assert (scores["hedged"], scores["absorbed"]) == pytest.approx((0, 0), abs=1e-6)
    assert scores["tracked"] == 1 and scores["mcc"] == pytest.approx(1)


# --- the bias ------------------------------------------------------------------------------------------------------------------


def test_the_bias_is_given_by_the_features_in_it():
    world = axes(3)
    found, _ = measure(bias_only(torch.tensor([0.0, 0.3, -0.4, 0.0, 7.0]), 2, seeded()), world)
    assert each(found, "b_dec_projection", "feature") == pytest.approx({0: 0, 1: 0.3, 2: -0.4})
    assert whole(found)["b_dec_projection"] == pytest.approx(0.5)


def test_the_bias_of_correlated_features_is_told_apart_and_the_worlds_own_is_taken_off():
    world = sixty_degrees()
    features, own = features_of(world), torch.tensor([3.0, 1.0, 2.0])
    shifted = world_of(features, 0.2, 0.2, bias=own)
    for place, b_dec in ((world, 0.2 * features[1]), (shifted, 0.2 * features[1] + own)):
        found, _ = measure(bias_only(b_dec, 2, seeded()), place)
        assert each(found, "b_dec_projection", "feature") == pytest.approx({0: 0, 1: 0.2}, abs=1e-6)
        assert whole(found)["b_dec_projection"] == pytest.approx(0.2, abs=1e-6)


def test_the_bias_on_two_correlated_features_is_as_long_as_their_sum():
    world = sixty_degrees()
    found, _ = measure(bias_only(features_of(world).sum(0), 2, seeded()), world)
    assert each(found, "b_dec_projection", "feature") == pytest.approx({0: 1, 1: 1}, abs=1e-6)
    assert whole(found)["b_dec_projection"] == pytest.approx(math.sqrt(3), abs=1e-6)


# --- Matryoshka ----------------------------------------------------------------------------------------------------------------


def test_a_prefix_is_an_sae_of_its_own_where_outer_latents_track_nothing():
    world = axes(4)
    features = features_of(world)
    parent = features[0] + 0.5 * features[1]
    rows = torch.cat([parent[None] / parent.norm(), features[1:3]])
    sae = build(rows.T, rows)
    sae.cfg.metadata.training_architecture_details = {"matryoshka_widths": [1, 2, 3]}
    found, _ = measure(sae, world)
    mixed = 0.5 / math.sqrt(1.25)
    inner = {width: found["hedged", "", "prefix", str(width)].value for width in (1, 2, 3)}
    assert inner == pytest.approx({1: mixed, 2: 0, 3: 0}, abs=1e-7)
    absorbed = {width: found["absorbed", "", "prefix", str(width)].value for width in (1, 2, 3)}
    assert absorbed == pytest.approx({1: 0, 2: mixed / 2, 3: mixed / 3}, abs=1e-7)
    assert [found["asymmetry", "", "prefix", w].n for w in "123"] == [1, 2, 3]
    assert (found["hedged", "", "prefix", "3"].value, found["absorbed", "", "prefix", "3"].value) == pytest.approx(
        (whole(found)["hedged"], whole(found)["absorbed"])
    )


# --- SAELens's numbers ---------------------------------------------------------------------------------------------------------


def topk(features: torch.Tensor) -> Any:
    rows = unit_rows(9, features.shape[1], seeded(5))
    config = {"architecture": "topk", "k": 3, "d_in": rows.shape[1], "d_sae": 9, "dtype": "float64", "metadata": {}}
    weights = {"W_enc": rows.T.contiguous(), "W_dec": rows, "b_enc": torch.zeros(9).double()}
    return build_sae(config, {**weights, "b_dec": 0.1 * torch.ones(rows.shape[1]).double()})


def mixed_world() -> World:
    """Six correlated directions in five dimensions, of varying strength, and a bias."""
    config = WorldConfig("mixed", 5, (0.3, 0.2, 0.1, 0.4, 0.05, 0.2), parents={1: 0}, magnitude_std=0.3,
                         directions="random", bias=0.5, seed=4)  # fmt: skip
    return make_world(config)


@pytest.mark.parametrize(
    "make",
    [oracle, lambda f: dial(f, 0.4), topk, lambda f: random_rows(f.shape[1], 4, seeded(1)),
     lambda f: dead(f.shape[1], 4, seeded(1)), lambda f: build(f.T, f, b_enc=torch.tensor([-9.0, *[-0.5] * (len(f) - 1)]))],
    ids=["oracle", "dial", "topk", "random", "dead", "one_dead"],
)  # fmt: skip
@pytest.mark.parametrize("world", [axes(3), sixty_degrees(), mixed_world()], ids=["axes", "correlated", "overcomplete"])
def test_the_plain_numbers_are_those_of_saelens_on_the_same_samples(make, world):
    from sae_lens.synthetic.evals import eval_sae_on_synthetic_data

    sae = prepare(make(features_of(world)))
    generator = seeded(7)
    replay = SimpleNamespace(sample=lambda n: world.sample(n, generator).firings)
    theirs = eval_sae_on_synthetic_data(sae, world.feature_dict, replay, num_samples=1_300, batch_size=500)
    found, missing = measure(sae, world, seed=7, dtype="float32", n_samples=1_300)
    ours = whole(found)
    for metric, path in SAELENS.items():
        value: Any = theirs
        for part in path.split("."):
            value = getattr(value, part)
        value = value / sae.cfg.d_sae if metric == "dead_latents" else value
        assert ours[metric] == value, metric
    assert not set(missing) & set(SAELENS)


def test_the_values_of_single_latents_average_to_the_whole_and_those_of_features_sum_to_the_true_l0():
    world = mixed_world()
    found, _ = measure(topk(features_of(world)), world)
    for metric in ("precision", "recall", "f1"):
        values = each(found, metric)
        assert len(values) == 9
        assert sum(values.values()) / 9 == pytest.approx(whole(found)[metric], rel=1e-6)
    assert sum(each(found, "l0").values()) == pytest.approx(whole(found)["l0"])
    assert sum(each(found, "true_l0", "feature").values()) == pytest.approx(whole(found)["true_l0"])
    for metric in ("hedged", "absorbed", "unexplained", "asymmetry", "decoder_cosine", "encoder_cosine"):
        values = each(found, metric)
        assert sum(values.values()) / len(values) == pytest.approx(whole(found)[metric])


def test_a_latents_detection_is_counted_by_hand():
    # latent 0 fires with feature 0 and, by its bias, never without; latent 1 fires with features 0 and 1
    world = axes(2)
    columns = torch.tensor([[1.0, 0, 0, 0, 0], [1.0, 1.0, 0, 0, 0]], dtype=torch.float64)
    found, _ = measure(build(columns.T, torch.eye(2, 5)), world)
    fires = world.sample(500, generator := seeded(0)).firings
    for _ in range(3):
        fires = torch.cat([fires, world.sample(500, generator).firings])
    zero, one = (fires > 0).T
    precision = {0: 1.0, 1: float((one & (zero | one)).sum() / (zero | one).sum())}
    assert each(found, "precision") == pytest.approx(precision)
    assert each(found, "recall") == pytest.approx({0: 1, 1: 1})
    assert each(found, "f1") == pytest.approx({i: 2 * p / (p + 1) for i, p in precision.items()})
    assert each(found, "l0") == pytest.approx({0: float(zero.double().mean()), 1: float((zero | one).double().mean())})


# --- errors --------------------------------------------------------------------------------------------------------------------


def test_the_error_of_l0_is_that_of_a_mean_over_samples():
    world = axes(3)
    found, _ = measure(oracle(features_of(world)), world, n_samples=20_000)
    for metric in ("l0", "true_l0"):
        score = found[metric, "", "all", "all"]
        assert score.stderr == pytest.approx(math.sqrt(3 * 0.2 * 0.8 / 20_000), rel=0.05) and score.n == 20_000


def test_the_error_of_the_explained_variance_is_its_spread_over_seeds():
    # far from the origin, where the samples' size says nothing of their variance
    features, bias = torch.eye(3, 5), torch.tensor([0.0, 0.0, 0.0, 3.0, 4.0])
    world = world_of(features, 0.2, 0.2, 0.2, bias=bias)
    narrow = build(features[:1].T, features[:1], b_dec=bias)
    seeds = range(60)
    scores = [
        measure(narrow, world, seed, n_samples=1_000, batch_size=25)[0]["explained_variance", "", "all", "all"]
        for seed in seeds
    ]
    values = torch.tensor([s.value for s in scores])
    assert torch.tensor([s.stderr for s in scores]).mean().item() == pytest.approx(values.std().item(), rel=0.25)
    # two features of variance .16 each are missed, and their mean of .2 as well: 1 - 2 * .2 / (3 * .16)
    assert values.mean().item() == pytest.approx(1 / 6, abs=3 * values.std().item() / math.sqrt(60))


def test_a_single_batch_has_no_error_and_a_single_sample_none_at_all():
    world = axes(3)
    found, _ = measure(oracle(features_of(world)), world, batch_size=2_000)
    assert found["explained_variance", "", "all", "all"].stderr is None
    assert found["l0", "", "all", "all"].stderr is not None
    alone, missing = measure(oracle(features_of(world)), world, n_samples=1)
    assert alone["l0", "", "all", "all"].stderr is None
    assert missing["explained_variance"] == "the samples do not vary"


def test_a_world_where_nothing_fires_has_no_variance_and_no_shrinkage():
    world = world_of(torch.eye(2, 3), 0.0, 0.0)
    found, missing = measure(oracle(features_of(world)), world)
    assert missing["explained_variance"] == "the samples do not vary"
    assert missing["shrinkage"] == "every sample is zero"
    assert whole(found)["true_l0"] == 0 and missing["hedged"] == "no latent fires"


# --- detail, settings, refusals ------------------------------------------------------------------------------------------------


def test_the_cosines_of_all_pairs_are_reported_as_long_as_they_are_few():
    world = axes(3)
    sae = dial(features_of(world), 0.75, other=2)
    found, _ = measure(sae, world, matrix_limit=9)
    rows, columns = sae.W_dec, sae.W_enc.T
    for i in range(3):
        for j in range(3):
            for metric, directions in (("decoder_cosine", rows), ("encoder_cosine", columns)):
                value = found[metric, f"feature={j}", "latent", str(i)].value
                assert value == pytest.approx(float(directions[i, j]), abs=1e-7)
    assert not any(params for _, params, *_ in measure(sae, world, matrix_limit=8)[0])


def test_values_of_single_latents_and_features_are_reported_as_long_as_they_are_few():
    world = axes(3)
    found, _ = measure(oracle(features_of(world)[:2]), world, slice_limit=2, matrix_limit=0)
    assert {by for _, _, by, _ in found} == {"all", "latent"}
    assert {by for _, _, by, _ in measure(oracle(features_of(world)), world, slice_limit=2, matrix_limit=0)[0]} == {
        "all"
    }


@pytest.mark.parametrize("setting", [{"n_samples": 0}, {"batch_size": 0}, {"terms": 0}, {"matrix_limit": -1}])
def test_settings_that_make_no_sense_are_told_in_one_line(setting):
    with pytest.raises(BadInput, match=f"eval 'toy_recovery': '{next(iter(setting))}' must be . or more"):
        make_config(ToyRecovery, setting)


def test_an_sae_in_units_that_its_checkpoint_does_not_tell_cannot_be_measured():
    world = axes(3)
    ctx = context(oracle(features_of(world)), world)
    ctx.sae.cfg.normalize_activations = "expected_average_only_in"
    with pytest.raises(CannotMeasure, match="does not hold the factors"):
        list(ToyRecovery().run(ctx, ToyRecovery.Config(**SMALL)))


def normalising(sae: Any) -> Any:
    return build_sae({**sae.cfg.to_dict(), "normalize_activations": "constant_norm_rescale"}, sae.state_dict())


def test_the_bias_of_an_sae_that_normalises_its_input_is_left_blank():
    features = torch.eye(3, 5)
    world = world_of(features, 0.2, 0.2, 0.2, bias=torch.tensor([0.0, 0, 0, 0, 1]))
    found, missing = measure(normalising(oracle(features)), world)
    assert "normalised by 'constant_norm_rescale'" in missing["b_dec_projection"]
    assert whole(found)["hedged"] == pytest.approx(0, abs=1e-7)


def test_an_sae_that_divides_by_the_norm_of_an_empty_sample_cannot_be_measured():
    ctx = context(normalising(oracle(torch.eye(3, 5))), axes(3))
    with pytest.raises(CannotMeasure, match="not finite: does it divide by the norm"):
        list(ToyRecovery().run(ctx, ToyRecovery.Config(**SMALL)))


def test_a_latent_without_an_encoder_column_has_no_asymmetry():
    # it fires always, by its bias
    world = axes(2)
    columns = torch.eye(2, 5)
    columns[1] = 0
    found, _ = measure(build(columns.T, torch.eye(2, 5), b_enc=torch.tensor([0.0, 1.0])), world)
    assert each(found, "asymmetry") == {0: 0} and found_n(found, "asymmetry") == 1
    assert each(found, "encoder_cosine") == {0: 1} and each(found, "decoder_cosine") == {0: 1, 1: 1}


def test_a_latent_that_writes_nothing_is_no_live_one():
    world = axes(2)
    found, _ = measure(build(torch.eye(5, 2), torch.eye(2, 5) * torch.tensor([[1.0], [0.0]])), world)
    assert each(found, "l0")[1] > 0 and each(found, "unexplained").keys() == {0}
    assert found_n(found, "hedged") == found_n(found, "asymmetry") == 1


def test_of_latents_that_share_a_feature_the_nearest_speaks_for_it():
    world = axes(1, d=3)
    rows = torch.tensor([[0.8, 0.6, 0.0], [1.0, 0.0, 0.0]], dtype=torch.float64)
    found, _ = measure(build(rows.T, rows), world)
    assert each(found, "feature") == {0: 0, 1: 0} and each(found, "decoder_cosine", "feature") == {0: pytest.approx(1)}
    assert each(found, "decoder_cosine") == pytest.approx({0: 0.8, 1: 1})


def test_the_same_seed_gives_the_same_numbers_another_seed_others_and_nothing_else_is_touched():
    world = mixed_world()
    sae = topk(features_of(world))
    state, before = torch.get_rng_state(), {name: t.clone() for name, t in sae.state_dict().items()}
    features = world.features.clone()
    one, again, other = (whole(measure(sae, world, seed)[0]) for seed in (0, 0, 1))
    assert one == again and one["hedged"] == other["hedged"] and one["true_l0"] != other["true_l0"]
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(world.features, features)
    assert all(torch.equal(t, before[name]) for name, t in sae.state_dict().items())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_table_has_its_rows(dtype):
    world = axes(3)
    table = evaluate({"known": dial(features_of(world), 0.75)}, {"toy_recovery": SMALL}, world=world, dtype=dtype)
    plain = table[table["slice_by"] == "all"].set_index("metric")
    assert set(plain.index) == {m.name for m in ToyRecovery.metrics} - {"feature"}
    assert plain.loc["absorbed", "value"] == pytest.approx(0.6 / 3, abs=0.01)
    assert set(table["data"]) == {world.identity}
    assert set(table["slice_by"]) == {"all", "latent", "feature"}
