"""A small world for TPP and SCR, and SAEBench run on it for real, in a process of its own.

    python tests/plain_scr_tpp.py FOLDER      # what `plain` starts: reads FOLDER/job.json, writes FOLDER/results.json

The other process uses nothing of HedgeBench but the import repairs and the loading of the tiny model: it is handed the SAEs, the texts, and
the activations and probes for its cache.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from dataclasses import asdict
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

SETTINGS: dict[str, Any] = {"train_size": 96, "test_size": 64, "context_size": 10, "llm_batch_size": 16}
THEIRS = {"train_size": "train_set_size", "test_size": "test_set_size", "context_size": "context_length"}
"""SAEBench's names for some of them."""
SETTINGS |= {"probe_epochs": 6, "probe_lr": 0.02, "n_values": (2, 5, 10, 20)}
SEED = 3
_FOLDER = tempfile.TemporaryDirectory(prefix="hedgebench-test-")


# --- the world -----------------------------------------------------------------------------------------------------------------


@cache
def model() -> Any:
    """A random model of two layers that reads 16 tokens, and pads on the right."""
    from tiny_models import save_tiny

    from hedgebench.models import load_model

    return load_model(str(save_tiny(Path(_FOLDER.name) / "model", max_position_embeddings=16)))


def sae(kind: str = "plain", d_sae: int = 48, seed: int = 0) -> Any:
    """`plain`: reads what it writes. `loud`: says something of the zero vector, so of padding, too. `silent`: never fires."""
    from sae_lens import SAE

    from hedgebench.loaders import prepare

    metadata = {"hook_name": "blocks.0.hook_resid_post", "model_name": "tiny"}
    made = SAE.from_dict({"architecture": "jumprelu", "d_in": 32, "d_sae": d_sae, "metadata": metadata})
    rows = torch.randn(d_sae, 32, generator=torch.Generator().manual_seed(seed))
    bias = {"plain": -0.3, "loud": 0.5, "silent": -1e6}[kind]
    threshold = torch.full((d_sae,), 0.1)
    weights = {"W_dec": rows, "W_enc": rows.T / 6, "b_dec": torch.zeros(32), "b_enc": torch.full((d_sae,), bias)}
    made.load_state_dict({**weights, "threshold": threshold})
    return prepare(made)


@cache
def _rows() -> tuple[list[tuple[str, str, str]], ...]:
    """Two sets of (text, label, second label): labels and second labels each have words of their own; texts are of many lengths."""
    draw = random.Random(0)

    def text(*own: int) -> str:
        words = [
            draw.choice(own) if draw.random() < 0.6 else draw.randrange(3, 40) for _ in range(draw.randrange(4, 13))
        ]
        return " ".join(f"w{word}" for word in words)

    labels, seconds = {"a": 3, "b": 7, "c": 11}, {"up": 21, "down": 27}
    return tuple(
        [
            (text(first, first + 1, first + 2, then), label, second)
            for label, first in labels.items()
            for second, then in seconds.items()
            for _ in range(260)
        ]
        for _ in range(2)
    )


def topics() -> Any:
    """A set with three classes."""
    from contexts import labels

    return labels([row[:2] for row in _rows()[0]], name="topics")


def reviews() -> Any:
    """A set with three classes and a second label."""
    from contexts import labels

    pairs = ("a", "b"), ("c", "b")
    return labels(_rows()[1], name="made_up/amazon_reviews", pairs=pairs, second_values=("up", "down"))


# --- SAEBench on it ------------------------------------------------------------------------------------------------------------


@cache
def plain() -> SimpleNamespace:
    """SAEBench's numbers for the SAEs `plain` and `loud`: `.tpp[kind]`, `.scr[kind]`, both with our activations and probes as its cache;
    `.cold_tpp` with none; `.cold_probes`, the weights it then trains for the first set.
    """
    from safetensors.torch import save_file

    folder = Path(_FOLDER.name)
    job: dict[str, Any] = {
        "settings": {**{THEIRS.get(name, name): value for name, value in SETTINGS.items()}, "random_seed": SEED},
        "tpp": [],
        "scr": [],
    }
    model()
    for kind in ("plain", "loud"):
        sae(kind).save_model(folder / kind)
    for eval_name in ("tpp", "scr"):
        for i, found in enumerate(_concepts(eval_name)):
            file = f"{eval_name}{i}.safetensors"
            save_file(cached(found), folder / file)
            task = found.task
            about = {"train": task.train, "test": task.test, "concepts": list(task.concepts), "name": task.name}
            job[eval_name].append({**about, "file": file, "accuracies": dict(found.upstream_accuracies)})
    (folder / "job.json").write_text(json.dumps(job))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, __file__, str(folder)], env=environment, capture_output=True, text=True, cwd=folder
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return SimpleNamespace(**json.loads((folder / "results.json").read_text()))


def _concepts(eval_name: str) -> list[Any]:
    from contexts import make_context
    from hedgebench_evals.saebench.concept_probes import concepts
    from hedgebench_evals.saebench.concept_probes_config import ProbeConfig
    from hedgebench_evals.saebench.scr_texts import scr_tasks
    from hedgebench_evals.saebench.tpp import tpp_tasks

    sets = [topics(), reviews()] if eval_name == "tpp" else [reviews()]
    ctx, cfg = make_context(sae(), model(), seed=SEED, labelled=sets), ProbeConfig(**SETTINGS)
    return [concepts(ctx, cfg, task) for task in (tpp_tasks if eval_name == "tpp" else scr_tasks)(ctx, cfg)]


