"""The judge's client against a server that misbehaves, on this machine."""

from __future__ import annotations

import json
import logging
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hedgebench_evals.saebench.judge import GIVE_UP_AFTER, Judge, JudgeError, JudgeStopped, Question
from hedgebench_evals.saebench.judge_bill import Bill, BudgetSpent, Tokens, at_most
from hedgebench_evals.saebench.judge_cache import Answer
from hedgebench_evals.saebench.judge_config import OPENAI, JudgeConfig
from judge_stand_in import Fault, StandIn, breaks_off, hangs, hangs_up, replies, says, status, wait_for

from hedgebench.types import BadInput

KEY = "hb-secret-0123456789"


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEDGEBENCH_JUDGE_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def question(text: str = "Which?", max_tokens: int = 20, grammar: str = 'root ::= "1"') -> Question:
    return Question([{"role": "system", "content": "Judge."}, {"role": "user", "content": text}], max_tokens, grammar)


def echo(body: dict[str, Any]) -> str:
    return f"on {body['messages'][1]['content']}"


def config(server: StandIn, **settings: Any) -> JudgeConfig:
    return JudgeConfig(**{"base_url": server.url, "grammar": "none", "backoff": 0.001, "timeout": 5.0, **settings})


# --- what goes wrong once -------------------------------------------------------------------------------------------------------

