"""What is kept of text: which tokens, of which documents, in which half, and the latents on them."""

import copy
import functools
import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from known_saes import build, orthonormal_features, sparse_activations

from hedgebench import latent_sample
from hedgebench.eval import ActivationBatch
from hedgebench.latent_sample import csr, firings, gather, halved, live, part, restricted, rows_of, subset
from hedgebench.types import CannotMeasure


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


FEATURES = orthonormal_features(4, 6, seeded())


@functools.cache
def tracker():
    """Each latent fires where its feature does."""
    return build(FEATURES.T, FEATURES, b_enc=torch.full((4,), -0.5))


def activations(rows: int, columns: int, seed: int = 1) -> torch.Tensor:
    """[rows, columns, 6], none of them large."""
    return sparse_activations(FEATURES, rows * columns, 0.3, seeded(seed)).view(rows, columns, 6) + 0.1


def batch_of(acts: torch.Tensor, mask: torch.Tensor) -> ActivationBatch:
    return ActivationBatch(mask.long(), acts, mask)


def masks(*rows: str) -> torch.Tensor:
    """A dot is an ordinary token, a bar a special one."""
    return torch.tensor([[token == "." for token in row] for row in rows])


def gathered(*rows: str, sink: float = 100.0, seed: int = 0):
    mask = masks(*rows)
    return gather(tracker(), [batch_of(activations(*mask.shape), mask)], seeded(seed), sink)


# --- documents -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        (["|...", "|.|.", "|..."], [0, 0, 0, 0, 1, 1, 1, 1]),  # both run on into the next row
        (["|..|", "|..."], [0, 0, 1, 1, 1]),  # a document that begins at a row's end
        (["|.||||", "|.|..."], [0, 1, 2, 2, 2]),  # padding at the end: what follows is another
        (["|||...", "|.|..."], [0, 0, 0, 0, 1, 1, 1]),  # padding at the beginning
        (["|.|.", "||||", "|..."], [0, 1, 2, 2, 2]),  # a row of padding alone
        (["....", "..|."], [0, 0, 0, 0, 0, 0, 1]),  # a model without a token that begins its rows
    ],
)
def test_a_special_token_within_a_row_begins_a_document_and_a_rows_beginning_does_not(rows, wanted):
    assert gathered(*rows).document.tolist() == wanted


def test_a_document_runs_on_from_batch_to_batch():
    first, second = masks("|..|.."), masks("|..|..")
    acts = activations(2, 6)
    sample = gather(tracker(), [batch_of(acts[:1], first), batch_of(acts[1:], second)], seeded(), 100.0)
    assert sample.document.tolist() == [0, 0, 1, 1, 1, 1, 2, 2]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=2, max_size=40), st.integers(0, 2**31))
def test_a_document_is_in_one_half_and_halves_differ_by_a_document_at_most(sizes, seed):
    text = "|".join("." * size for size in sizes)
    sample = gathered("|" + text, seed=seed)
    for document in range(len(sizes)):
        assert len(sample.half[sample.document == document].unique()) == 1
    second = int(sample.half.sum())
    assert abs(sum(sizes) - 2 * second) <= max(sizes)


