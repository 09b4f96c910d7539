"""Training runs on a tiny model: what is paired, what is written, and what is left as it was found."""

from __future__ import annotations

import json
import logging
import random
import re
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sae_lens import SAE
from safetensors.torch import load_file
from tiny_models import save_world

from hedgebench import read_checkpoint
from hedgebench.training import saving
from hedgebench.training.config import read_config
from hedgebench.training.runner import train, train_saes
from hedgebench.training.saes import HedgeBatchTopK, HedgeStandard, make_sae
from hedgebench.training.stream import Stream
from hedgebench.types import BadInput

STEPS, SWITCH, D_IN, WIDTH = 12, 3, 32, 16
SAES = """
  - {architecture: batchtopk, loss: [mse, l2, snap], width: 16, k: 3, train_seed: 4, snap_at: 0.25}
  - {architecture: matryoshka_batchtopk, loss: snap, width: 16, k: 3, levels: [4, 8, 16], train_seed: 4, name: m, snap_at: 0.25}
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model and texts for it."""
    return save_world(tmp_path_factory.mktemp("world"), 300)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEDGEBENCH_CACHE", str(tmp_path / "cache"))


def write_config(world: Path, path: Path, saes: str = SAES, **changes: Any) -> Path:
    values = {
        "model": world / "model",
        "data": world / "texts",
        "hook": "blocks.0.hook_resid_post",
        "tokens": STEPS * 64 - 5,
        "batch_tokens": 64,
        "context_size": 16,
        "sequences_per_pass": 4,
        "buffer_sequences": 24,
        "norm_batches": 2,
        "lr": 0.01,
        "dead_after_tokens": 128,
        "save_dtype": "float16",
        **changes,
    }
    path.write_text("\n".join([*(f"{key}: {value}" for key, value in values.items()), "saes:", saes.strip("\n"), ""]))
    return path


@pytest.fixture(scope="module")
def trained(world: Path) -> Path:
    """The folder of one run; tests do not change it."""
    out = world / "trained"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEDGEBENCH_CACHE", str(world / "cache"))
        train(write_config(world, world / "train.yaml"), out)
    return out


def names(out: Path) -> list[str]:
    """Every entry of a folder, hidden ones too."""
    return sorted(path.name for path in out.iterdir())


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "sae_weights.safetensors")


def assert_same_weights(one: Path, other: Path) -> None:
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.fixture
def steps_seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[torch.Tensor, Any]]]:
    """Batch and output of every training step, by the name `loss-seed`."""
    seen: dict[str, list[tuple[torch.Tensor, Any]]] = {}
    for cls in (HedgeBatchTopK, HedgeStandard):
        original = cls.training_forward_pass

        def record(sae: Any, step_input: Any, original: Callable[..., Any] = original) -> Any:
            output = original(sae, step_input)
            key = f"{sae.cfg.reconstruction_loss}-{sae.cfg.metadata.train_seed}"
            seen.setdefault(key, []).append((step_input.sae_in.clone(), output))
            return output

        monkeypatch.setattr(cls, "training_forward_pass", record)
    return seen


# --- what is paired --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sae",
    [
        "{architecture: batchtopk, k: 3",
        "{architecture: matryoshka_batchtopk, k: 3, levels: [4, 16]",
        "{architecture: topk, k: 3",
        "{architecture: standard, l1: 1",
    ],
)
def test_one_train_seed_is_one_start_whatever_the_loss_and_another_seed_is_another(world, tmp_path, sae):
    saes = f"  - {sae}, width: 16, loss: [mse, l2, snap], train_seed: [0, 1]}}"
    config = read_config(write_config(world, tmp_path / "c.yaml", saes))
    starts: dict[int, list[torch.Tensor]] = {0: [], 1: []}
    for i, recipe in enumerate(config.saes):
        torch.manual_seed(i)  # the state of the process must not matter
        starts[recipe.train_seed].append(make_sae(config, recipe, D_IN).W_dec.detach())
        assert torch.initial_seed() == i
    for found in starts.values():
        assert all(torch.equal(w, found[0]) for w in found)
    assert not torch.allclose(starts[0][0], starts[1][0])