FAULTS: dict[str, Fault] = {
    "too many requests": status(429, "slow down"),
    "too many requests, with a time to wait": status(429, "slow down", retry_after="0.001"),
    "server error": status(500),
    "overloaded": status(503),
    "no connection": hangs_up,
    "cut stream": breaks_off,
    "malformed JSON": replies(b'{"choices": ['),
    "no JSON": replies(b"<html>hello</html>", content_type="text/html"),
    "an empty body": replies(b""),
    "another JSON": replies(b"[1, 2]"),
    "null": replies(b"null"),
    "no choices": replies(b'{"choices": []}'),
    "null choices": replies(b'{"choices": null}'),
    "a null answer": says(None),
    "an empty answer": says("  "),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_what_goes_wrong_once_is_tried_again(fault: Fault) -> None:
    with StandIn(echo, lambda n, body: fault if n == 1 else None) as server, Judge(config(server), None) as judge:
        assert judge.ask(question()) == Answer("on Which?")
        assert len(server.chats) == 2


def test_a_server_that_says_nothing_is_given_up_after_the_time_limit_and_tried_again() -> None:
    with (
        StandIn(echo, lambda n, body: hangs if n == 1 else None) as server,
        Judge(config(server, timeout=0.1), None) as judge,
    ):
        assert judge.ask(question()).text == "on Which?"
        assert len(server.chats) == 2


@pytest.mark.parametrize(
    "fault", [status(500, "broken inside"), hangs_up, replies(b"{")], ids=["500", "closed", "broken"]
)
def test_what_goes_wrong_every_time_is_an_error_after_all_attempts(fault: Fault) -> None:
    with StandIn(echo, lambda n, body: fault) as server, Judge(config(server, retries=2), None) as judge:
        with pytest.raises(JudgeError, match=r"broken inside|Connection error|reply is broken"):
            judge.ask(question())
        assert len(server.chats) == 3
        assert judge.known(question()) is None


def test_a_question_that_is_refused_for_itself_is_not_asked_again_and_the_next_is_answered() -> None:
    with (
        StandIn(echo, lambda n, body: status(400, "too long") if n == 1 else None) as server,
        Judge(config(server), None) as judge,
    ):
        with pytest.raises(JudgeError, match="too long"):
            judge.ask(question())
        assert len(server.chats) == 1
        assert judge.ask(question()).text == "on Which?"


@pytest.mark.parametrize(
    "fault", [status(401), status(403), status(404), status(429, "pay first", "insufficient_quota")]
)
def test_a_server_that_refuses_us_is_asked_nothing_more(fault: Fault) -> None:
    with StandIn(echo, lambda n, body: fault) as server, Judge(config(server), None) as judge:
        for text in ("one", "two"):
            with pytest.raises(JudgeStopped, match="refuses"):
                judge.ask(question(text))
        assert len(server.chats) == 1


def test_a_server_that_answers_nothing_any_more_is_given_up() -> None:
    with StandIn(echo, lambda n, body: hangs_up) as server, Judge(config(server, retries=0), None) as judge:
        for i in range(GIVE_UP_AFTER):
            with pytest.raises(JudgeError):
                judge.ask(question(str(i)))
        with pytest.raises(JudgeStopped, match=f"{GIVE_UP_AFTER} questions in a row have no answer"):
            judge.ask(question("one more"))
        assert len(server.chats) == GIVE_UP_AFTER


def test_failures_between_answers_are_not_in_a_row() -> None:
    with (
        StandIn(echo, lambda n, body: status(400) if n % 2 else None) as server,
        Judge(config(server), None) as judge,
    ):
        for i in range(2 * GIVE_UP_AFTER):
            with pytest.raises(JudgeError):
                judge.ask(question(f"bad {i}"))
            judge.ask(question(f"good {i}"))


def test_the_wait_is_what_the_server_asks_for_else_doubles_and_never_passes_two_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = {1: status(429, retry_after="7"), 2: status(500), 3: status(500), 4: status(503, retry_after="9999")}
    waits: list[float] = []
    with StandIn(echo, lambda n, body: asked.get(n)) as server, Judge(config(server, backoff=1.0), None) as judge:
        monkeypatch.setattr(judge._stop, "wait", waits.append)
        judge.ask(question())
    assert waits[0] == 7 and waits[3] == 120
    assert 2 <= waits[1] <= 2.5 and 4 <= waits[2] <= 5


def test_a_judge_that_is_closed_lets_no_thread_wait_for_its_next_attempt() -> None:
    with StandIn(echo, lambda n, body: status(500)) as server:
        stopped: list[BaseException] = []
        with Judge(config(server, backoff=1000.0), None) as judge:

            def ask() -> None:
                try:
                    judge.ask(question())
                except JudgeStopped as error:
                    stopped.append(error)

            thread = threading.Thread(target=ask)
            thread.start()
            wait_for(lambda: len(server.chats) == 1)
        thread.join(10)
        assert stopped and not thread.is_alive()


def test_asking_leaves_the_random_generator_of_python_as_it_was() -> None:
    random.seed(3)
    before = random.getstate()
    with StandIn(echo, lambda n, body: status(500) if n < 3 else None) as server, Judge(config(server), None) as judge:
        judge.ask(question())
    assert random.getstate() == before


# --- what is kept ---------------------------------------------------------------------------------------------------------------


def test_a_question_is_asked_once_whoever_asks_it(tmp_path: Path) -> None:
    with StandIn(echo) as server:
        for _ in range(2):
            with Judge(config(server), tmp_path) as judge:
                assert judge.ask(question()) == judge.known(question()) == Answer("on Which?")
        assert len(server.chats) == 1


def test_all_that_decides_an_answer_makes_it_another_question(tmp_path: Path) -> None:
    with StandIn(echo) as server, StandIn(echo) as other:
        different = [
            (config(server), question()),
            (config(server), question("What?")),
            (config(server), question(max_tokens=21)),
            (config(server, temperature=0.5), question()),
            (config(server, temperature=None), question()),
            (config(server, judge="another"), question()),
            (config(server, grammar="llama.cpp"), question()),
            (config(server, grammar="llama.cpp"), question(grammar='root ::= "2"')),
            (config(other), question()),
        ]
        for _ in range(2):
            for cfg, asked in different:
                with Judge(cfg, tmp_path) as judge:
                    judge.ask(asked)
        assert (len(server.chats), len(other.chats)) == (len(different) - 1, 1)


def test_settings_of_patience_do_not_make_it_another_question(tmp_path: Path) -> None:
    with StandIn(echo) as server:
        for more in (
            {},
            {"concurrency": 3, "retries": 1, "timeout": 9.0, "price_in": 1.0, "price_out": 1.0, "budget": 9.0},
        ):
            with Judge(config(server, **more), tmp_path) as judge:
                judge.ask(question())
        assert len(server.chats) == 1


def test_an_answer_that_was_cut_off_is_known_as_such_later(tmp_path: Path) -> None:
    with StandIn(echo, lambda n, body: says("1, 2, 1", "length")) as server:
        for _ in range(2):
            with Judge(config(server), tmp_path) as judge:
                assert judge.ask(question()) == Answer("1, 2, 1", cut=True)
        assert len(server.chats) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"text": 3, "cut": false}', b'{"text": "x"}', b"\xff\xfe"])
def test_a_kept_answer_that_is_damaged_is_asked_again_and_replaced(tmp_path: Path, content: bytes) -> None:
    with StandIn(echo) as server:
        with Judge(config(server), tmp_path) as judge:
            judge.ask(question())
        (file,) = tmp_path.rglob("*.json")
        whole = file.read_bytes()
        file.write_bytes(content)
        with Judge(config(server), tmp_path) as judge:
            assert judge.ask(question()).text == "on Which?"
        assert len(server.chats) == 2
        assert file.read_bytes() == whole