def test_a_seed_decides_the_halves_and_leaves_global_random_state_alone():
    text = "|" + "|".join(["..."] * 30)
    gathered(text)
    before = torch.get_rng_state()
    first, again, other = (gathered(text, seed=seed).half for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


# --- what is kept ----------------------------------------------------------------------------------------------------------------


def test_ordinary_tokens_are_kept_in_their_order_with_their_latents():
    mask = masks("|...|....", "|...|....")
    acts = activations(2, 9)
    sample = gather(tracker(), [batch_of(acts.masked_fill(~mask[..., None], math.nan), mask)], seeded(), 100.0)
    torch.testing.assert_close(sample.x, acts[mask].float())
    torch.testing.assert_close(sample.f.to_dense(), tracker().encode(acts)[mask].float())
    assert sample.f.layout == torch.sparse_csr and sample.f.values().ne(0).all()
    assert (sample.n_tokens, sample.sink_share) == (14, 0)


def test_nothing_depends_on_how_many_sequences_are_encoded_at_a_time(monkeypatch):
    whole = gathered("|..|..", "|.....", "|.|...")
    monkeypatch.setattr(latent_sample, "_ENTRIES", 1)
    one = gathered("|..|..", "|.....", "|.|...")
    for name in ("x", "document", "half"):
        assert torch.equal(getattr(whole, name), getattr(one, name))
    assert torch.equal(whole.f.to_dense(), one.f.to_dense())


def test_tokens_far_above_the_median_norm_are_left_out_and_counted():
    mask = masks("|....|....")
    acts = activations(1, 10)
    acts = acts / acts.norm(dim=-1, keepdim=True)
    acts[0, 1] *= 2.9
    acts[0, 3] *= 3.1
    acts[0, 0] *= 1000  # a special token says nothing
    sample = gather(tracker(), [batch_of(acts, mask)], seeded())
    kept = [1, 2, 4, 6, 7, 8, 9]
    torch.testing.assert_close(sample.x, acts[0, kept].float())
    torch.testing.assert_close(sample.f.to_dense(), tracker().encode(acts)[0, kept].float())
    assert sample.document.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert (sample.n_tokens, sample.sink_share) == (8, 1 / 8)


@pytest.mark.parametrize(
    ("rows", "why"),
    [(["|||", "|||"], "no ordinary token"), (["|..", "|.."], "a single document")],
)
def test_text_that_cannot_be_split_is_refused(rows, why):
    with pytest.raises(CannotMeasure, match=why):
        gathered(*rows)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_activations_that_are_not_finite_are_counted_and_refused(bad):
    mask = masks("|..|..")
    acts = activations(1, 6)
    acts[0, [1, 4], 0] = bad
    with pytest.raises(CannotMeasure, match="2 of 4 ordinary tokens"):
        gather(tracker(), [batch_of(acts, mask)], seeded())


def test_no_text_is_no_token():
    with pytest.raises(CannotMeasure, match="no ordinary token"):
        gather(tracker(), [], seeded())


def test_the_sae_is_left_as_it_was_and_heads_lie_side_by_side():
    sae = copy.deepcopy(tracker())
    sae.cfg.metadata.hook_name = "blocks.1.attn.hook_z"
    sae.turn_on_forward_pass_hook_z_reshaping()
    mask = masks("|..|..")
    sample = gather(sae, [batch_of(activations(1, 6), mask)], seeded(), 100.0)
    assert sample.x.shape == (4, 6) and sae.hook_z_reshaping_mode
    sample.x.add_(1)  # and what comes back is a tensor like any other


# --- parts ---------------------------------------------------------------------------------------------------------------------------


def test_latents_and_halves_are_picked_as_from_the_dense_matrix():
    sample = gathered(*["|...|.....", "|....|...."] * 5)
    dense = sample.f.to_dense()
    some = restricted(sample, torch.tensor([0, 2, 3]))
    assert torch.equal(some.f.to_dense(), dense[:, [0, 2, 3]]) and torch.equal(some.x, sample.x)
    for half in (False, True):
        own = part(some, half)
        assert torch.equal(own.f.to_dense(), dense[sample.half == half][:, [0, 2, 3]])
        assert torch.equal(own.x, sample.x[sample.half == half])
        assert torch.equal(own.document, sample.document[sample.half == half])
        assert own.half.eq(half).all()
        assert torch.equal(firings(sample)[int(half)], (dense[sample.half == half] > 0).sum(0))
    with pytest.raises(ValueError, match="ascending"):
        restricted(sample, torch.tensor([2, 0]))


def test_the_live_fire_often_enough_in_both_halves():
    sample = gathered(*["|...|.....", "|....|...."] * 5)
    counts = firings(sample)
    least = int(counts.min(dim=0).values.median()) + 1
    assert live(sample, least).tolist() == [i for i in range(4) if counts[:, i].min() >= least]
    assert live(sample, 0).tolist() == [0, 1, 2, 3] and live(sample, 10**6).tolist() == []


@pytest.mark.parametrize(
    "rows", [[0, 3, 4, 8], [], [9], list(range(10)), [7, 8, 9]], ids=["some", "none", "last", "all", "end"]
)
def test_rows_of_are_the_same_of_dense_and_sparse_activations(rows):
    f = torch.rand(10, 5, generator=seeded()) * (torch.rand(10, 5, generator=seeded(1)) < 0.4)
    f[[3, 9]] = 0  # rows in which nothing fires
    before, picked = f.clone(), torch.tensor(rows, dtype=torch.int64)
    whole = csr((f != 0).sum(1), f.nonzero()[:, 1], f[f != 0], 5)
    dense, sparse = rows_of(f, picked), rows_of(whole, picked)
    assert (dense.layout, sparse.layout) == (torch.strided, torch.sparse_csr)
    assert dense.shape == sparse.shape == (len(rows), 5)
    assert torch.equal(dense, before[picked]) and torch.equal(sparse.to_dense(), before[picked])
    assert int(sparse.crow_indices()[-1]) == len(sparse.values()) == int((before[picked] != 0).sum())
    assert torch.equal(whole.to_dense(), before)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.booleans(), min_size=14, max_size=14))
