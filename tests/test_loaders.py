"""A checkpoint is loaded whole and left alone, or refused in one line."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from hedgebench import load_sae, read_checkpoint
from hedgebench.checkpoint import describe, digest_of
from hedgebench.loaders import load_raw, prepare
from hedgebench.types import BadInput, Checkpoint


def test_a_loaded_sae_has_unit_decoder_rows_and_computes_what_the_file_says(
    tmp_path: Path, save_sae: Callable[..., Path]
):
    folder = save_sae(tmp_path / "sae")
    raw, sae = load_raw(folder), load_sae(folder)
    x = torch.randn(40, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(sae.W_dec.norm(dim=-1), torch.ones(12))
    torch.testing.assert_close(sae(x), raw(x))
    assert torch.equal(sae.encode(x) != 0, raw.encode(x) != 0)
    assert not any(p.requires_grad for p in sae.parameters()) and not sae.training


def test_preparing_never_changes_the_sae_that_was_given(make_sae: Callable[..., Any]):
    sae = make_sae()
    before = {k: v.clone() for k, v in sae.state_dict().items()}
    config = sae.cfg.to_dict()
    prepare(sae, dtype="float64")
    assert all(torch.equal(before[k], v) for k, v in sae.state_dict().items())
    assert sae.cfg.to_dict() == config and sae.W_dec.requires_grad


def test_a_training_sae_is_taken_in_its_inference_form():
    from sae_lens import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig

    training = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(d_in=8, d_sae=12, k=3))
    training.topk_threshold.fill_(0.05)
    sae = prepare(training)
    assert sae.cfg.architecture() == "jumprelu"
    assert describe(sae, name="x").architecture == "batchtopk"
    assert describe(sae, name="x").k == 3


def test_a_topk_sae_whose_norms_cannot_be_folded_is_left_as_stored():
    from sae_lens import SAE

    sae = SAE.from_dict({"architecture": "topk", "d_in": 8, "d_sae": 12, "k": 3, "rescale_acts_by_decoder_norm": False})
    torch.testing.assert_close(prepare(sae).W_dec, sae.W_dec, check_stride=False)


def test_the_digest_names_content_and_nothing_else(
    tmp_path: Path, save_sae: Callable[..., Path], make_sae: Callable[..., Any]
):
    one, two = save_sae(tmp_path / "one"), save_sae(tmp_path / "two", note="another label")
    other = save_sae(tmp_path / "three", seed=1)
    elsewhere = save_sae(tmp_path / "four", hook="blocks.0.hook_resid_post")
    assert read_checkpoint(one).digest == read_checkpoint(two).digest == digest_of(make_sae())
    assert len({read_checkpoint(p).digest for p in (one, other, elsewhere)}) == 3


def test_half_precision_files_have_the_digest_of_the_sae_they_load_as(tmp_path: Path, save_sae: Callable[..., Path]):
    folder = save_sae(tmp_path / "sae")
    file = folder / "sae_weights.safetensors"
    save_file({k: v.half() for k, v in load_file(file).items()}, file)
    sae = load_raw(folder)
    assert sae.W_dec.dtype == torch.float32
    assert digest_of(sae) == read_checkpoint(folder).digest


def test_the_card_tells_what_the_checkpoint_says_of_itself(tmp_path: Path, save_sae: Callable[..., Path]):
    details = {"k": 20, "matryoshka_widths": [4, 12]}
    folder = save_sae(
        tmp_path / "sae",
        training_architecture="matryoshka_batchtopk",
        training_architecture_details=details,
        reconstruction_loss="snap",
        train_seed=3,
        train_tokens=1000,
    )
    card = read_checkpoint(folder)
    assert (card.name, card.architecture, card.loss, card.width, card.d_in) == (
        "sae",
        "matryoshka_batchtopk",
        "snap",
        12,
        8,
    )
    assert (card.k, card.prefixes, card.train_seed, card.train_tokens) == (20, (4, 12), 3, 1000)
    assert (card.model, card.hook, card.layer) == ("tiny", "blocks.1.hook_resid_post", 1)
    assert Checkpoint.from_dict(json.loads(json.dumps(card.to_dict()))) == card


def test_a_remembered_card_is_forgotten_when_a_file_changes(tmp_path: Path, save_sae: Callable[..., Path]):
    folder = save_sae(tmp_path / "sae")
    first = read_checkpoint(folder)
    assert read_checkpoint(folder) == first
    save_sae(folder, seed=1)
    assert read_checkpoint(folder).digest != first.digest
    _poison(folder, float("nan"))
    with pytest.raises(BadInput, match="NaN"):
        read_checkpoint(folder)


def test_tags_override_what_the_checkpoint_says(tmp_path: Path, save_sae: Callable[..., Path]):
    card = read_checkpoint(save_sae(tmp_path / "sae", reconstruction_loss="mse"), tags={"loss": "snap", "run": "b"})
    assert card.loss == "snap" and card.tags == {"loss": "snap", "run": "b"}


def _truncate(folder: Path) -> None:
    file = folder / "sae_weights.safetensors"
    file.write_bytes(file.read_bytes()[:200])


def _poison(folder: Path, value: float) -> None:
    file = folder / "sae_weights.safetensors"
    weights = load_file(file)
    weights["W_enc"][0, 0] = value
    save_file(weights, file)


def _pickle_instead(folder: Path) -> None:
    (folder / "sae_weights.safetensors").unlink()
    (folder / "ae.pt").write_bytes(pickle.dumps(Bomb()))


class Bomb:
    """Unpickling it would be noticed."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('code from a checkpoint was run')",))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_truncate, "not a whole safetensors file"),
        (lambda f: _poison(f, float("nan")), "1 of 96 values of W_enc are NaN or infinite"),
        (lambda f: _poison(f, float("inf")), "NaN or infinite"),
        (lambda f: (f / "cfg.json").unlink(), "no cfg.json"),
        (lambda f: (f / "cfg.json").write_text("{"), "not valid JSON"),
        (lambda f: (f / "cfg.json").write_text("[]"), "expected a JSON object"),
        (lambda f: (f / "sae_weights.safetensors").write_bytes(b""), "not a whole safetensors file"),
        (_pickle_instead, "ae.pt is pickled and is not opened"),
    ],
)
def test_a_damaged_checkpoint_is_refused_in_one_line(
    tmp_path: Path, save_sae: Callable[..., Path], damage: Callable[[Path], object], message: str
):
    folder = save_sae(tmp_path / "sae")
    damage(folder)
    with pytest.raises(BadInput, match=message) as caught:
        load_sae(folder)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_sae": 13}, r"has shape .*, but cfg.json \(d_in 8, d_sae 13\)"),
        ({"d_sae": 10**9, "d_in": 10**6}, "asks for"),
        ({"d_in": "8"}, "d_in must be a whole number"),
        ({"d_in": -8}, "d_in must be a whole number"),
        ({"d_sae": None}, "d_sae must be a whole number"),
        ({"architecture": "jumpreelu"}, "did you mean 'jumprelu'"),
        ({"architecture": "transcoder"}, "evaluates SAEs only"),
        ({"metadata": 3}, "metadata must be a JSON object"),
    ],
)
def test_a_config_that_disagrees_is_refused_before_memory_is_taken(
    tmp_path: Path,
    save_sae: Callable[..., Path],
    edit_config: Callable[..., None],
    changes: dict[str, Any],
    message: str,
):
    folder = save_sae(tmp_path / "sae")
    edit_config(folder, **changes)
    with pytest.raises(BadInput, match=message):
        load_sae(folder)