def test_a_folder_that_cannot_be_written_costs_only_what_would_be_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    with StandIn(echo) as server, Judge(config(server), tmp_path / "file" / "answers") as judge:
        assert judge.ask(question()).text == judge.ask(question()).text == "on Which?"
        assert len(server.chats) == 1
    assert "cannot be kept" in caplog.text


# --- what is sent ---------------------------------------------------------------------------------------------------------------


def test_the_request_holds_the_judge_its_temperature_and_nothing_that_was_not_asked_for() -> None:
    with StandIn(echo) as server, Judge(config(server, judge="wise", temperature=0.0), None) as judge:
        judge.ask(question(max_tokens=7))
        body = {"model": "wise", "temperature": 0.0, "max_tokens": 7, "messages": list(question().messages)}
        assert server.chats == [body]


def test_no_temperature_is_sent_where_it_is_left_to_the_server() -> None:
    with StandIn(echo) as server, Judge(config(server, temperature=None), None) as judge:
        judge.ask(question())
        assert "temperature" not in server.chats[0]


@pytest.mark.parametrize(
    ("grammar", "owned_by", "sent"),
    [
        ("auto", "llamacpp", True),
        ("auto", "vllm", False),
        ("auto", None, False),
        ("llama.cpp", "vllm", True),
        ("none", "llamacpp", False),
    ],
)
def test_a_grammar_goes_to_servers_of_llama_cpp_or_where_it_is_asked_for(
    grammar: str, owned_by: str | None, sent: bool
) -> None:
    with StandIn(echo, owned_by=owned_by) as server, Judge(config(server, grammar=grammar), None) as judge:
        judge.ask(question(grammar="root ::= [a-z]"))
        assert server.chats[0].get("grammar") == ("root ::= [a-z]" if sent else None)


def test_what_a_server_is_is_asked_once_so_that_kept_answers_need_no_server(tmp_path: Path) -> None:
    with StandIn(echo, owned_by="llamacpp") as server:
        cfg = config(server, grammar="auto")
        with Judge(cfg, tmp_path) as judge:
            answer = judge.ask(question())
        assert server.asked_kind == 1
    with Judge(cfg, tmp_path) as judge:
        assert judge.ask(question()) == answer


def test_a_server_that_cannot_say_what_it_is_now_is_not_taken_for_another_kind(tmp_path: Path) -> None:
    with StandIn(echo) as server:
        gone = config(server, grammar="auto", retries=1)
    with pytest.raises(JudgeStopped, match="does not answer"), Judge(gone, tmp_path):
        pass
    assert not list(tmp_path.rglob("*.json"))


# --- the key --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "sent"),
    [
        ({"HEDGEBENCH_JUDGE_API_KEY": KEY, "OPENAI_API_KEY": "other"}, KEY),
        ({"OPENAI_API_KEY": KEY}, KEY),
        ({}, "none"),
    ],
)
def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, keys: dict[str, str], sent: str) -> None:
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    with StandIn(echo) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        with Judge(config(server), None) as judge:
            judge.ask(question())
        assert server.keys == {f"Bearer {sent}"}


def test_openais_key_goes_to_no_server_that_a_setting_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with StandIn(echo) as server, Judge(config(server), None) as judge:
        judge.ask(question())
        assert server.keys == {"Bearer none"}


@pytest.mark.parametrize("url", [OPENAI, "https://eu.api.openai.com/v1/"])
def test_openai_without_a_key_is_one_clear_line(url: str) -> None:
    with pytest.raises(BadInput, match="needs a key: set HEDGEBENCH_JUDGE_API_KEY or OPENAI_API_KEY"):
        Judge(JudgeConfig(base_url=url), None)


@pytest.mark.parametrize(
    "fault",
    [
        status(500, f"Incorrect key {KEY}"),
        status(400, KEY),
        replies(json.dumps({"you": KEY}).encode()),
        status(401, f"key {KEY}?"),
    ],
    ids=["500", "400", "reply", "401"],
)
def test_a_key_that_the_server_echoes_is_in_no_error_and_no_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    monkeypatch.setenv("HEDGEBENCH_JUDGE_API_KEY", KEY)
    caplog.set_level(logging.DEBUG, "hedgebench_evals")
    with StandIn(echo, lambda n, body: fault) as server, Judge(config(server, retries=1), None) as judge:
        with pytest.raises((JudgeError, JudgeStopped), match=r"\[key\]") as caught:
            judge.ask(question())
        logging.getLogger("hedgebench_evals").error("failed", exc_info=caught.value)
    assert KEY not in str(caught.value) and KEY not in caplog.text


