"""Autointerp against SAEBench's own run, and against latents whose meaning is known, with a judge that is a local server."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import os
import random
import re
import subprocess
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from contexts import make_context
from hedgebench_evals.saebench.autointerp import SAEBenchAutoInterp
from hedgebench_evals.saebench.judge import JudgeError, JudgeStopped
from judge_stand_in import (
    CONTEXT,
    StandIn,
    WordTokens,
    by_hash,
    by_keyword,
    hangs_up,
    is_scoring,
    says,
    status,
    word_model,
    word_sae,
)
from tiny_models import save_tiny

from hedgebench import evaluate
from hedgebench.eval import ActivationBatch, EvalContext
from hedgebench.loaders import load_sae
from hedgebench.models import load_model
from hedgebench.records import Outcome, build_record, score_row
from hedgebench.saebench_output import read_scores
from hedgebench.types import BadInput, CannotMeasure, Run, Score

ROWS, BATCH = 96, 8
SIZES = {"total_tokens": ROWS * CONTEXT, "batch_size": BATCH, "context_size": CONTEXT, "buffer": 3}
COMMON = (3, 4, 5, 8, 12, 20, 30)
RARE, NEVER = 38, 39
KEY = "hb-secret-0123456789"


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEDGEBENCH_JUDGE_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def model() -> Any:
    return word_model()


def config(server: StandIn, **settings: Any) -> Any:
    given = {**SIZES, "base_url": server.url, "grammar": "none", "backoff": 0.001, "timeout": 20.0, **settings}
    return SAEBenchAutoInterp.Config(**given)


def context(
    model: Any, words: tuple[int, ...] = (*COMMON, RARE, NEVER), seed: int = 0, cache: Path | None = None
) -> EvalContext:
    ctx = make_context(word_sae(list(words)), model, seed=seed, tokens=WordTokens(ROWS))
    ctx.cache = cache
    return ctx


Rows = dict[tuple[str, str], Score]


def measure(ctx: EvalContext, server: StandIn, **settings: Any) -> Rows:
    found = list(SAEBenchAutoInterp().run(ctx, config(server, **settings)))
    rows = {(s.metric, s.slice_value): s for s in found}
    assert len(rows) == len(found)
    assert all(score_row(SAEBenchAutoInterp, s) for s in found)
    return rows


def values(rows: Rows) -> dict[tuple[str, str], float]:
    return {key: score.value for key, score in rows.items()}


def latents(rows: Rows, metric: str = "autointerp_score") -> dict[str, float]:
    return {latent: s.value for (name, latent), s in rows.items() if name == metric and latent != "all"}


# --- equality with SAEBench -----------------------------------------------------------------------------------------------------

PLAIN_RUN = """
import json, sys
from hedgebench.compat import prepare
prepare()
import torch
from sae_bench.evals.autointerp.eval_config import AutoInterpEvalConfig
from sae_bench.evals.autointerp.main import run_eval_single_sae
from sae_bench.sae_bench_utils.general_utils import _standardize_sae_cfg
from hedgebench.loaders import load_sae
from hedgebench.models import load_model

model_folder, sae_folder, artifacts, *configs = sys.argv[1:]
model = load_model(model_folder)
for config in configs:
    sae = load_sae(sae_folder)
    _standardize_sae_cfg(sae.cfg)
    found = run_eval_single_sae(AutoInterpEvalConfig(**json.loads(config)), sae, model, "cpu", artifacts, "key")
    scores = torch.tensor([one["score"] for one in found.values()])
    print("FOUND", json.dumps({"latents": found, "score": scores.mean().item(), "deviation": scores.std().item()}))