def cached(found: Any, context_size: int = SETTINGS["context_size"]) -> dict[str, torch.Tensor]:
    """The activations and probes of a task as SAEBench holds them: zero vectors where there is no ordinary token."""
    tensors = {}
    for part_name in ("train", "test"):
        part = getattr(found, part_name)
        padded = torch.zeros(len(part.texts), context_size, part.means.shape[1])
        counts = torch.cat([acts.counts for acts in part.acts])
        text = torch.repeat_interleave(torch.arange(len(counts)), counts)
        padded[text, torch.cat([acts.position for acts in part.acts])] = torch.cat([acts.acts for acts in part.acts])
        tensors |= {f"{part_name}:{group}": padded[rows] for group, rows in part.rows.items()}
    for concept, probe in found.upstream_probes.items():
        tensors |= {f"{name}:{concept}": value for name, value in probe.state_dict().items()}
    return tensors


def place(
    folder: Path,
    task: str,
    tensors: dict[str, torch.Tensor],
    groups: dict[str, list[str]],
    accuracies: dict[str, float],
) -> None:
    """Write a task's activations and probes, as of `cached`, as the cache that SAEBench reads.

    Args:
        folder: Its `artifacts_folder`.
        task: The task's name.
        tensors: See `cached`.
        groups: The names of its groups of texts (`train`, `test`), and of the probes (`concepts`), in their order.
        accuracies: Of the probes, before ablation.
    """
    import pickle

    from sae_bench.evals.sparse_probing.probe_training import Probe

    folder.mkdir(parents=True, exist_ok=True)
    name = task.replace("/", "_").replace("_scr_", "_")
    torch.save({part: {g: tensors[f"{part}:{g}"] for g in groups[part]} for part in ("train", "test")}, folder / f"{name}_activations.pt")  # fmt: skip
    probes = {}
    for concept in groups["concepts"]:
        state = {key: tensors[f"{key}:{concept}"] for key in ("net.weight", "net.bias")}
        probes[concept] = Probe(state["net.weight"].shape[1], state["net.weight"].dtype)
        probes[concept].load_state_dict(state)
    with (folder / f"{name}_probes.pkl").open("wb") as file:
        pickle.dump({"llm_probes": probes, "llm_test_accuracies": accuracies}, file)


def main(folder: Path) -> None:
    """The other process."""
    from hedgebench.compat import prepare
    from hedgebench.models import load_model

    prepare()
    import pickle

    from sae_bench.evals.scr_and_tpp import dataset_creation
    from sae_bench.evals.scr_and_tpp import main as upstream
    from sae_bench.evals.scr_and_tpp.eval_config import ScrAndTppEvalConfig
    from sae_bench.sae_bench_utils import dataset_info, general_utils
    from sae_lens import SAE
    from safetensors.torch import load_file

    job = json.loads((folder / "job.json").read_text())
    language_model = load_model(str(folder / "model"))

    def run(kind: str, eval_name: str, where: Path) -> Any:
        """SAEBench's own entry for one SAE."""
        one = SAE.load_from_disk(folder / kind)
        general_utils._standardize_sae_cfg(one.cfg)
        sets = list(dict.fromkeys(task["name"].split("_scr_")[0] for task in job[eval_name]))
        pairs = {"made_up/amazon_reviews": [("a", "b"), ("c", "b")]}
        config = ScrAndTppEvalConfig(
            **job["settings"], dataset_names=sets, perform_scr=eval_name == "scr", column1_vals_lookup=pairs
        )
        return upstream.run_eval_single_sae(config, one, language_model, "cpu", str(where))

    def texts(name: str, *_: Any) -> Any:
        """What it would read from the hub."""
        task = next(t for t in job["tpp"] if t["name"] == name)
        return dict(task["train"]), dict(task["test"])

    for task in job["tpp"]:
        dataset_info.chosen_classes_per_dataset[task["name"]] = task["concepts"]
        upstream.COLUMN2_VALS_LOOKUP[task["name"]] = ("up", "down")
    for task in (*job["tpp"], *job["scr"]):
        place(folder / "warm", task["name"], load_file(folder / task["file"]), task, task["accuracies"])
    results: dict[str, Any] = {
        name: {kind: run(kind, name, folder / "warm") for kind in ("plain", "loud")} for name in ("tpp", "scr")
    }
    dataset_creation.get_train_test_data = texts
    results["cold_tpp"] = run("plain", "tpp", folder / "cold")
    with (folder / "cold" / "topics_probes.pkl").open("rb") as own:
        probes = pickle.load(own)["llm_probes"]
    results["cold_probes"] = {c: probe.net.weight[0].tolist() for c, probe in probes.items()}
    (folder / "results.json").write_text(json.dumps(results))


def rows(scores: Any) -> dict[str, float]:
    """Scores by a readable key: metric, parameters and slice."""
    found = {}
    for s in scores:
        row = asdict(s)
        params = ",".join(f"{k}={v}" for k, v in sorted(row["params"].items()))
        key = " ".join(filter(None, (s.metric, params, "" if s.slice_by == "all" else str(s.slice_value))))
        assert key not in found, key
        found[key] = float(s.value)
    return found


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main(Path(sys.argv[1]))
