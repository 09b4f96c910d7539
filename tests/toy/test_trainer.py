"""The batched trainer: what is trained together, on which samples, and what comes back."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch.profiler import profile

from hedgebench.toy.batches import batches as make_batches
from hedgebench.toy.batches import start, stream_of
from hedgebench.toy.grouping import bytes_of, bytes_once, make_parts, shape_of
from hedgebench.toy.recipes import Recipe, ToyRun
from hedgebench.toy.trainer import Trained, train
from hedgebench.toy.world_config import RandomCorrelation, WorldConfig
from hedgebench.toy.worlds import make_world
from hedgebench.types import BadInput

TEN = (0.3, 0.25, 0.2, 0.2, 0.15, 0.15, 0.1, 0.1, 0.05, 0.05)
WORLD = make_world(WorldConfig("ten", 12, TEN, correlation=RandomCorrelation(0.6), magnitude_std=0.3, bias=0.5))
PAIR = make_world(WorldConfig("pair", 6, (0.4, 0.3), parents={1: 0}, bias=0.2))
LOSSES = ("mse", "l2", "snap")


def weights(trained: Trained) -> dict[str, torch.Tensor]:
    return {name: getattr(trained, name) for name in ("W_enc", "b_enc", "W_dec", "b_dec")}


# --- patterns ------------------------------------------------------------------------------------------------------------------


def pair_run(seed: int = 0, **fields) -> ToyRun:
    recipe = {"architecture": "standard", "width": 2, "l1": 0.01, "steps": 50, "batch_size": 40, "init_noise": 0.2}
    return ToyRun(PAIR, Recipe(**{**recipe, **fields}), seed)


@pytest.mark.parametrize("fields", [{}, {"loss": "l2"}, {"loss": "snap"}, {"architecture": "topk", "l1": 0.0, "k": 1, "dead_after": 5}])  # fmt: skip
def test_patterns_with_counts_train_as_the_batches_they_stand_for(fields):
    run = pair_run(**fields)
    weighted = itertools.islice(make_batches([run], "cpu", torch.float64), run.recipe.steps)
    spelled_out = []
    for batch in weighted:
        assert float(batch.share.sum()) == pytest.approx(1)
        counts = (batch.share[0, 0] * run.recipe.batch_size).round().long()
        assert int(counts.sum()) == run.recipe.batch_size
        spelled_out.append(batch.x[0].repeat_interleave(counts, dim=0))
    ours = train([run], progress=False, dtype=torch.float64)[0]
    theirs = train([run], batches=spelled_out, progress=False, dtype=torch.float64)[0]
    for name, weight in weights(ours).items():
        torch.testing.assert_close(weight, weights(theirs)[name], rtol=1e-7, atol=1e-8)


def test_a_pattern_that_does_not_occur_in_a_batch_wakes_no_latent():
    world = make_world(WorldConfig("rare", 6, (0.4, 0.05)))
    recipe = Recipe("topk", 2, k=1, steps=50, batch_size=8, dead_after=2)
    run = ToyRun(world, recipe, 0)
    spelled_out = [
        batch.x[0].repeat_interleave((batch.share[0, 0] * 8).round().long(), dim=0)
        for batch in itertools.islice(make_batches([run], "cpu", torch.float64), recipe.steps)
    ]
    ours = train([run], progress=False, dtype=torch.float64)[0]
    theirs = train([run], batches=spelled_out, progress=False, dtype=torch.float64)[0]
    torch.testing.assert_close(ours.W_dec, theirs.W_dec, rtol=1e-7, atol=1e-8)
    never_dead = train([run._replace(recipe=replace(recipe, dead_after=1000))], progress=False, dtype=torch.float64)[0]
    assert (ours.W_dec - never_dead.W_dec).abs().max() > 1e-3, "no latent died: nothing was tested"


def test_patterns_occur_as_often_as_the_world_says():
    counts = torch.stack([b.share[0, 0] for b in itertools.islice(make_batches([pair_run()], "cpu", torch.float64), 500)]).mean(0)  # fmt: skip
    expected = PAIR.patterns().probabilities
    error = (expected * (1 - expected) / (500 * 40)).sqrt()
    assert ((counts[: len(expected)] - expected).abs() < 5 * error).all()


# --- starts --------------------------------------------------------------------------------------------------------------------


def test_a_run_can_start_where_another_ended():
    runs = [*mixed_runs()[:2], pair_run(), pair_run(1), *mixed_runs()[-2:]]
    ended = train(runs, progress=False)
    for own, given in zip(ended, train(runs, progress=False, starts=[start(run) for run in runs]), strict=True):
        for name, weight in weights(own).items():
            assert torch.equal(weight, weights(given)[name]), "the start of its own, given"
    still = [run._replace(recipe=replace(run.recipe, lr=1e-12)) for run in runs]
    for before, after in zip(ended, train(still, progress=False, starts=[sae.weights for sae in ended]), strict=True):
        for name, weight in weights(after).items():
            torch.testing.assert_close(weight, weights(before)[name], rtol=0, atol=1e-6)


# --- groups --------------------------------------------------------------------------------------------------------------------


def mixed_runs() -> list[ToyRun]:
    """Two worlds, three shapes, several seeds, in no order."""
    standard = Recipe("standard", 3, l1=0.01, steps=30, batch_size=16)
    runs = [
        ToyRun(WORLD, replace(standard, loss=loss), seed) for seed in (0, 1, 2) for loss in (LOSSES if seed else LOSSES[:1])
    ]  # fmt: skip
    runs += [pair_run(seed, steps=30) for seed in (0, 1)]
    runs += [ToyRun(WORLD, Recipe("batchtopk", 8, k=2.5, steps=30, batch_size=16), seed) for seed in (0, 1)]
    return [runs[i] for i in torch.randperm(len(runs), generator=torch.Generator().manual_seed(0)).tolist()]


def test_what_a_run_gives_depends_on_it_alone_and_comes_in_the_order_given():
    runs = mixed_runs()
    together = train(runs, progress=False, dtype=torch.float64)
    for run, sae in zip(runs, together, strict=True):
        assert sae.run is run
        alone = train([run], progress=False, dtype=torch.float64)[0]
        for name, weight in weights(sae).items():
            torch.testing.assert_close(weight, weights(alone)[name], rtol=1e-9, atol=1e-10)
        assert (alone.loss, alone.l0) == (pytest.approx(sae.loss), sae.l0)


def test_a_small_memory_gives_more_parts_and_the_same_saes():
    runs = mixed_runs()
    budget = 2 * max(bytes_of(shape_of(run), 8) for run in runs) + max(bytes_once(run) for run in runs)
    small, large = make_parts(runs, budget, "cpu", 8), make_parts(runs, None, "cpu", 8)
    assert len(small) > len(large)
    assert all(sum(bytes_of(shape_of(runs[i]), 8) for i in part.members) <= budget for part in small)
    for one, other in zip(train(runs, progress=False, dtype=torch.float64, memory=budget), train(runs, progress=False, dtype=torch.float64), strict=True):  # fmt: skip
        torch.testing.assert_close(one.W_dec, other.W_dec, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_part_has_one_shape_and_as_many_runs_for_each_stream_of_samples(device):
    runs = mixed_runs()
    parts = make_parts(runs, 10**9, device)
    assert sorted(itertools.chain(*(part.members for part in parts))) == list(range(len(runs)))
    for part in parts:
        members = [runs[i] for i in part.members]
        assert len({shape_of(run) for run in members}) == 1
        if not shape_of(members[0]).weighted:
            blocks = [len(list(block)) for _, block in itertools.groupby(members, key=stream_of)]
            assert len(set(blocks)) == 1
            assert len(blocks) == len({stream_of(run) for run in members})


def test_an_sae_that_does_not_fit_is_refused_in_one_line_with_the_numbers():
    run = ToyRun(WORLD, Recipe("standard", 10**9), 0)
    with pytest.raises(BadInput) as refused:
        train([run], progress=False)
    line = str(refused.value)
    assert "\n" not in line
    assert "1000000000 latents on 12 dimensions" in line
    assert f"{(bytes_of(shape_of(run)) + bytes_once(run)) / 1e9:.1f} GB" in line
    with pytest.raises(BadInput, match="may be taken: lower"):
        train([pair_run()], progress=False, memory=100)


def test_the_estimate_of_memory_is_above_what_a_part_allocates():
    nested = {"levels": (4, 9, 16), "steps": 20, "batch_size": 300}
    recipes = [Recipe("matryoshka_batchtopk", 16, k=1.7, **nested), Recipe("matryoshka_standard", 16, **nested)]
    for run in (mixed_runs()[0], pair_run(), *(ToyRun(WORLD, recipe, 0) for recipe in recipes)):
        runs = [run._replace(recipe=replace(run.recipe, steps=20, dead_after=2, batch_size=300), train_seed=i) for i in range(4)]  # fmt: skip
        with profile(profile_memory=True) as seen:
            train(runs, progress=False)
        held = most = 0
        for event in seen.profiler.kineto_results.events():
            if event.name() == "[memory]":
                held += event.nbytes()
                most = max(most, held)
        estimate = sum(bytes_of(shape_of(run)) for run in runs) + bytes_once(runs[0])
        assert 0 < most < estimate < 20 * most


def test_the_bar_counts_the_work_of_all_parts_and_only_on_stderr(capsys):
    train(mixed_runs())
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"{len(mixed_runs())} toy SAEs: 100%" in printed.err
    train(mixed_runs(), progress=False)
    assert capsys.readouterr().err == ""


def test_a_step_of_more_or_larger_saes_is_more_work():
    def work(run: ToyRun, n: int) -> int:
        return make_parts([run._replace(train_seed=i) for i in range(n)], None, "cpu")[0].step_work

    small = ToyRun(WORLD, Recipe("standard", 3), 0)
    large = ToyRun(WORLD, Recipe("standard", 30), 0)
    assert work(small, 1) < work(small, 8) < work(large, 8) < 100 * work(small, 8)


def test_random_state_and_gradients_are_left_as_they_were():
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    train(mixed_runs(), progress=False)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.is_grad_enabled()


def test_the_start_is_saelens_own_and_the_truth_where_asked():
    run = ToyRun(WORLD, Recipe("standard", 14, init="random"), 4)
    rows = start(run).dec[0, 1:]
    torch.testing.assert_close(rows.norm(dim=1), torch.full((14,), 0.1))
    torch.testing.assert_close(rows, start(run).enc[0])
    truth = start(run._replace(recipe=replace(run.recipe, init="truth"))).dec[0, 1:]
    torch.testing.assert_close(truth[:10], WORLD.features)
    torch.testing.assert_close(truth[10:], rows[10:])
    noisy = start(run._replace(recipe=replace(run.recipe, init="truth", init_noise=0.1))).dec[0, 1:]
    assert (noisy[:10] - WORLD.features).std() == pytest.approx(0.1, rel=0.3)
    other = start(run._replace(train_seed=5)).dec[0, 1:]
    assert not torch.isclose(rows, other).any(dim=1).all()


def test_runs_that_differ_in_loss_alone_start_alike_and_see_the_same_samples():
    run = ToyRun(WORLD, Recipe("standard", 3, batch_size=8), 2)
    runs = [run._replace(recipe=replace(run.recipe, loss=loss)) for loss in LOSSES]
    assert all(torch.equal(a, b) for a, b in zip(start(runs[0]), start(runs[1]), strict=True))
    batch = next(make_batches(runs, "cpu", torch.float32))
    assert batch.x.shape == (1, 8, 12)
    other = next(make_batches([run._replace(train_seed=3)], "cpu", torch.float32))
    assert not torch.equal(batch.x, other.x)


def test_too_few_batches_are_refused():
    with pytest.raises(BadInput, match="3 batches were given for 50 steps"):
        train([pair_run()], batches=[torch.zeros(4, 6)] * 3, progress=False)


def test_loss_and_l0_are_those_of_the_sae_over_all_patterns():
    for sae in train([pair_run(loss="mse"), pair_run(loss="snap")], progress=False):
        patterns = PAIR.patterns()
        x, p = patterns.activations, patterns.probabilities.float()
        acts = ((x - sae.b_dec) @ sae.W_enc + sae.b_enc).relu()
        error = acts @ sae.W_dec + sae.b_dec - x
        loss = error.norm(dim=1) if sae.run.recipe.loss == "snap" else error.square().sum(dim=1)
        assert sae.loss == pytest.approx(float(loss @ p), rel=1e-5)
        assert sae.l0 == pytest.approx(float((acts > 0).float().sum(dim=1) @ p), rel=1e-5)


def test_training_again_gives_the_same_bits():
    runs = mixed_runs()
    for one, other in zip(train(runs, progress=False), train(runs, progress=False), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(weights(one).values(), weights(other).values(), strict=True))


def test_no_runs_give_no_saes():
    assert train([], progress=False) == []