"""


class RandomWords:
    """A token source of random words for the model of `tiny_models`."""

    special_ids = frozenset({1, 2})
    text = SimpleNamespace(name="words")

    def __init__(self) -> None:
        self.rows = torch.randint(3, 40, (ROWS, CONTEXT), generator=torch.Generator().manual_seed(1))
        self.rows[:, 0] = 1
        self.rows[::3, 11] = 2

    def batches(self, n_batches: int, batch_size: int, context_size: int) -> Iterator[torch.Tensor]:
        yield from self.rows[: n_batches * batch_size, :context_size].split(batch_size)


def test_every_latent_gets_the_explanation_predictions_and_score_of_a_plain_run_of_saebench(
    tmp_path: Path, save_sae: Callable[..., Path]
) -> None:
    folder, artifacts = save_tiny(tmp_path / "model"), tmp_path / "artifacts"
    sae = save_sae(tmp_path / "sae", seed=2, d_in=32, d_sae=24, model_name=str(folder))
    artifacts.mkdir()
    torch.save(RandomWords().rows, artifacts / f"tiny_{ROWS * CONTEXT}_tokens_{CONTEXT}_ctx.pt")
    model, ours, configs = load_model(str(folder)), [], []
    with StandIn(by_hash) as server:
        for own in (None, (5, 2, 9)):
            ctx = make_context(load_sae(str(sae)), model, seed=4, tokens=RandomWords())
            rows = measure(ctx, server, n_latents=10, override_latents=own, logs=True)
            ours.append((ctx.details["eval_result_unstructured"], rows))
            configs.append(json.dumps({**ctx.details["eval_config"], "model_name": "tiny"}))
        asked = server.prompts()
        server.chats.clear()
        done = subprocess.run(
            [sys.executable, "-c", PLAIN_RUN, str(folder), str(sae), str(artifacts), *configs],
            env={**os.environ, "OPENAI_BASE_URL": server.url},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert server.prompts() == asked
    plain = [json.loads(line.removeprefix("FOUND")) for line in done.stdout.splitlines() if line.startswith("FOUND")]
    for (results, rows), theirs in zip(ours, plain, strict=True):
        assert len(results) == len(theirs["latents"]) >= 3
        for latent, expected in theirs["latents"].items():
            found = {name: value for name, value in results[latent].items() if name != "active seqs"}
            found["logs"], expected["logs"] = (_without_sample(r["logs"]) for r in (found, expected))
            assert found == expected
        assert rows["upstream_autointerp_score", "all"].value == pytest.approx(theirs["score"], abs=1e-7)
        assert rows["upstream_autointerp_std_dev", "all"].value == pytest.approx(theirs["deviation"], abs=1e-7)


def _without_sample(logs: str) -> str:
    """What a log says, but for its tables' lines and the sample answer, which SAEBench draws in the order in which answers arrive."""
    return re.sub(r'look like "[\d, ]+"', "", " ".join(re.sub(r"[│─┌┐└┘├┤┼┬┴]+", " ", logs).split()))


def test_the_sample_answer_in_a_prompt_does_not_depend_on_the_order_in_which_answers_arrive(model: Any) -> None:
    asked = []
    for concurrency in (1, 8):
        with StandIn(by_keyword) as server:
            measure(context(model), server, concurrency=concurrency)
            asked.append(Counter(m["content"] for body in server.chats for m in body["messages"]))
    assert asked[0] == asked[1]
    samples = {re.search(r'look like "(.*?)"', text)[1] for text in asked[0] if "look like" in text}  # type: ignore[index]
    assert len(samples) > 3


# --- latents whose meaning is known ---------------------------------------------------------------------------------------------


def test_a_judge_that_finds_the_word_of_every_latent_scores_one_and_saebench_marks_it_down(model: Any) -> None:
    with StandIn(by_keyword) as server:
        rows = measure(context(model), server)
    assert set(latents(rows)) == {str(i) for i in range(len(COMMON))}
    assert set(latents(rows).values()) == {1.0}
    assert rows["autointerp_score", "all"].value == 1
    theirs = latents(rows, "upstream_autointerp_score")
    assert theirs["0"] < 0.7 and theirs["0"] < theirs["5"]  # w03 is in most texts, w20 in few
    assert rows["upstream_autointerp_score", "all"].value < 0.95