def test_a_key_that_the_server_echoes_in_an_answer_is_not_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HEDGEBENCH_JUDGE_API_KEY", KEY)
    with StandIn(lambda body: f"your key is {KEY}") as server, Judge(config(server), tmp_path) as judge:
        assert judge.ask(question()).text == "your key is [key]"
    files = [f for f in tmp_path.rglob("*") if f.is_file()]
    assert files and not any(KEY in f.read_text() for f in files)


def test_the_word_none_is_no_key_to_be_hidden() -> None:
    with StandIn(lambda body: "none of them") as server, Judge(config(server), None) as judge:
        assert judge.ask(question()).text == "none of them"


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hb-secret@host/v1",
        "https://hb-secret@host",
        "http://host/v1?key=hb-secret",
        "http://host/#hb-secret",
    ],
)
def test_an_address_with_a_secret_in_it_is_refused_without_repeating_it(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    with pytest.raises(BadInput, match="without user, password or query") as given:
        JudgeConfig(base_url=url)
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(BadInput) as found:
        JudgeConfig()
    assert "hb-secret" not in str(given.value) + str(found.value)


def test_the_address_is_part_of_the_settings_wherever_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    assert JudgeConfig().base_url == OPENAI
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1/")
    assert JudgeConfig().base_url == "http://127.0.0.1:1/v1"
    assert JudgeConfig(base_url="http://127.0.0.1:2/v1").base_url == "http://127.0.0.1:2/v1"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"base_url": "localhost:8080"}, "is no address"),
        ({"base_url": "ftp://host"}, "is no address"),
        ({"grammar": "json"}, "one of auto, llama.cpp, none"),
        ({"judge": ""}, "judge is empty"),
        ({"concurrency": 0}, "concurrency must be at least 1"),
        ({"retries": -1}, "retries must be at least 0"),
        ({"timeout": 0.0}, "timeout must be above 0"),
        ({"temperature": -0.1}, "temperature must be at least 0"),
        ({"budget": 1.0}, "needs price_in and price_out"),
        ({"budget": 1.0, "price_in": 1.0}, "needs price_in and price_out"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        JudgeConfig(**settings)


# --- the bill -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def bill() -> Iterator[Bill]:
    yield Bill(price_in=1.0, price_out=10.0, budget=0.001)


def test_a_bill_is_tokens_times_prices_per_million(bill: Bill) -> None:
    assert bill.cost(Tokens(500, 30)) == pytest.approx(0.0008)
    assert bill.in_words(Tokens(500, 30)) == "500 + 30 tokens ($0.0008)"
    assert Bill(None, None, None).in_words(Tokens(500, 30)) == "500 + 30 tokens"


def test_what_is_under_way_counts_with_all_it_may_cost(bill: Bill) -> None:
    bill.reserve(Tokens(400, 20))
    with pytest.raises(BudgetSpent):
        bill.reserve(Tokens(401, 0))
    bill.settle(Tokens(400, 20), Tokens(100, 1))
    bill.reserve(Tokens(401, 0))
    assert bill.used == Tokens(100, 1)


def test_nothing_more_is_asked_when_the_budget_is_spent() -> None:
    most = at_most(question("0").messages, 20)
    one = (100 + 10) / 1e6  # what the stand-in says that an answer took
    budget = 3.1 * one + (most.questions + most.answers) / 1e6
    with (
        StandIn(echo) as server,
        Judge(config(server, price_in=1.0, price_out=1.0, budget=budget), None) as judge,
    ):
        for i in range(4):
            judge.ask(question(str(i)))
        with pytest.raises(JudgeStopped, match=r"the budget of .* is spent"):
            judge.ask(question("4"))
        assert len(server.chats) == 4
        assert judge.ask(question("0")).text == "on 0"  # what is known costs nothing


def test_an_attempt_whose_answer_got_lost_may_have_to_be_paid_for_and_a_refusal_not() -> None:
    faults = {1: status(500), 2: breaks_off}
    with StandIn(echo, lambda n, body: faults.get(n)) as server, Judge(config(server), None) as judge:
        judge.ask(question())
        assert judge.bill.used == at_most(question().messages, 20).plus(Tokens(100, 10))
        assert judge.bill.attempts == 3


def test_the_estimate_of_a_question_is_an_upper_one() -> None:
    text = "The quick brown fox jumps over the lazy dog, again and again. " * 10  # 14 tokens each for a GPT tokenizer
    assert at_most([{"role": "user", "content": text}], 5).questions > 140
