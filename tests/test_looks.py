"""How SAEs look: one rule for a whole scores table."""

from __future__ import annotations

import itertools
from typing import Any

import pandas as pd
import pytest
from known_scores import table

from hedgebench.looks import OKABE_ITO, Look, Looks, beside_sparsity, shaded, unfilled

ARCHITECTURES = ("batchtopk", "matryoshka_batchtopk", "topk", "standard", "jumprelu", "gated", "theirs", "another")
LOSSES = ("mse", "l2", "snap", "huber", "cosine", "kl")
CONTROLS = ("random_control", "permuted_control", "pca_control", "oracle_control", "dead_control", "noise_control")


def sae(architecture: str = "batchtopk", loss: str | None = "mse", **more: Any) -> dict[str, Any]:
    name = " ".join(map(str, (architecture, loss, *more.values())))
    return {"sae": name, "architecture": architecture, "loss": loss, "value": 1.0, **more}


def look(scores: pd.DataFrame, *apart: str, **where: Any) -> Look:
    rows = scores
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return Looks(scores, "an_eval").of(rows, *apart)


def looks(*rows: dict[str, Any], apart: tuple[str, ...] = ()) -> list[Look]:
    """Of each row, in a table of them all."""
    scores = table(rows)
    found = Looks(scores, "an_eval")
    return [found.of(scores.iloc[[i]], *apart) for i in range(len(rows))]


def test_every_recipe_has_a_marker_and_those_that_are_compared_most_a_colour():
    found = looks(*(sae(name, loss) for name in ("batchtopk", "topk") for loss in LOSSES))
    assert len({one.marker for one in found}) == len(found)
    six = looks(*(sae(name, loss) for name in ("batchtopk", "matryoshka_batchtopk") for loss in ("mse", "l2", "snap")))
    assert len({one.color for one in six}) == len({one.marker for one in six}) == 6


def test_lines_of_one_colour_are_told_apart_without_their_markers():
    found = looks(*(sae(name, loss) for name in ARCHITECTURES[:4] for loss in ("mse", "snap")))
    assert len({(one.color, str(one.linestyle)) for one in found}) == len(found)


def test_architectures_of_one_loss_have_a_colour_and_a_marker_each():
    for loss in ("mse", None):
        found = looks(*(sae(name, loss) for name in ARCHITECTURES[:7]), *(sae(name, None) for name in CONTROLS))
        assert len({one.color for one in found[:7]}) == len({one.marker for one in found[:7]}) == 7
    assert {one.color.upper() for one in found[:7]} == set(OKABE_ITO)


@pytest.mark.parametrize("recipe", itertools.product(("batchtopk", "matryoshka_batchtopk", "topk", "standard"), ("mse", "l2", "snap")))  # fmt: skip
def test_a_common_recipe_has_the_same_colour_and_marker_in_every_table(recipe: tuple[str, str]):
    (alone,) = looks(sae(*recipe))
    everything = ((name, loss) for name in ARCHITECTURES for loss in LOSSES if (name, loss) != recipe)
    beside = looks(sae(*recipe), *(sae(*other) for other in everything))[0]
    assert (alone.color, alone.marker) == (beside.color, beside.marker)


def test_an_unknown_loss_looks_like_mse_but_beside_it():
    (unknown,), (mse,) = looks(sae("topk", None)), looks(sae("topk", "mse"))
    assert unknown == mse
    one, other = looks(sae("topk", "mse"), sae("topk", None))
    assert one == mse and (one.color, one.marker) != (other.color, other.marker)


def test_names_that_nobody_knows_get_what_is_left_and_are_told_apart():
    found = looks(*(sae(name, "mse") for name in ("batchtopk", "theirs", "another", "a third")))
    assert len({one.color for one in found}) == len({one.marker for one in found}) == 4


def test_controls_are_grey_strokes_each_of_its_own():
    found = looks(sae(), *(sae(name, None) for name in CONTROLS), sae("their_control", None))
    greys = found[1:]
    assert {one.color for one in greys} == {"#666666"} and len({one.marker for one in greys}) == len(greys)
    assert all(unfilled(one.marker) for one in greys) and not unfilled(found[0].marker)


def test_a_look_does_not_depend_on_what_else_a_figure_draws():
    """Of one table: an eval that measured some of its SAEs, and one that measured others."""
    rows = [
        {**sae(name, loss, width=width), "eval": f"eval {i % 2}"}
        for i, (name, loss, width) in enumerate(itertools.product(ARCHITECTURES, LOSSES, (64, 128)))
    ]
    scores = table(rows)
    one, other = (Looks(scores, name) for name in ("eval 0", "eval 1"))
    for i in range(len(rows)):
        assert one.of(scores.iloc[[i]], "width") == other.of(scores.iloc[[i]], "width")


def test_widths_of_a_recipe_are_shades_of_its_colour_from_dark_to_light_and_lines_of_their_own():
    found = looks(*(sae(width=width) for width in (512, 64, 1024, 128)), apart=("width",))
    ordered = [found[i] for i in (1, 3, 0, 2)]
    lightness = [sum(int(one.color[i : i + 2], 16) for i in (1, 3, 5)) for one in ordered]
    assert lightness == sorted(set(lightness))
    assert len({str(one.linestyle) for one in found}) == 4 and len({one.marker for one in found}) == 1
    assert looks(*(sae(width=width) for width in (512, 64)))[0].color.upper() == OKABE_ITO[0]


def test_versions_settings_and_data_are_fillings_and_the_newest_version_is_full():
    scores = table([sae(eval_version=version) for version in (1, 2, 10)])
    white = [look(scores, eval_version=version).white for version in (1, 2, 10)]
    assert white[2] == 0 and len(set(white)) == 3
    assert look(scores, eval_version=10) == looks(sae())[0]
    for column, values in (("data", ("a", "b")), ("config", ('{"n": 1}', '{"n": 2}'))):
        found = looks(*(sae(**{column: value}) for value in values))
        assert found[0].white != found[1].white and found[0].color == found[1].color


def test_numbers_are_the_same_as_their_text():
    """Families hold text, the scores table numbers."""
    scores = table([sae(k=20.0), sae(k=40.0)])
    text = pd.DataFrame(scores.astype("object").astype(str))
    found = Looks(scores, "an_eval")
    assert found.of(text.iloc[[1]], "k", "width") == found.of(scores.iloc[[1]], "k", "width")


def test_what_weighs_sparsity_is_no_other_recipe():
    assert beside_sparsity("balance=0.25 l1=8 snap_at=0.2 target_l0=20") == "balance=0.25 snap_at=0.2"
    assert beside_sparsity(None) == beside_sparsity(pd.NA) == beside_sparsity("l0=1") == ""


@pytest.mark.parametrize(("share", "expected"), [(0.0, "#804020"), (1.0, "#ffffff"), (-1.0, "#000000"), (0.5, "#c0a090")])  # fmt: skip
def test_a_shade_is_a_share_of_white_or_black(share: float, expected: str):
    assert shaded("#804020", share) == expected


def test_more_names_than_colours_share_them_and_fail_nothing():
    found = looks(*(sae(f"theirs{i}", f"loss{j}", width=2**i) for i in range(5) for j in range(9)), apart=("width",))
    assert len(found) == 45 and len({(one.color, one.marker) for one in found}) > 30