def test_an_example_is_active_exactly_where_the_latent_fires_in_it(model: Any) -> None:
    ctx = context(model)
    with StandIn(by_keyword) as server:
        measure(ctx, server)
        texts = {}
        for body in filter(is_scoring, server.chats):
            text = body["messages"][1]["content"]
            texts[re.search(r"fires on (w\d+)", text)[1]] = re.findall(r"^\d+\. (.*)$", text, re.MULTILINE)  # type: ignore[index]
    results = ctx.details["eval_result_unstructured"]
    for latent, word in enumerate(COMMON):
        holds = [i for i, text in enumerate(texts[f"w{word:02d}"], start=1) if f"w{word:02d}" in text]
        assert results[str(latent)]["active seqs"] == holds
        assert set(results[str(latent)]["correct seqs"]) <= set(holds)


def test_the_chance_level_is_what_always_answering_none_scores(model: Any) -> None:
    with StandIn(lambda body: "None" if is_scoring(body) else by_keyword(body)) as server:
        rows = measure(context(model), server)
    for metric in ("autointerp_score", "upstream_autointerp_score"):
        for latent in ("all", *latents(rows)):
            score = rows[metric, latent]
            assert score.value == pytest.approx(score.chance)
    assert rows["autointerp_score", "0"].chance < 0.4
    assert rows["upstream_autointerp_score", "0"].chance == pytest.approx(10 / 14)


def test_a_judge_that_is_always_wrong_scores_nothing(model: Any) -> None:
    def wrong(body: dict[str, Any]) -> str:
        said = by_keyword(body)
        if not is_scoring(body):
            return said
        return ", ".join(str(i) for i in range(1, 15) if str(i) not in said.split(", ")) or "None"

    with StandIn(wrong) as server:
        assert measure(context(model), server)["autointerp_score", "all"].value == 0


def test_the_standard_error_and_deviation_are_those_over_latents(model: Any) -> None:
    with StandIn(by_hash) as server:
        rows = measure(context(model), server)
    found = np.array(list(latents(rows).values()))
    assert rows["autointerp_score", "all"].value == pytest.approx(found.mean())
    assert rows["autointerp_std_dev", "all"].value == pytest.approx(found.std(ddof=1))
    assert rows["autointerp_score", "all"].stderr == pytest.approx(found.std(ddof=1) / len(found) ** 0.5)
    assert rows["autointerp_score", "all"].n == rows["n_latents", "all"].value == len(found) == len(COMMON)


def test_one_latent_has_a_score_and_no_deviation(model: Any) -> None:
    ctx = context(model)
    with StandIn(by_keyword) as server:
        rows = measure(ctx, server, override_latents=[2])
    assert rows["autointerp_score", "all"].stderr is None
    assert set(ctx.missing) == {"autointerp_std_dev", "upstream_autointerp_std_dev"}
    assert not any(metric in ctx.missing for metric, _ in rows)


def test_dead_latents_and_those_that_fire_too_rarely_are_counted(model: Any) -> None:
    ctx = context(model)
    with StandIn(by_keyword) as server:
        rows = measure(ctx, server)
        assert rows["dead_share", "all"].value == pytest.approx(2 / 9)
        assert rows["no_examples_share", "all"].value == 0
        rows = measure(ctx, server, dead_latent_threshold=0)
    assert rows["dead_share", "all"].value == pytest.approx(1 / 9)
    assert rows["no_examples_share", "all"].value == pytest.approx(1 / 8)
    (row,) = [r for r in ctx.details["eval_result_details"] if r.get("status") == "no examples"]
    assert row["latent"] == 7 and "too few" in row["reason"]


def test_an_sae_without_a_living_latent_cannot_be_measured(model: Any) -> None:
    with StandIn(by_keyword) as server:
        with pytest.raises(CannotMeasure, match="no latent fires at more than 15"):
            measure(context(model, words=(NEVER, RARE)), server)
        with pytest.raises(CannotMeasure, match="none of the 1 latents drawn gives examples"):
            measure(context(model, words=(NEVER, RARE)), server, override_latents=[0])
        assert not server.chats