@pytest.mark.parametrize(
    "ref",
    [
        "nowhere",
        "./no:where",
        "gpt2-small-res-jbb:blocks.7.hook_resid_pree",
        "gpt2-smal-res-jb:blocks.7.hook_resid_pre",
    ],
)
def test_a_reference_that_names_nothing_is_refused(ref: str):
    with pytest.raises(BadInput, match=r"no such folder|did you mean"):
        load_sae(ref)


def test_a_package_can_bring_a_loader(plugin: Callable[..., Path], make_sae: Callable[..., Any]):
    plugin(
        """
        def load(ref):
            if not ref.startswith("zoo:"):
                return None
            from sae_lens import SAE
            return SAE.from_dict({"architecture": "standard", "d_in": 4, "d_sae": 6})
        """,
        group="hedgebench.loaders",
        a_zoo="load",
    )
    assert load_sae("zoo:lion").cfg.d_sae == 6


def test_a_release_is_loaded_through_saelens(monkeypatch: pytest.MonkeyPatch, make_sae: Callable[..., Any]):
    import sae_lens

    asked = []

    def from_pretrained(release: str, sae_id: str, device: str) -> Any:
        asked.append((release, sae_id))
        return make_sae()

    monkeypatch.setattr(sae_lens.SAE, "from_pretrained", from_pretrained)
    card = read_checkpoint("gpt2-small-res-jb:blocks.7.hook_resid_pre")
    assert asked == [("gpt2-small-res-jb", "blocks.7.hook_resid_pre")]
    assert (card.release, card.sae_id) == asked[0]