def test_every_sae_sees_the_same_batches_whatever_its_loss_its_seed_its_company_and_the_state_of_the_process(
    world, tmp_path, steps_seen
):
    many = "  - {architecture: batchtopk, loss: [mse, l2], width: 16, k: 3, train_seed: [0, 1]}"
    one = "  - {architecture: batchtopk, width: 8, k: 2, train_seed: 7}"
    for i, saes in enumerate((many, one)):
        random.seed(i)
        np.random.seed(i)  # noqa: NPY002
        torch.manual_seed(i)
        config = read_config(write_config(world, tmp_path / "c.yaml", saes))
        train_saes(config, list(config.saes))
    assert sorted(steps_seen) == ["l2-0", "l2-1", "mse-0", "mse-1", "mse-7"]
    first = [batch for batch, _ in steps_seen["mse-0"]]
    assert [batch.shape for batch in first] == [(64, D_IN)] * STEPS
    for seen in steps_seen.values():
        assert all(torch.equal(batch, wanted) for (batch, _), wanted in zip(seen, first, strict=True))


def test_another_data_seed_is_another_order(world, tmp_path, steps_seen):
    for seed in (0, 1):
        saes = f"  - {{architecture: batchtopk, width: 8, k: 2, train_seed: {seed}}}"
        config = read_config(write_config(world, tmp_path / "c.yaml", saes, data_seed=seed, normalize="false"))
        train_saes(config, list(config.saes))
    one, two = (torch.cat([batch for batch, _ in steps_seen[f"mse-{seed}"]]) for seed in (0, 1))
    assert not torch.allclose(one, two)


def test_bos_activations_are_not_trained_on(world, tmp_path, steps_seen):
    from hedgebench.models import load_model

    saes = "  - {architecture: batchtopk, width: 8, k: 2}"
    config = read_config(write_config(world, tmp_path / "c.yaml", saes, normalize="false"))
    train_saes(config, list(config.saes))
    model = load_model(config.model)
    with torch.no_grad():
        _, cache = model.run_with_cache(torch.tensor([[model.tokenizer.bos_token_id]]), names_filter=config.hook)
    seen = torch.cat([batch for batch, _ in steps_seen["mse-0"]])
    assert (seen - cache[config.hook][0, 0]).norm(dim=-1).min() > 1e-2


def test_in_a_real_run_snap_turns_to_the_norm_at_its_step_and_rescales_the_penalty(world, tmp_path, steps_seen):
    saes = "  - {architecture: standard, l1: 2, loss: [mse, snap], width: 16, snap_at: 0.25}"
    config = read_config(write_config(world, tmp_path / "c.yaml", saes))
    trained = train_saes(config, list(config.saes))
    rescale = trained["standard-snap-s0"].cfg.metadata.loss_rescale
    assert 0 < rescale < 1
    assert trained["standard-mse-s0"].cfg.metadata.loss_rescale == 1
    assert len(steps_seen["snap-0"]) == STEPS
    for step, (x, output) in enumerate(steps_seen["snap-0"]):
        squared = (output.sae_out - x).pow(2).sum(dim=-1)
        wanted = squared.mean() if step < SWITCH else squared.sqrt().mean()
        assert output.losses["mse_loss"].item() == pytest.approx(wanted.item(), rel=1e-5)
        # Up to the switch the two runs are one, so the ratio of their penalties there is the rescaling alone.
        if step <= SWITCH:
            penalty = steps_seen["mse-0"][step][1].losses["l1_loss"].item()
            factor = rescale if step == SWITCH else 1
            assert output.losses["l1_loss"].item() == pytest.approx(penalty * factor, rel=1e-5)


# --- what is written -------------------------------------------------------------------------------------------------------------


def test_the_files_are_half_precision_matrices_in_a_checkpoint_that_loads_in_full(trained):
    for folder in trained.iterdir():
        stored = weights(folder)
        assert {name: t.dtype for name, t in stored.items()} == {
            "W_enc": torch.float16,
            "W_dec": torch.float16,
            "b_enc": torch.float32,
            "b_dec": torch.float32,
            "threshold": torch.float32,
        }
        config = json.loads((folder / "cfg.json").read_text())
        assert (config["architecture"], config["dtype"], config["device"]) == ("jumprelu", "float32", "cpu")
        loaded = SAE.load_from_disk(folder)
        assert {p.dtype for p in loaded.parameters()} == {torch.float32}
        assert torch.equal(loaded.W_dec.detach(), stored["W_dec"].float())