def test_an_sae_that_is_not_finite_fails(model: Any) -> None:
    ctx = context(model)
    ctx.sae.W_enc.data[3, 0] = float("nan")
    with StandIn(by_keyword) as server, pytest.raises(FloatingPointError):
        measure(ctx, server)


def test_too_little_text_for_any_example_says_so(model: Any) -> None:
    with StandIn(by_keyword) as server, pytest.raises(CannotMeasure, match="too little text"):
        measure(context(model), server, total_tokens=CONTEXT, batch_size=1, override_latents=[0])


@pytest.mark.parametrize("hook", ["blocks.0.attn.hook_z", "blocks.1.hook_mlp_out"])
def test_other_hook_points_work_too(tmp_path: Path, save_sae: Callable[..., Path], hook: str) -> None:
    folder = save_tiny(tmp_path / "model")
    sae = load_sae(str(save_sae(tmp_path / "sae", d_in=32, d_sae=24, hook=hook, model_name=str(folder))))
    with StandIn(by_hash) as server:
        rows = measure(make_context(sae, load_model(str(folder)), tokens=RandomWords()), server, n_latents=4)
    assert rows["n_latents", "all"].value > 0


# --- what goes wrong --------------------------------------------------------------------------------------------------------------


def about(word: str, fault: Any, *, scoring: bool = True) -> Callable[[int, dict[str, Any]], Any]:
    """The fault befalls what is asked about one word."""

    def choose(_: int, body: dict[str, Any]) -> Any:
        said = by_keyword({**body}) if not is_scoring(body) else body["messages"][1]["content"]
        hit = f"fires on {word}." in said if is_scoring(body) else word in said
        return fault if hit and is_scoring(body) == scoring else None

    return choose


@pytest.mark.parametrize("scoring", [False, True], ids=["its explanation", "its predictions"])
def test_a_latent_that_gets_no_answer_loses_nothing_but_itself(model: Any, scoring: bool) -> None:
    with StandIn(by_keyword) as server:
        whole = measure(context(model), server)
    ctx = context(model)
    with StandIn(by_keyword, about("w08", status(500, "ill"), scoring=scoring)) as server:
        rows = measure(ctx, server, retries=1)
    others = {latent: score for latent, score in latents(whole).items() if latent != "3"}
    assert latents(rows) == others
    assert rows["failed_share", "all"].value == pytest.approx(1 / len(COMMON))
    (row,) = [r for r in ctx.details["eval_result_details"] if r.get("status") == "failed"]
    assert row["latent"] == 3 and "ill" in row["reason"]
    assert row["explanation"] == ("w08" if scoring else None)


def test_the_prompts_about_other_latents_are_the_same_when_one_fails(model: Any) -> None:
    asked = []
    for fault in (lambda n, body: None, about("w08", status(400), scoring=False)):
        with StandIn(by_keyword, fault) as server:
            measure(context(model), server)
            asked.append({json.dumps(body["messages"]) for body in server.chats})
    assert len(asked[0] - asked[1]) == 1 and asked[1] < asked[0]


@pytest.mark.parametrize(
    ("said", "how"),
    [
        (says("I think it is the third one!"), "unparsed"),
        (says("1, 2, 3 are active"), "unparsed"),
        (says("①, ②"), "unparsed"),  # digits to SAEBench, numbers to nobody
        (says("1, 2, 3, 1", "length"), "cut off"),
    ],
)
def test_an_answer_that_cannot_be_read_is_counted_and_listed(model: Any, said: Any, how: str) -> None:
    ctx = context(model)
    with StandIn(by_keyword, about("w08", said)) as server:
        rows = measure(ctx, server)
    assert set(latents(rows)) == {"0", "1", "2", "4", "5", "6"}
    assert rows["unparsed_share", "all"].value == pytest.approx(1 / len(COMMON))
    assert rows["unparsed_share", "all"].n == len(COMMON)
    assert rows["failed_share", "all"].value == 0
    (row,) = [r for r in ctx.details["eval_result_details"] if "status" in r and "latent" in r]
    assert (row["latent"], row["status"], row["explanation"]) == (3, how, "w08") and row["answer"]
    assert ("3" in latents(rows, "upstream_autointerp_score")) == (
        how == "cut off"
    )  # SAEBench reads it as if it were whole


