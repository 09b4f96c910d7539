"""What the card of somebody else's SAE says: what its files and folders tell, and nothing that they do not."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import known_formats as known
import pytest
import torch

from hedgebench import load_sae, read_checkpoint
from hedgebench.checkpoint import digest_of
from hedgebench.cli import main
from hedgebench.formats.layouts import display_name, find_layout, find_paths
from hedgebench.loaders import load_raw
from hedgebench.types import BadInput, Checkpoint

PLACE = "layer_12/width_16k/average_l0_22"


def facts(card: Checkpoint) -> dict[str, Any]:
    names = ("name", "model", "hook", "layer", "l0", "architecture", "k", "prefixes", "train_seed", "width", "d_in")
    return {name: getattr(card, name) for name in names if getattr(card, name) not in (None, ())}


SIZE = {"width": known.D_SAE, "d_in": known.D_IN}


@pytest.mark.parametrize(
    ("repository", "hook", "model"),
    [
        ("gemma-scope-2b-pt-res", "blocks.12.hook_resid_post", "gemma-2-2b"),
        ("gemma-scope-9b-it-res", "blocks.12.hook_resid_post", "gemma-2-9b-it"),
        ("gemma-scope-27b-pt-res", "blocks.12.hook_resid_post", "gemma-2-27b"),
        ("gemma-scope-2b-pt-mlp", "blocks.12.hook_mlp_out", "gemma-2-2b"),
        ("gemma-scope-9b-pt-att", "blocks.12.attn.hook_z", "gemma-2-9b"),
        ("models--google--gemma-scope-2b-pt-res/snapshots/0123", "blocks.12.hook_resid_post", "gemma-2-2b"),
    ],
)
def test_gemma_scopes_folders_tell_model_hook_and_l0(repository: str, hook: str, model: str, tmp_path: Path):
    folder = known.write_gemma_scope(tmp_path / repository / PLACE)
    said = {"name": PLACE, "model": model, "hook": hook, "layer": 12, "l0": 22, "architecture": "jumprelu", **SIZE}
    assert facts(read_checkpoint(folder)) == facts(read_checkpoint(folder / "params.npz")) == said


def test_without_the_repositorys_name_layer_and_l0_are_all_that_is_known(tmp_path: Path):
    folder = known.write_gemma_scope(
        tmp_path / "res-2b-results" / PLACE
    )  # no name of a repository, though parts of one
    assert facts(read_checkpoint(folder)) == {"name": PLACE, "layer": 12, "l0": 22, "architecture": "jumprelu", **SIZE}


def test_a_lone_npz_is_an_sae_of_which_nothing_is_known(tmp_path: Path):
    folder = known.write_gemma_scope(tmp_path / "mine")
    assert facts(read_checkpoint(folder / "params.npz")) == {"name": "mine", "architecture": "jumprelu", **SIZE}


def test_an_embeddings_sae_is_scaled_as_saelens_does(tmp_path: Path):
    folder = known.write_gemma_scope(tmp_path / "gemma-scope-2b-pt-res/embedding/width_4k/average_l0_6")
    card, sae, arrays = read_checkpoint(folder), load_raw(folder), known.gemma_arrays()
    assert (card.hook, card.layer, card.l0) == ("hook_embed", None, 6)
    torch.testing.assert_close(sae.W_enc, torch.from_numpy(arrays["W_enc"]) / known.D_IN**0.5)
    torch.testing.assert_close(sae.W_dec, torch.from_numpy(arrays["W_dec"]) * known.D_IN**0.5)


def test_gemma_scopes_encoder_and_decoder_may_be_spelled_with_a_small_w(tmp_path: Path):
    arrays = {name.replace("W_", "w_"): array for name, array in known.gemma_arrays().items()}
    assert {"w_enc", "w_dec"} < arrays.keys()
    small, capital = (known.write_gemma_scope(tmp_path / name / PLACE, a) for name, a in (("s", arrays), ("c", None)))
    assert read_checkpoint(small).digest == read_checkpoint(capital).digest


@pytest.mark.parametrize(
    ("hookpoint", "hook"),
    [
        ("layers.3", "blocks.3.hook_resid_post"),
        ("gpt_neox.layers.3", "blocks.3.hook_resid_post"),
        ("h.3", "blocks.3.hook_resid_post"),
        ("layers.3.mlp", "blocks.3.hook_mlp_out"),
        ("layers.3.self_attn", "blocks.3.hook_attn_out"),
        ("h.3.attn", "blocks.3.hook_attn_out"),
        ("embed_tokens", "hook_embed"),
        ("h.3.ln_1", None),
        ("layers.3.mlp.act", None),
        ("lm_head", None),
    ],
)
def test_a_sparsify_folder_is_named_by_its_hook_point(hookpoint: str, hook: str | None, tmp_path: Path):
    card = read_checkpoint(known.write_sparsify(tmp_path / "run" / hookpoint))
    assert (card.name, card.hook, card.model) == (hookpoint, hook, "HuggingFaceTB/SmolLM2-135M")
    assert (card.architecture, card.k, card.train_seed) == ("topk", known.K, 4)


def test_sparsify_folders_of_several_seeds_say_theirs(tmp_path: Path):
    folder = known.write_sparsify(tmp_path / "run/layers.3/seed1")
    (tmp_path / "run/layers.3/config.json").rename(tmp_path / "run/config.json")
    card = read_checkpoint(folder)
    assert (card.name, card.train_seed, card.hook) == ("layers.3/seed1", 1, "blocks.3.hook_resid_post")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("AutoEncoder", {"architecture": "standard"}),
        ("GatedAutoEncoder", {"architecture": "gated"}),
        ("JumpReluAutoEncoder", {"architecture": "jumprelu"}),
        ("AutoEncoderTopK", {"architecture": "topk", "k": known.K}),
        ("BatchTopKSAE", {"architecture": "batchtopk", "k": known.K}),
        ("MatryoshkaBatchTopKSAE", {"architecture": "matryoshka_batchtopk", "k": known.K, "prefixes": (4, 10, 20)}),
    ],
)
def test_a_dictionary_tells_how_it_was_trained(kind: str, said: dict[str, Any], tmp_path: Path):
    card = read_checkpoint(known.write_dictionary(tmp_path / "resid_post_layer_12/trainer_0", kind))
    place = {"name": "resid_post_layer_12/trainer_0", "hook": "blocks.12.hook_resid_post", "layer": 12}
    assert facts(card) == {**place, "model": "gemma-2-2b", "train_seed": 3, **SIZE, **said}


@pytest.mark.parametrize(
    ("place", "hook"),
    [
        (None, "blocks.12.hook_resid_post"),
        ("mlp_out_layer_12", "blocks.12.hook_mlp_out"),
        ("attn_out_layer_12", "blocks.12.hook_attn_out"),
        ("transformer.h.12.ln", None),
    ],
)
def test_a_dictionarys_submodule_says_where_it_reads(place: str | None, hook: str | None, tmp_path: Path):
    card = read_checkpoint(known.write_dictionary(tmp_path / "trainer_0", submodule_name=place))
    assert (card.hook, card.layer) == (hook, 12)


def test_a_checkpoint_of_a_dictionarys_training_is_an_sae_of_its_own(tmp_path: Path):
    folder = known.write_dictionary(tmp_path / "resid_post_layer_12/trainer_0")
    (folder / "checkpoints").mkdir()
    halfway = {**known.dictionary_weights("BatchTopKSAE"), "b_dec": torch.zeros(known.D_IN)}
    torch.save(halfway, folder / "checkpoints/ae_500.pt")
    done, before = read_checkpoint(folder), read_checkpoint(folder / "checkpoints/ae_500.pt")
    assert before.name == "resid_post_layer_12/trainer_0/ae_500"
    assert (before.b_dec_norm, before.train_seed) == (0, 3) and done.b_dec_norm != 0


@pytest.mark.parametrize(
    ("folder", "model"), [("Llama3_1-8B-Base-L15R-8x", "meta-llama/Llama-3.1-8B"), ("pythia-L15R", None)]
)
def test_llama_scopes_settings_tell_the_hook_and_its_folder_the_model(folder: str, model: str | None, tmp_path: Path):
    card = read_checkpoint(known.write_llama_scope(tmp_path / folder))
    assert (card.name, card.model, card.hook, card.layer) == (folder, model, "blocks.15.hook_resid_post", 15)
    assert (card.architecture, card.train_seed) == ("jumprelu", 42)


def test_a_plain_file_is_called_by_its_name_or_its_folders(tmp_path: Path):
    notes = {"model_name": "tiny", "hook_name": "blocks.2.hook_resid_pre", "l0": "17.5", "train_seed": "2"}
    one = known.write_plain(tmp_path / "wide-3.safetensors", **notes)
    said = {
        "name": "wide-3",
        "model": "tiny",
        "hook": "blocks.2.hook_resid_pre",
        "layer": 2,
        "l0": 17.5,
        "train_seed": 2,
    }
    assert facts(read_checkpoint(one)) == {**said, "architecture": "standard", **SIZE}
    assert read_checkpoint(known.write_plain(tmp_path / "narrow/sae.safetensors")).name == "narrow"


def test_saelens_weights_name_their_folder(tmp_path: Path, save_sae: Callable[..., Path]):
    folder = save_sae(tmp_path / "mine")
    card = read_checkpoint(folder / "sae_weights.safetensors")
    assert (card.name, card.digest) == ("mine", read_checkpoint(folder).digest)


WRITERS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "gemma_scope": (lambda path: known.write_gemma_scope(path / PLACE), "params.npz"),
    "sparsify": (lambda path: known.write_sparsify(path / "layers.3"), "cfg.json"),
    "sparsify's run": (lambda path: known.write_sparsify(path / "layers.3"), "../config.json"),
    "dictionary_learning": (lambda path: known.write_dictionary(path / "trainer_0"), "config.json"),
    "llama_scope": (lambda path: known.write_llama_scope(path / "L15R"), "hyperparams.json"),
    "plain": (lambda path: known.write_plain(path / "it/sae.safetensors").parent, "sae.safetensors"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_card_is_remembered_until_a_file_of_it_changes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import hedgebench.loaders

    write, file = WRITERS[name]
    folder = write(tmp_path)
    card = read_checkpoint(folder)
    with monkeypatch.context() as patch:
        patch.setattr(hedgebench.loaders, "load_raw", lambda ref: pytest.fail("it was loaded again"))
        assert read_checkpoint(folder) == card
    (folder / file).write_bytes(b"no longer")
    with pytest.raises(BadInput):
        read_checkpoint(folder)


def test_the_same_file_under_another_name_says_another_thing(tmp_path: Path):
    """On a hub's cache files are links to one place: a card is of the name, not of what the link points to."""
    target = known.write_gemma_scope(tmp_path / "blobs") / "params.npz"
    for l0 in (22, 41):
        folder = tmp_path / "gemma-scope-2b-pt-res/layer_12/width_16k" / f"average_l0_{l0}"
        folder.mkdir(parents=True)
        (folder / "params.npz").symlink_to(target)
    paths = find_paths(str(tmp_path / "gemma-scope-2b-pt-res/**/params.npz"))
    assert [(read_checkpoint(p).l0, read_checkpoint(p).name[-2:]) for p in paths] == [(22, "22"), (41, "41")]