@pytest.mark.parametrize("save_dtype", ["float32", "float16"])
def test_plain_saelens_computes_what_the_trained_sae_computes(world, tmp_path, save_dtype):
    config = read_config(write_config(world, tmp_path / "c.yaml"))
    saes = train_saes(config, list(config.saes))
    saving.save_all({tmp_path / "out" / name: sae for name, sae in saes.items()}, save_dtype)
    x = 3 * torch.randn(50, D_IN, generator=torch.Generator().manual_seed(0))
    for name, sae in saes.items():
        sae.eval()
        _, hidden = sae.encode_with_hidden_pre(x)
        acts = hidden * (hidden > sae.topk_threshold)  # at inference a threshold stands for the top k of a batch
        loaded = SAE.load_from_disk(tmp_path / "out" / name)
        assert 0 < (acts != 0).sum() < acts.numel()
        if save_dtype == "float32":
            torch.testing.assert_close(loaded(x), sae.decode(acts), rtol=1e-4, atol=1e-4)
        else:
            assert (loaded(x) - sae.decode(acts)).norm() < 2e-2 * sae.decode(acts).norm()


def test_the_metadata_tell_how_it_was_trained(world, trained):
    for loss in ("mse", "l2", "snap"):
        metadata = SAE.load_from_disk(trained / f"batchtopk-{loss}-s4").cfg.metadata
        assert (metadata.training_architecture, metadata.reconstruction_loss) == ("batchtopk", loss)
        assert (metadata.train_seed, metadata.data_seed, metadata.train_tokens) == (4, 0, STEPS * 64)
        assert metadata.snap_at == (0.25 if loss == "snap" else None)
        assert (metadata.loss_rescale == 1) == (loss == "mse")
        assert metadata.training_architecture_details["k"] == 3
        assert (metadata.model_name, metadata.hook_name) == (str(world / "model"), "blocks.0.hook_resid_post")
        assert re.fullmatch(r"folder:\w+:train", metadata.train_text)
    details = SAE.load_from_disk(trained / "m").cfg.metadata.training_architecture_details
    assert details["matryoshka_widths"] == [4, 8, 16]


def test_the_card_of_a_trained_checkpoint_is_right(world, trained):
    card = read_checkpoint(trained / "m")
    assert (card.architecture, card.loss, card.k, card.prefixes) == ("matryoshka_batchtopk", "snap", 3, (4, 8, 16))
    assert (card.d_in, card.width, card.hook, card.layer) == (D_IN, WIDTH, "blocks.0.hook_resid_post", 0)
    assert (card.model, card.train_seed, card.train_tokens) == (str(world / "model"), 4, STEPS * 64)
    assert card.dtype == "float32"
    assert card.name == "m"


# --- what is left as it was found ------------------------------------------------------------------------------------------------


def test_training_leaves_the_process_as_it_was(world, tmp_path, monkeypatch):
    def state() -> list[Any]:
        return [
            random.getstate(),
            [part.tolist() if isinstance(part, np.ndarray) else part for part in np.random.get_state()],  # noqa: NPY002
            torch.get_rng_state().tolist(),
            torch.is_grad_enabled(),
            [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
            logging.getLogger("sae_lens").filters[:],
            Path.cwd(),
        ]

    original = HedgeBatchTopK.training_forward_pass

    def draw(sae: Any, step_input: Any) -> Any:
        _ = random.random(), np.random.rand(), torch.rand(1)  # noqa: NPY002 - as any library below may
        return original(sae, step_input)

    monkeypatch.setattr(HedgeBatchTopK, "training_forward_pass", draw)
    saes = "  - {architecture: batchtopk, width: 8, k: 2}"
    with torch.no_grad():
        before = state()
        train(write_config(world, tmp_path / "c.yaml", saes), tmp_path / "out")
        assert state() == before


def test_training_works_in_a_thread_and_says_nothing_that_is_no_news(world, tmp_path, capfd, caplog, recwarn):
    config = write_config(world, tmp_path / "c.yaml", "  - {architecture: batchtopk, width: 8, k: 2}")
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(train(config, tmp_path / "out")))
    thread.start()
    thread.join()
    assert results == [[tmp_path / "out/batchtopk-mse-s0"]]
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []
    assert [str(w.message) for w in recwarn if issubclass(w.category, UserWarning)] == []
    captured = capfd.readouterr()
    assert captured.out == ""
    assert re.search(r"100%.* 768/768 ", captured.err)
    assert captured.err.count("\n") == 1  # one bar, on one line