def test_no_readable_answer_at_all_is_an_error_with_the_last_reason_and_not_a_number(model: Any) -> None:
    none, unread = "no answer about 7 of 7 latents, the last because: .*ill", "about 7 latents can be read.*'no idea'"
    with StandIn(by_keyword, lambda n, body: status(500, "ill")) as server, pytest.raises(JudgeError, match=none):
        measure(context(model), server, retries=0)
    with StandIn(lambda body: "no idea") as server, pytest.raises(JudgeError, match=unread):
        measure(context(model), server)


def test_a_judge_that_refuses_us_fails_the_run_after_one_question(model: Any) -> None:
    with StandIn(by_keyword, lambda n, body: status(401, "bad key")) as server:
        with pytest.raises(JudgeStopped, match=r"refuses.*bad key"):
            measure(context(model), server, concurrency=1)
        assert len(server.chats) == 1


def test_a_judge_that_is_not_there_is_told_before_the_model_runs(model: Any) -> None:
    with StandIn(by_keyword) as server:
        gone = server.url
    ctx = context(model)
    ctx.activation_source = None  # not touched
    cfg = SAEBenchAutoInterp.Config(**SIZES, base_url=gone, retries=0, backoff=0.001)
    with pytest.raises(JudgeStopped, match="does not answer"):
        list(SAEBenchAutoInterp().run(ctx, cfg))


def test_a_missing_key_is_told_before_the_model_runs(model: Any) -> None:
    ctx = context(model)
    ctx.activation_source = None
    with pytest.raises(BadInput, match="needs a key"):
        list(SAEBenchAutoInterp().run(ctx, SAEBenchAutoInterp.Config(**SIZES)))


# --- what is asked twice, and what it costs ---------------------------------------------------------------------------------------


def test_a_run_that_is_repeated_asks_nothing_twice_and_gives_the_same_numbers(model: Any, tmp_path: Path) -> None:
    with StandIn(by_hash) as server:
        first = measure(context(model, cache=tmp_path), server)
        asked = len(server.chats)
        again = measure(context(model, cache=tmp_path), server)
        assert asked == len(server.chats) == 2 * len(COMMON)
    assert values(first) == values(again)


def test_a_run_that_was_broken_off_goes_on_where_it_was(model: Any, tmp_path: Path) -> None:
    with StandIn(by_hash) as server:
        whole = measure(context(model), server)
    with StandIn(by_hash, lambda n, body: None if n <= 5 else hangs_up) as server:
        with pytest.raises(JudgeError, match=r"no answer about [567] of 7 latents"):
            measure(context(model, cache=tmp_path), server, retries=0, concurrency=7)
        answered = len(list(tmp_path.rglob("*.json")))
        assert answered == 5
        server.fault = lambda n, body: None
        server.chats.clear()
        resumed = measure(context(model, cache=tmp_path), server)
        assert len(server.chats) == 2 * len(COMMON) - answered
    assert values(resumed) == values(whole)