@pytest.mark.parametrize("name", WRITERS)
def test_inspect_tells_what_each_is(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["inspect", str(WRITERS[name][0](tmp_path)), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["width"], said["d_in"]) == (known.D_SAE, known.D_IN)


def test_a_pattern_matches_folders_and_files_of_weights_and_nothing_else(tmp_path: Path):
    for l0 in (5, 22):
        known.write_gemma_scope(tmp_path / f"layer_12/width_16k/average_l0_{l0}")
    (tmp_path / "layer_12/README.md").write_text("words")
    both = [str(tmp_path / f"layer_12/width_16k/average_l0_{l0}") for l0 in (22, 5)]
    assert find_paths(str(tmp_path / "layer_12/**/params.npz")) == [f"{p}/params.npz" for p in both]
    assert find_paths(str(tmp_path / "layer_12/width_16k/*")) == both
    assert find_paths(str(tmp_path / "layer_12/*")) == [str(tmp_path / "layer_12/width_16k")]


def test_what_is_no_sae_has_no_layout(tmp_path: Path):
    (tmp_path / "ae.pt").write_bytes(b"")
    assert find_layout(tmp_path) is None and find_layout(tmp_path / "ae.pt") is None
    assert find_layout("gpt2-small-res-jb:blocks.7.hook_resid_pre") is None
    assert display_name("gpt2-small-res-jb:blocks.7.hook_resid_pre") == "gpt2-small-res-jb:blocks.7.hook_resid_pre"


# --- SAELens's converters, fed from disk ---------------------------------------------------------------------------------------


def test_saelens_own_module_stays_as_it_is_and_threads_do_not_meet(tmp_path: Path):
    from sae_lens.loading import pretrained_sae_loaders as upstream

    before = dict(vars(upstream))
    folders = [
        known.write_llama_scope(
            tmp_path / str(i), {**known.llama_weights(), "decoder.bias": torch.full((known.D_IN,), float(i)).bfloat16()}
        )
        for i in range(8)
    ]
    found: dict[int, Any] = {}
    threads = [threading.Thread(target=lambda i=i: found.update({i: load_raw(folders[i])})) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    factor = known.D_IN**0.5 / known.LLAMA["dataset_average_activation_norm"]["in"]
    for i in range(8):
        torch.testing.assert_close(found[i].b_dec, torch.full((known.D_IN,), i / factor))
    assert dict(vars(upstream)) == before
    assert sys.modules["sae_lens.loading.pretrained_sae_loaders"] is upstream


def test_loading_leaves_the_file_and_torchs_random_state_alone(tmp_path: Path):
    folder = known.write_dictionary(tmp_path / "trainer_0", "AutoEncoder")
    before, state = (folder / "ae.pt").read_bytes(), torch.random.get_rng_state()
    sae = load_sae(folder)
    with torch.no_grad():
        sae.W_dec.mul_(2)
    assert (folder / "ae.pt").read_bytes() == before
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_digest_is_of_what_is_computed_and_where_not_of_the_place_on_disk(tmp_path: Path):
    one, two, three = (
        read_checkpoint(known.write_gemma_scope(tmp_path / place / PLACE)).digest
        for place in ("a/gemma-scope-2b-pt-res", "b/gemma-scope-2b-pt-res", "gemma-scope-2b-pt-mlp")
    )
    assert one == two != three
    assert digest_of(load_raw(tmp_path / "a/gemma-scope-2b-pt-res" / PLACE)) == one


def test_a_dictionarys_penalty_is_its_objective(tmp_path: Path):
    penalties = {"a": {"l1_penalty": 0.06}, "b": {"sparsity_penalty": 1.0, "target_l0": 20}, "c": {"l1_penalty": "low"}}
    found = {
        name: read_checkpoint(known.write_dictionary(tmp_path / name, "AutoEncoder", **penalty)).objective
        for name, penalty in penalties.items()
    }
    assert found == {"a": "l1=0.06", "b": "sparsity=1 target_l0=20", "c": None}