class Stop(Exception):
    """What the tests stop a run with."""


# --- a few SAEs at once -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whether each training was given batches from the model or from the disk."""
    seen = []
    for name, where in (("keep", "model"), ("kept", "disk")):
        original = getattr(Stream, name)

        def record(*args: Any, original: Callable[..., Any] = original, where: str = where) -> Any:
            seen.append(where)
            return original(*args)

        monkeypatch.setattr(Stream, name, record)
    return seen


def test_saes_trained_two_at_a_time_are_what_they_are_together_and_the_model_runs_once(world, tmp_path, trained, kept):
    out = tmp_path / "out"
    folders = train(write_config(world, tmp_path / "c.yaml", saes_at_once=2), out)
    assert kept == ["model", "disk"]
    for folder in folders:
        assert_same_weights(folder, trained / folder.name)


def test_what_was_trained_before_a_stop_stays_and_the_rest_learns_from_the_disk(
    world, tmp_path, trained, kept, monkeypatch
):
    original = HedgeBatchTopK.training_forward_pass

    def stop(sae: Any, step_input: Any) -> Any:
        if sae.cfg.reconstruction_loss == "snap" and step_input.n_training_steps == 5:
            raise Stop
        return original(sae, step_input)

    config, out = write_config(world, tmp_path / "c.yaml", saes_at_once=1), tmp_path / "out"
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(HedgeBatchTopK, "training_forward_pass", stop)
        train(config, out)
    assert names(out) == ["batchtopk-l2-s4", "batchtopk-mse-s4"]
    for folder in train(config, out):
        assert_same_weights(folder, trained / folder.name)
    assert kept == ["model", *["disk"] * 4]


def test_batches_that_are_damaged_on_disk_are_made_again(world, tmp_path, trained, kept):
    first = "  - {architecture: batchtopk, loss: [mse, l2], width: 16, k: 3, train_seed: 4, snap_at: 0.25}"
    train(write_config(world, tmp_path / "a.yaml", first, saes_at_once=1), tmp_path / "a")
    (file,) = (tmp_path / "cache/activations").glob("stream-*/00000.safetensors")
    file.write_bytes(file.read_bytes()[:1000])
    for folder in train(write_config(world, tmp_path / "c.yaml", saes_at_once=3), tmp_path / "out"):
        assert_same_weights(folder, trained / folder.name)
    assert kept == ["model", "disk", "model", "disk"]


def test_without_room_for_the_batches_the_model_runs_again_and_it_is_said(
    world, tmp_path, trained, kept, monkeypatch, caplog
):
    monkeypatch.setattr("hedgebench.training.stream.DISK_BUDGET", 1000)
    for folder in train(write_config(world, tmp_path / "c.yaml", saes_at_once=2), tmp_path / "out"):
        assert_same_weights(folder, trained / folder.name)
    assert kept == ["model", "model"] and "the model runs again" in caplog.text


# --- interrupted, repeated, refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt])
def test_a_run_that_stops_in_the_middle_leaves_nothing(world, tmp_path, monkeypatch, error):
    original = HedgeBatchTopK.training_forward_pass

    def stop(sae: Any, step_input: Any) -> Any:
        if step_input.n_training_steps == 5:
            raise error
        return original(sae, step_input)

    monkeypatch.setattr(HedgeBatchTopK, "training_forward_pass", stop)
    threads = threading.active_count()
    with pytest.raises(error):
        train(write_config(world, tmp_path / "c.yaml"), tmp_path / "out")
    assert names(tmp_path / "out") == []
    assert threading.active_count() <= threads + 1  # tqdm keeps one; the model's has ended