def test_the_estimate_is_told_before_the_first_question_and_stands_in_the_record(
    model: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[bool] = []
    ctx = context(model, cache=tmp_path)
    with StandIn(by_keyword, lambda n, body: told.append("14 questions to" in caplog.text)) as server:
        measure(ctx, server, price_in=0.15, price_out=0.6)
        assert told == [True] * 14
        bill = ctx.details["eval_result_details"][0]
        assert bill["estimated"]["requests"] == bill["used"]["requests"] == 14
        longest = sum(len(t) * n for role in ("user", "system") for t, n in server.prompts(role).items()) / 4
        assert longest < bill["estimated"]["questions"] < 3 * longest
        assert bill["estimated"]["answers"] == 7 * (30 + 33)
        assert (bill["used"]["questions"], bill["used"]["answers"]) == (1400, 140)
        assert bill["used"]["dollars"] == pytest.approx((1400 * 0.15 + 140 * 0.6) / 1e6)
        measure(ctx, server)
    assert ctx.details["eval_result_details"][0]["estimated"] == {
        "requests": 0,
        "questions": 0,
        "answers": 0,
        "dollars": None,
    }


def test_a_run_above_the_budget_does_not_start(model: Any) -> None:
    with StandIn(by_keyword) as server:
        with pytest.raises(BadInput, match=r"14 questions to .* \+ .* tokens \(\$.*above the budget of \$0.0001"):
            measure(context(model), server, price_in=1.0, price_out=1.0, budget=0.0001)
        assert not server.chats
        measure(context(model), server, price_in=1.0, price_out=1.0, budget=1.0)


def test_a_run_stops_asking_when_the_budget_is_spent_and_keeps_what_it_has(model: Any, tmp_path: Path) -> None:
    def dear(n: int, body: dict[str, Any]) -> Any:  # more than any estimate
        text = by_keyword(body)
        usage = {"prompt_tokens": 100_000, "completion_tokens": 1}
        reply = {"choices": [{"message": {"content": text}}], "usage": usage}
        return lambda handler: handler.send(200, reply)

    with StandIn(by_keyword, dear) as server:
        with pytest.raises(JudgeStopped, match=r"the budget of \$0.25 is spent: 3000.. \+ . tokens"):
            measure(context(model, cache=tmp_path), server, price_in=1.0, price_out=1.0, budget=0.25, concurrency=1)
        assert len(server.chats) == len(list(tmp_path.rglob("*.json"))) == 3


# --- sharing, seeds, leaving things alone -----------------------------------------------------------------------------------------


def test_the_model_runs_once_for_all_saes_and_is_not_asked_for_the_whole_text_at_once(
    model: Any, tmp_path: Path
) -> None:
    passes = []
    model.add_hook("blocks.0.hook_resid_pre", lambda act, hook: passes.append(len(act)), is_permanent=True)
    try:
        with StandIn(by_keyword) as server:
            for words in (COMMON, COMMON[::-1]):
                ctx = context(model, words=words)
                ctx.activation_source.folder = tmp_path
                measure(ctx, server)
    finally:
        model.reset_hooks(including_permanent=True)
    assert passes == [BATCH] * (ROWS // BATCH)


def test_one_batch_of_the_models_activations_is_held_at_a_time(model: Any) -> None:
    ctx = context(model)
    real, alive, most = ctx.activation_source.batches, weakref.WeakSet(), []

    def counted(*args: Any, **kwargs: Any) -> Iterator[ActivationBatch]:
        for tokens, acts, mask in real(*args, **kwargs):
            alive.add(storage := acts.clone())
            most.append(len(alive))
            del acts
            yield ActivationBatch(tokens, storage, mask)
            del storage

    ctx.activation_source.batches = counted
    with StandIn(by_keyword) as server:
        measure(ctx, server)
    assert len(most) == 2 * ROWS // BATCH and max(most) <= 2  # the one before goes when the next one comes


def test_latents_taken_in_several_turns_give_the_same_numbers(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import hedgebench_evals.saebench.autointerp_examples as examples

    with StandIn(by_hash) as server:
        at_once = measure(context(model), server)
        monkeypatch.setattr(examples, "MEMORY", 2 * 2 * ROWS * CONTEXT)
        in_turns = measure(context(model), server)
    assert values(at_once) == values(in_turns)


def test_two_seeds_ask_about_other_latents_and_examples(model: Any) -> None:
    asked, drawn = [], []
    for seed in (0, 1, 0):
        ctx = context(model, seed=seed)
        with StandIn(by_hash) as server:
            measure(ctx, server, n_latents=3)
            asked.append(server.prompts())
        drawn.append(set(ctx.details["eval_result_unstructured"]))
        assert ctx.details["eval_config"]["random_seed"] == seed
    assert asked[0] == asked[2] != asked[1]
    assert drawn[0] == drawn[2] != drawn[1]


def test_an_eval_in_a_notebook_works_although_an_event_loop_is_running(model: Any) -> None:
    async def cell() -> Rows:
        return measure(context(model), server)

    with StandIn(by_keyword) as server:
        assert asyncio.run(cell())["autointerp_score", "all"].value == 1


def test_everything_is_left_as_it_was(model: Any, tmp_path: Path) -> None:
    ctx = context(model, cache=tmp_path / "cache")
    sae, weights = copy.deepcopy(ctx.sae.state_dict()), copy.deepcopy(model.state_dict())
    random.seed(1)
    torch.manual_seed(1)
    states = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    place, environment, settings = Path.cwd(), dict(os.environ), json.dumps(ctx.sae.cfg.to_dict(), default=str)
    with torch.enable_grad(), StandIn(by_keyword) as server:
        measure(ctx, server)
        assert torch.is_grad_enabled()
    assert random.getstate() == states[0] and torch.equal(torch.get_rng_state(), states[1])
    assert (np.random.get_state()[1] == states[2]).all()  # noqa: NPY002
    assert (Path.cwd(), dict(os.environ)) == (place, environment)
    assert json.dumps(ctx.sae.cfg.to_dict(), default=str) == settings
    assert all(torch.equal(v, sae[k]) for k, v in ctx.sae.state_dict().items())
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())


def test_answers_are_held_to_a_grammar_that_only_whole_answers_fit(model: Any) -> None:
    from hedgebench_evals.saebench.autointerp_judging import numbers_grammar

    with StandIn(by_keyword, owned_by="llamacpp") as server:
        measure(context(model), server, grammar="auto")
        grammars = {is_scoring(body): body["grammar"] for body in server.chats}
    assert grammars == {False: r"root ::= [^\n]+", True: numbers_grammar(14)}
    assert numbers_grammar(3) == (
        'root ::= "None" | n1\nn1 ::= "1" ("," n2)? | n2\nn2 ::= "2" ("," n3)? | n3\nn3 ::= "3"'
    )


# --- records ----------------------------------------------------------------------------------------------------------------------


def record(ctx: EvalContext, rows: Rows) -> dict[str, Any]:
    run = Run("id", ctx.checkpoint, "saebench_autointerp", 1, {}, ctx.seed, "words", "r", "d", None, "float32")
    scores = tuple(score_row(SAEBenchAutoInterp, s) for s in rows.values())
    done = Outcome("ok", scores=scores, details=ctx.details, sae_config={"d_sae": 9})
    return json.loads(json.dumps(build_record(run, done), allow_nan=False))


@pytest.mark.parametrize("own", [None, [1, 4]], ids=["drawn latents", "named latents"])
def test_saebench_reads_the_record_as_its_own_output_with_the_numbers_of_the_rows(model: Any, own: Any) -> None:
    from pydantic import TypeAdapter
    from sae_bench.evals.autointerp.eval_output import AutoInterpEvalOutput

    ctx = context(model)
    with StandIn(by_hash) as server:
        rows = measure(ctx, server, override_latents=own)
    whole = record(ctx, rows)
    output = TypeAdapter(AutoInterpEvalOutput).validate_json(json.dumps(whole))
    theirs = output.eval_result_metrics.autointerp
    assert theirs.autointerp_score == rows["upstream_autointerp_score", "all"].value
    assert theirs.autointerp_std_dev == rows["upstream_autointerp_std_dev", "all"].value
    assert output.eval_config.override_latents == own
    assert set(output.eval_result_unstructured) == set(latents(rows))
    read = {(s.metric, s.slice_value): s.value for s in read_scores(whole)}
    assert read == {key: v for key, v in values(rows).items() if key[0].startswith("upstream_")}


def test_a_deviation_over_one_latent_is_read_as_none(model: Any) -> None:
    ctx = context(model)
    with StandIn(by_hash) as server:
        rows = measure(ctx, server, override_latents=[1])
    assert "upstream_autointerp_std_dev" not in {s.metric for s in read_scores(record(ctx, rows))}


def test_a_key_is_in_no_record_no_log_and_no_file(
    tmp_path: Path, save_sae: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("HEDGEBENCH_JUDGE_API_KEY", KEY)
    monkeypatch.setenv("HEDGEBENCH_CACHE", str(tmp_path / "cache"))
    folder, words = save_tiny(tmp_path / "model"), random.Random(0)
    texts = [" ".join(f"w{words.randint(3, 39)}" for _ in range(60)) for _ in range(400)]
    (tmp_path / "texts.jsonl").write_text("\n".join(json.dumps({"text": t}) for t in texts))
    sae = save_sae(tmp_path / "sae", d_in=32, d_sae=24, model_name=str(folder))
    leak = lambda n, body: status(500, f"I know {KEY}") if n == 1 else None  # noqa: E731
    with StandIn(lambda body: by_hash(body) + ("" if is_scoring(body) else KEY), leak) as server:
        settings = {**SIZES, "base_url": server.url, "n_latents": 3, "retries": 0, "concurrency": 1, "logs": True}
        scores = evaluate(
            str(sae), {"saebench_autointerp": settings}, data=str(tmp_path / "texts.jsonl"), out=tmp_path / "out"
        )
        assert server.keys == {f"Bearer {KEY}"}
    assert {"autointerp_score", "failed_share", "upstream_autointerp_score"} <= set(scores["metric"])
    files = [f for folder in ("out", "cache") for f in (tmp_path / folder).rglob("*") if f.is_file()]
    assert any("answers" in f.parts for f in files) and any("records" in f.parts for f in files)
    assert not [f for f in files if KEY.encode() in f.read_bytes()]
    assert KEY not in caplog.text


def test_the_judge_and_its_address_are_part_of_a_run_and_of_its_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {asdict(SAEBenchAutoInterp.Config(judge=j))["judge"] for j in ("a", "b")}
    assert known == {"a", "b"}
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert asdict(SAEBenchAutoInterp.Config())["base_url"] == "http://127.0.0.1:9/v1"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_latents": 0}, "n_latents must be at least 1"),
        ({"context_size": 20}, "context_size must be at least 21"),
        ({"override_latents": [1, 1]}, "different latents"),
        ({"override_latents": []}, "different latents"),
        ({"override_latents": [-1]}, "different latents"),
        ({"override_latents": "1"}, "different latents"),
        ({"override_latents": 3}, "must be a list"),
        ({"act_threshold_frac": 1.0}, "from 0 to below 1"),
        ({"total_tokens": 2**25}, "total_tokens must be at most"),
        ({"grammar": "yes"}, "grammar must be one of"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        SAEBenchAutoInterp.Config(**settings)


def test_a_latent_that_the_sae_does_not_have_is_refused(model: Any) -> None:
    with StandIn(by_keyword) as server, pytest.raises(BadInput, match="latents 0 to 8, not 9"):
        measure(context(model), server, override_latents=[9])


# --- a real judge -----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_real_judge_on_this_machine_answers_in_the_asked_for_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xllamacpp")
    checkpoint = Path(__file__).parents[2] / "evals/checkpoints/batchtopk-mse-s0"
    command = [sys.executable, "-m", "hedgebench_evals.saebench.judge_server", "--port", "0", "--threads", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            address = server.stdout.readline().strip()  # type: ignore[union-attr]
            out = tmp_path / "out"
            settings = {"base_url": address, "total_tokens": 8192, "n_latents": 2, "concurrency": 1, "timeout": 900.0}
            scores = evaluate(str(checkpoint), {"saebench_autointerp": settings}, out=out)
        finally:
            server.terminate()
    found = scores[scores["slice_by"] == "all"].set_index("metric")["value"]
    assert found["n_latents"] == 2 and found["unparsed_share"] == found["failed_share"] == 0
    assert 0 <= found["autointerp_score"] <= 1
    (file,) = (out / "records/saebench_autointerp").iterdir()
    whole = json.loads(file.read_text())
    assert whole["eval_result_details"][0]["grammar"] == "llama.cpp"
    assert all(r["explanation"] and "\n" not in r["explanation"] for r in whole["eval_result_unstructured"].values())