def test_a_loader_that_fails_costs_no_other_reference_and_a_later_name_is_asked_too(
    plugin: Callable[..., Path], tmp_path: Path, save_sae: Callable[..., Path]
):
    plugin("def load(ref):\n    raise KeyError(ref)", group="hedgebench.loaders", a_bad="load")
    plugin("def load(ref):\n    return 'no SAE'", group="hedgebench.loaders", a_wrong="load")
    zoo = "def load(ref):\n    if not ref.startswith('zoo:'):\n        return None\n    from sae_lens import SAE\n    return SAE.from_dict({'architecture': 'standard', 'd_in': 4, 'd_sae': 6})"
    plugin(zoo, group="hedgebench.loaders", zzz_last="load")
    assert load_sae(save_sae(tmp_path / "sae")).cfg.d_sae == 12
    assert load_sae("zoo:lion").cfg.d_sae == 6


@pytest.mark.parametrize("k", [-3, 0, 99, None, "many"])
def test_a_topk_sae_without_a_sensible_k_is_refused(k: object, tmp_path: Path, edit_config: Callable[..., None]):
    from sae_lens import SAE

    SAE.from_dict({"architecture": "topk", "d_in": 8, "d_sae": 12, "k": 3}).save_model(tmp_path / "sae")
    edit_config(tmp_path / "sae", k=k)
    with pytest.raises(BadInput, match="k of a topk SAE"):
        load_sae(tmp_path / "sae")


def test_a_card_of_huge_weights_is_a_card(save_sae: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    from hedgebench import read_checkpoint

    file = save_sae(tmp_path / "huge") / "sae_weights.safetensors"
    save_file({**load_file(file), "W_dec": load_file(file)["W_dec"] * 1e37}, file)
    card = read_checkpoint(tmp_path / "huge")
    assert card.decoder_row_norm is not None
    assert 1e37 < card.decoder_row_norm < 1e39


def _scaled(folder: Path, factor: float) -> Path:
    file = folder / "sae_weights.safetensors"
    save_file({**load_file(file), "W_dec": load_file(file)["W_dec"] * factor}, file)
    return folder


def test_decoder_rows_whose_squares_pass_float32_are_folded_all_the_same(tmp_path: Path, save_sae: Callable[..., Path]):
    plain, huge = load_sae(save_sae(tmp_path / "a")), load_sae(_scaled(save_sae(tmp_path / "b"), 1e30))
    torch.testing.assert_close(huge.W_dec, plain.W_dec)
    torch.testing.assert_close(huge.W_enc, plain.W_enc * 1e30)
    assert huge.W_dec.dtype == torch.float32 and huge.cfg.dtype == "float32"


def test_weights_that_pass_the_wanted_precision_are_told(tmp_path: Path, save_sae: Callable[..., Path]):
    folder = _scaled(save_sae(tmp_path / "sae"), 1e30)
    with pytest.raises(
        BadInput, match=r"sae: .* values of W_\w+ are NaN or infinite; its weights are too large for float16"
    ):
        load_sae(folder, dtype="float16")


@pytest.mark.parametrize(
    ("number", "kept"), [(2**63, False), (-(2**63) - 1, False), (10**400, False), (2**63 - 1, True), (-5, True)]
)
def test_whole_numbers_of_a_card_are_those_that_a_table_holds(make_sae: Callable[..., Any], number: int, kept: bool):
    card = describe(make_sae(train_seed=number, train_tokens=number, hook_name=None, layer=number), name="a")
    assert (card.train_seed, card.train_tokens, card.layer) == ((number,) * 3 if kept else (None,) * 3)
    card = describe(make_sae(l0=number, hook_name=f"blocks.{abs(number)}.x"), name="a")
    assert card.l0 == (None if number == 10**400 else number)
    assert card.layer == (5 if number == -5 else None)