def test_a_subset_is_of_its_tokens_and_remembers_the_whole(kept):
    sample = gathered("|...|....", "|...|....")._replace(sink_share=0.25, n_tokens=99)
    rows = torch.tensor(kept).nonzero()[:, 0]
    some = subset(sample, rows)
    assert torch.equal(some.x, sample.x[rows])
    assert torch.equal(some.f.to_dense(), sample.f.to_dense()[rows])
    assert torch.equal(some.document, sample.document[rows])
    assert torch.equal(some.half, sample.half[rows])
    assert (some.sink_share, some.n_tokens) == (0.25, 99)


def test_the_parts_are_all_of_the_sample_and_a_part_of_a_subset_is_a_subset_of_the_part():
    sample = gathered(*["|...|.....", "|....|...."] * 5)
    first, second = (part(sample, half) for half in (False, True))
    assert len(first.x) + len(second.x) == len(sample.x) and len(first.x) and len(second.x)
    assert not set(first.document.tolist()) & set(second.document.tolist())
    rows = torch.arange(0, len(sample.x), 3)
    wanted = rows[sample.half[rows]]
    found = part(subset(sample, rows), True)
    assert torch.equal(found.x, sample.x[wanted]) and torch.equal(found.f.to_dense(), sample.f.to_dense()[wanted])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=4, max_size=40), st.integers(0, 2**31))
def test_each_half_is_a_sample_whose_documents_are_split_once_more(sizes, seed):
    sample = gathered("|" + "|".join("." * size for size in sizes))._replace(sink_share=0.25)
    before = [part(sample, half) for half in (False, True)]
    assume(all(len(one.document.unique()) > 1 for one in before))
    for own, whole in zip(halved(sample, seeded(seed)), before, strict=True):
        assert torch.equal(own.x, whole.x) and torch.equal(own.f.to_dense(), whole.f.to_dense())
        assert torch.equal(own.document, whole.document.unique(return_inverse=True)[1])  # from 0
        of_documents = [own.half[own.document == document].unique() for document in own.document.unique()]
        assert all(len(half) == 1 for half in of_documents)
        assert 0 < sum(map(int, of_documents)) < len(of_documents)
        assert abs(len(own.x) - 2 * int(own.half.sum())) <= int(torch.bincount(own.document).max())
        assert (own.sink_share, own.n_tokens) == (0.25, sum(sizes))


def test_a_seed_decides_how_halves_are_split():
    sample = gathered("|" + "|".join(["..."] * 40))
    first, again, other = (halved(sample, seeded(seed)) for seed in (0, 0, 1))
    assert all(torch.equal(one.half, two.half) for one, two in zip(first, again, strict=True))
    assert not all(torch.equal(one.half, two.half) for one, two in zip(first, other, strict=True))


@pytest.mark.parametrize("text", ["|..|..", "|..|..|....", "|.|.|.|................"])
def test_a_half_that_is_a_single_document_is_not_split(text):
    """Two documents are one in each half; and one that is as long as all others together has a half to itself."""
    for seed in range(5):
        sample = gathered(text, seed=seed)
        if min(len(part(sample, half).document.unique()) for half in (False, True)) > 1:
            continue
        with pytest.raises(CannotMeasure, match="half of the text is a single document"):
            halved(sample, seeded())
        return
    pytest.fail("both halves had several documents each time")
