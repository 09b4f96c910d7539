"""From downloaded files to a table and a figure, by the two commands; and from a hub, which is a server of this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import known_formats as known
import numpy as np
import pytest
import torch
from hub_stand_in import serve
from safetensors.torch import load_file

from hedgebench import evaluate, read_checkpoint, read_results
from hedgebench.cli import main
from hedgebench.formats.gemma_scope import load
from hedgebench.formats.upstream import LocalRepository, converters

REPOSITORY = Path(__file__).parents[2]
GEMMA = {"16k": (1, 2, 3), "65k": (2, 3), "1m": (1, 3)}
L0S = {1: 22, 2: 82, 3: 176}


@pytest.fixture
def gemma(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder laid out like Gemma Scope's: three widths of layer 12, several L0; another layer beside them."""
    monkeypatch.setenv("HEDGEBENCH_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "gemma-scope-2b-pt-res"
    for i, (width, seeds) in enumerate(GEMMA.items()):
        for seed in seeds:
            arrays = known.gemma_arrays(12, 16 * 4**i, seed=seed)
            known.write_gemma_scope(root / f"layer_12/width_{width}/average_l0_{L0S[seed]}", arrays)
    known.write_gemma_scope(root / "layer_13/width_16k/average_l0_9")
    return root


def test_two_commands_make_the_table_and_the_figure_of_a_folder_of_gemma_scope(
    gemma: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("hedgebench.models.load_model", lambda *args, **kwargs: pytest.fail("a model was loaded"))
    out = tmp_path / "D"
    assert main(["run", "--sae", f"{gemma}/layer_12/**/params.npz", "--eval", "decoder_bias", "--out", str(out)]) == 0
    assert main(["plot", str(out), "--out", str(out / "plots")]) == 0
    table = read_results(out)
    norms = table[table["metric"] == "b_dec_norm"].set_index("sae")
    places = [f"layer_12/width_{width}/average_l0_{L0S[seed]}" for width, seeds in GEMMA.items() for seed in seeds]
    assert sorted(norms.index) == sorted(places)
    for place in places:
        with np.load(gemma / place / "params.npz") as arrays:
            assert norms.loc[place, "value"] == pytest.approx(np.linalg.norm(arrays["b_dec"]))
            assert norms.loc[place, "width"] == arrays["W_enc"].shape[1]
        assert norms.loc[place, "l0"] == int(place.rpartition("_")[2])
    assert set(norms["layer"]) == {12} and set(norms["hook"]) == {"blocks.12.hook_resid_post"}
    assert set(norms["model"]) == {"gemma-2-2b"}
    assert set(table.loc[table["metric"] == "d_in", "value"]) == {12}
    (figure,) = (out / "plots").glob("decoder_bias-*.png")
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_a_second_run_has_nothing_to_do_and_loads_nothing(
    gemma: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    args = ["run", "--sae", f"{gemma}/layer_12/**/params.npz", "--eval", "decoder_bias", "--out", str(tmp_path / "D")]
    assert main(args) == 0
    monkeypatch.setattr("hedgebench.loaders.load_raw", lambda ref: pytest.fail("it was loaded again"))
    assert main(args) == 0
    assert "all 7 runs are done" in capsys.readouterr().err


def test_a_suite_names_files_and_folders_by_patterns(gemma: Path, tmp_path: Path):
    known.write_dictionary(tmp_path / "dictionaries/resid_post_layer_12/trainer_0")
    known.write_dictionary(tmp_path / "dictionaries/resid_post_layer_12/trainer_1", "AutoEncoder")
    lines = ["saes:", f"  - path: {gemma.name}/layer_12/width_16k/*/params.npz", "    tags: {loss: mse}"]
    lines += ["  - path: dictionaries/*/trainer_*", "evals: [decoder_bias]"]
    (tmp_path / "suite.yaml").write_text("\n".join(lines))
    assert main(["run", str(tmp_path / "suite.yaml"), "--out", str(tmp_path / "D")]) == 0
    names = set(read_results(tmp_path / "D")["sae"])
    trainers = {f"resid_post_layer_12/trainer_{i}" for i in (0, 1)}
    assert names == trainers | {f"layer_12/width_16k/average_l0_{l0}" for l0 in L0S.values()}


def test_results_may_lie_in_the_folder_of_the_sae_and_saes_below_the_results(
    gemma: Path, caplog: pytest.LogCaptureFixture
):
    place = gemma / "layer_12/width_1m/average_l0_22"
    known.write_dictionary(place / "trainer_0")
    assert main(["run", "--sae", str(place), "--eval", "decoder_bias", "--out", str(place)]) == 0
    assert len(read_results(place)) == 3
    assert not caplog.records  # config.json of the dictionary is no damaged record


def test_a_damaged_file_costs_its_own_runs_only(gemma: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    files = sorted((gemma / "layer_12/width_16k").rglob("params.npz"))
    for file in files[:2]:
        file.write_bytes(file.read_bytes()[:500])
    args = ["--sae", f"{gemma}/layer_12/**/params.npz", "--eval", "decoder_bias", "--out", str(tmp_path / "D")]
    assert main(["run", *args]) == 1
    assert capsys.readouterr().err.count("not a whole .npz file") == 2
    assert read_results(tmp_path / "D")["sae"].nunique() == 5


def test_a_pattern_that_matches_nothing_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    args = [
        "run",
        "--sae",
        f"{tmp_path}/layer_12/**/params.npz",
        "--eval",
        "decoder_bias",
        "--out",
        str(tmp_path / "D"),
    ]
    assert main(args) == 2
    assert "no folder or file of weights matches" in capsys.readouterr().err


def test_python_takes_patterns_too(gemma: Path):
    assert evaluate(f"{gemma}/layer_12/width_1m/**/params.npz", "decoder_bias")["sae"].nunique() == 2


def test_gemma_scope_is_read_as_by_saelens_own_converter(gemma: Path):
    place = "layer_12/width_16k/average_l0_22"
    repository = LocalRepository("google/gemma-scope-2b-pt-res", {"params.npz": gemma / place / "params.npz"})
    config, weights, _ = converters().gemma_2_sae_huggingface_loader(repository, place)
    ours = load(str(gemma / place))
    assert ours is not None
    assert {name: t.tolist() for name, t in ours.state_dict().items()} == {n: t.tolist() for n, t in weights.items()}
    said = converters().handle_config_defaulting(config)
    kept = ours.cfg.to_dict()
    assert all(kept[key] == said[key] for key in ("apply_b_dec_to_input", "normalize_activations", "architecture"))
    assert all(kept["metadata"][key] == value for key, value in said["metadata"].items() if value is not None)


HUB = """
import json, sys
from hedgebench import read_checkpoint
from hedgebench.types import BadInput
for ref in sys.argv[1:]:
    try:
        print(json.dumps(read_checkpoint(ref).to_dict()))
    except BadInput as error:
        print(json.dumps({"error": str(error)}))
"""


def test_releases_come_from_the_hub_and_are_the_saes_that_the_same_files_on_disk_are(tmp_path: Path):
    place = "pythia70m_sweep_topk_ctx128_0730/resid_post_layer_3/trainer_0"
    one = known.write_dictionary(
        tmp_path / "lm_sae" / place, "AutoEncoderTopK", layer=3, lm_name="EleutherAI/pythia-70m-deduped"
    )
    # SAELens makes no decoder row unit before it compares with the threshold, as lm_saes does: with unit rows both are one
    weights = {k: v.float() for k, v in known.llama_weights().items()}
    weights["decoder.weight"] = torch.eye(known.D_IN).repeat(1, 3)[:, : known.D_SAE].contiguous()
    two = known.write_llama_scope(tmp_path / "llama/Llama3_1-8B-Base-L15R-8x", weights)
    (tmp_path / "llama/Llama3_1-8B-Base-L15R-8x/hyperparams.json").write_text(
        json.dumps({**known.LLAMA, "dataset_average_activation_norm": {"in": known.D_IN**0.5 / 5.91907514450867}})
    )
    refs = [
        "sae_bench_pythia70m_sweep_topk_ctx128_0730:blocks.3.hook_resid_post__trainer_0",
        "llama_scope_lxr_8x:l15r_8x",
    ]
    with serve() as hub:
        hub.models["canrager/lm_sae"] = tmp_path / "lm_sae"
        hub.models["fnlp/Llama3_1-8B-Base-LXR-8x"] = tmp_path / "llama"
        environment = {
            **os.environ,
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "home"),
            "PYTHONPATH": str(REPOSITORY),
        }
        ran = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(HUB), *refs, "llama_scope_lxr_8x:l0r_8x"],
            env=environment,
            capture_output=True,
            text=True,
        )
    assert ran.returncode == 0, ran.stderr[-2000:]
    first, second, missing = map(json.loads, ran.stdout.splitlines())
    assert [first["digest"], second["digest"]] == [read_checkpoint(one).digest, read_checkpoint(two).digest]
    assert (first["release"], first["sae_id"]) == tuple(refs[0].split(":"))
    assert second["l0"] == 50  # as SAELens's list says; the files do not
    assert "SAELens cannot load it" in missing["error"] and "\n" not in missing["error"]
    assert any("final.safetensors" in request for request in hub.requests)
    assert load_file(two / "checkpoints/final.safetensors")["decoder.weight"].shape == (known.D_IN, known.D_SAE)