def test_a_run_killed_while_it_writes_is_finished_by_the_next_with_the_same_weights(world, tmp_path, trained, caplog):
    config, out = write_config(world, tmp_path / "c.yaml"), tmp_path / "out"
    script = f"""
        import os, signal
        from pathlib import Path
        from hedgebench.training.runner import train
        original = Path.write_text
        def kill(path, *args, **kwargs):
            if path.parent.name == ".batchtopk-l2-s4.part":
                os.kill(os.getpid(), signal.SIGKILL)
            return original(path, *args, **kwargs)
        Path.write_text = kill
        train({str(config)!r}, {str(out)!r})
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert names(out) == [".batchtopk-l2-s4.part", "batchtopk-mse-s4"]
    before = (out / "batchtopk-mse-s4/cfg.json").stat().st_mtime_ns

    caplog.set_level(logging.INFO, "hedgebench")
    folders = train(config, out)
    assert [f.name for f in folders] == ["batchtopk-mse-s4", "batchtopk-l2-s4", "batchtopk-snap-s4", "m"]
    assert names(out) == sorted(f.name for f in folders)
    assert (out / "batchtopk-mse-s4/cfg.json").stat().st_mtime_ns == before
    assert f"{out / 'batchtopk-mse-s4'}: already trained, skipped" in caplog.messages
    assert "training 3 SAEs" in caplog.text
    for folder in folders:  # alone, in company, in another process: the same numbers
        assert_same_weights(folder, trained / folder.name)


def test_a_finished_run_loads_no_model(world, tmp_path, trained, monkeypatch):
    monkeypatch.setattr("hedgebench.models.load_model", lambda *_, **__: pytest.fail("a model was loaded"))
    assert len(train(world / "train.yaml", trained)) == 4


def test_changed_settings_are_refused_before_anything_is_trained(world, tmp_path, trained):
    for change, name in (({"lr": 0.02}, "lr"), ({"tokens": 64}, "tokens"), ({"data_seed": 1}, "data_seed")):
        with pytest.raises(BadInput, match=f"batchtopk-mse-s4 was trained with another '{name}'; remove it"):
            train(write_config(world, tmp_path / "c.yaml", **change), trained)


@pytest.mark.parametrize("content", [None, "{", "{}", '{"metadata": {"train_settings": 3}}'])
def test_a_folder_that_is_something_else_is_not_touched(world, tmp_path, content):
    folder = tmp_path / "out/batchtopk-mse-s4"
    folder.mkdir(parents=True)
    (folder / ("cfg.json" if content else "notes.txt")).write_text(content or "mine")
    before = names(folder)
    with pytest.raises(BadInput, match="exists and was not made by this program"):
        train(write_config(world, tmp_path / "c.yaml"), tmp_path / "out")
    assert names(folder) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hook": "blocks.0.hook_resid_pots"}, "has no hook point 'blocks.0.hook_resid_pots'; did you mean 'blocks.0.hook_resid_post'?"),
        ({"hook": "blocks.0.attn.hook_pattern"}, "'blocks.0.attn.hook_pattern' holds no vector per token"),
        ({"context_size": 65}, "context_size 65 is more than the model takes: 64 tokens"),
        ({"model": "smollm2-135"}, "did you mean 'smollm2-135m'"),
        ({"data": "offlin"}, "unknown data 'offlin'; did you mean 'offline'?"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_one_line(world, tmp_path, change, message):
    with pytest.raises(BadInput) as caught:
        train(write_config(world, tmp_path / "c.yaml", **change), tmp_path / "out")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_out_that_is_a_file_is_told_before_training(world, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(BadInput, match=r"cannot write to .*out: File exists"):
        train(write_config(world, tmp_path / "c.yaml"), tmp_path / "out")


def test_an_sae_that_diverged_is_named_and_the_others_are_kept(world, tmp_path):
    config = read_config(write_config(world, tmp_path / "c.yaml"))
    saes = {tmp_path / recipe.name: make_sae(config, recipe, D_IN) for recipe in config.saes}
    broken, large, *_ = saes.values()
    broken.b_dec.data[0] = float("nan")
    large.W_enc.data[0, 0] = 1e9
    with pytest.raises(BadInput) as caught:
        saving.save_all(saes, "float16")
    assert "batchtopk-mse-s4: b_dec holds NaN or infinite values: training diverged, lower 'lr'" in str(caught.value)
    assert "batchtopk-l2-s4: W_enc holds values too large for float16; use `save_dtype: float32`" in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["batchtopk-snap-s4", "m"]
    assert SAE.load_from_disk(tmp_path / "m").W_dec.isfinite().all()
