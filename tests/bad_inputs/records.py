"""Records, and what else lies in a results folder. A damaged one is left out with its line: the good ones' numbers are shown."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bad_inputs.cases import Case

ROOM = "results folder"
EVAL, METRIC = "decoder_bias", "b_dec_norm"


def results(here: Path) -> tuple[Path, Path]:
    """A results folder `r` with the records of two runs, and the paths of the second record and of its SAE's card."""
    from hedgebench.records import Outcome, build_record, record_path, write_card, write_record
    from hedgebench.types import Checkpoint, Run

    out = here / "r"
    for name in ("good", "bad"):
        card = Checkpoint(
            digest=name, name=name, architecture="topk", d_in=8, width=12, hook="blocks.1.hook_resid_post"
        )
        run = Run(name, card, EVAL, 2, {}, None, None, None, None, None, "float32")
        score: dict[str, Any] = {"metric": METRIC, "params": "", "slice_by": "all", "slice_value": "all", "value": 1.5}
        write_card(out, card)
        score |= {"stderr": None, "n": None, "higher_is_better": None, "chance": None}
        write_record(out, build_record(run, Outcome("ok", scores=(score,), started_at=1.0)))
    return record_path(out, EVAL, "bad"), out / "checkpoints" / "bad.json"


def spoiled(what: str, damage: Callable[[Path], object], said: str = "r/records/decoder_bias/bad.json") -> Case:
    """The second record is damaged: `table` shows the first one's numbers."""

    def make(here: Path) -> Sequence[str]:
        damage(results(here)[0])
        return ["table", "r"]

    return Case(ROOM, f"a record: {what}", make, said, code=0)


def text(what: str, content: str | bytes) -> Case:
    """Something else in the file."""
    return spoiled(what, lambda file: file.write_bytes(content if isinstance(content, bytes) else content.encode()))


def part(what: str, **changes: Any) -> Case:
    """Other parts; `...` takes one away."""

    def damage(file: Path) -> None:
        record = json.loads(file.read_text())
        ours = {**record["hedgebench"], **changes}
        record["hedgebench"] = {key: value for key, value in ours.items() if value is not ...}
        file.write_text(json.dumps(record))

    return spoiled(what, damage)


def numbered(file: Path) -> None:
    """Its name is a number, in the record and of the file."""
    record = json.loads(file.read_text())
    record["hedgebench"]["run_id"] = 3
    file.with_name("3.json").write_text(json.dumps(record))
    file.unlink()


def score(what: str, **changes: Any) -> Case:
    """Another score."""

    def damage(file: Path) -> None:
        record = json.loads(file.read_text())
        row = {**record["hedgebench"]["scores"][0], **changes}
        record["hedgebench"]["scores"] = [{key: value for key, value in row.items() if value is not ...}]
        file.write_text(json.dumps(record))

    return spoiled(what, damage)


def instead(what: str, make: Callable[[Path], object]) -> Case:
    """Something else in place of the file."""

    def damage(file: Path) -> None:
        file.unlink()
        make(file)

    return spoiled(what, damage)


def card(what: str, content: Callable[[dict[str, Any]], Any]) -> Case:
    """The second SAE's card is damaged: its numbers go by its digest."""

    def make(here: Path) -> Sequence[str]:
        _, file = results(here)
        made = content(json.loads(file.read_text()))
        file.write_bytes(made if isinstance(made, bytes) else json.dumps(made).encode())
        return ["table", "r"]

    return Case(
        ROOM, f"an SAE's card: {what}", make, "r/checkpoints/bad.json is no whole checkpoint card and is left out", 0
    )


def _stretched(file: Path) -> None:
    with file.open("ab") as opened:
        for _ in range(257):
            opened.write(b" " * 2**20)


def _upstream(here: Path) -> Sequence[str]:
    results(here)
    (here / "r/output.json").write_text('{"eval_type_id": "core", "eval_result_metrics": [1]}')
    return ["table", "r"]


def copy(what: str, name: str) -> Case:
    """The first record, with another number, here too."""

    def make(here: Path) -> Sequence[str]:
        file, _ = results(here)
        file.unlink()
        copy = file.parent.parent / name
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes((file.parent / "good.json").read_bytes().replace(b"1.5", b"2.5"))
        return ["table", "r"]

    said = f"r/records/{name} is left out: it is the record of a run whose place is decoder_bias/good.json"
    return Case(ROOM, what, make, said, code=0)


CASES = [
    copy("a record: another run's", "decoder_bias/bad.json"),
    copy("a record in another eval's folder", "other/good.json"),
    text("no byte", ""),
    text("half a file", '{"eval_type_id": "hedge'),
    text("null", "null"),
    text("a list", "[]"),
    text("a number", "3"),
    text("an empty object", "{}"),
    text("another's JSON", '{"hedgebench": 3}'),
    text("not UTF-8", b'{"hedgebench": "\xff"}'),
    text("bytes", bytes(range(256))),
    text("100 000 brackets deep", "[" * 100_000),
    text("a number of 5000 digits", f'{{"hedgebench": {"9" * 5000}}}'),
    spoiled("257 MiB, nearly all of them spaces", _stretched),
    instead("a folder", os.mkdir),
    instead("a pipe", os.mkfifo),
    instead("a link to itself", lambda file: file.symlink_to(file.name)),
    instead("a link to nothing", lambda file: file.symlink_to("nowhere")),
    instead("a link to a device without end", lambda file: file.symlink_to("/dev/zero")),
    *(part(f"no `{key}`", **{key: ...}) for key in ("run_id", "eval", "digest", "status", "scores", "seed", "model", "data", "eval_version", "config", "versions")),
    part("`status` is unknown", status="fine"),
    part("`status` is a list", status=["ok"]),
    spoiled("`run_id` is a number", numbered, "r/records/decoder_bias/3.json"),
    part("`eval` is null", eval=None),
    part("`digest` is a list", digest=["a"]),
    part("`scores` is null", scores=None),
    part("`scores` holds a number", scores=[3]),
    part("`seed` is a text", seed="first"),
    part("`seed` is NaN", seed=float("nan")),
    part("`model` is a number", model=3),
    part("`data` is a list", data=[1]),
    part("`config` is a list", config=[1]),
    part("`versions` is null", versions=None),
    part("`eval_version` is a text", eval_version="two"),
    part("`error` is a number", status="failed", error=3),
    part("`seconds` is a text", seconds="long"),
    part("`seconds` is infinite", seconds=float("inf")),
    part("`started_at` is null", started_at=None),
    part("`peak_mb` is a text", peak_mb="much"),
    part("`incomplete` is a list", incomplete=["data"]),
    part("`missing` is a list", missing=["a"]),
    score("`value` is a text", value="much"),
    score("`value` is NaN", value=float("nan")),
    score("`value` is infinite", value=float("inf")),
    score("`value` is a number of 400 digits", value=10**400),
    score("`value` is true", value=True),
    score("`value` is null", value=None),
    score("no `value`", value=...),
    score("no `metric`", metric=...),
    score("`metric` is a number", metric=3),
    score("`params` is a mapping", params={"k": 1}),
    score("`slice_by` is null", slice_by=None),
    score("`slice_value` is a list", slice_value=[1]),
    score("`stderr` is a text", stderr="small"),
    score("`n` is a fraction", n=0.5),
    score("`higher_is_better` is a text", higher_is_better="yes"),
    score("`chance` is a text", chance="even"),
    card("half a file", lambda data: b'{"digest": "ba'),
    card("a list", lambda data: []),
    card("null", lambda data: None),
    card("an empty object", lambda data: {}),
    card("`growth` is a number", lambda data: {**data, "growth": 3}),
    card("`growth` of unknown parts", lambda data: {**data, "growth": {"a": 1}}),
    card("`tags` is a list", lambda data: {**data, "tags": [1]}),
    card("`name` is a list", lambda data: {**data, "name": ["a"]}),
    card("`digest` is a number", lambda data: {**data, "digest": 3}),
    Case(ROOM, "SAEBench's output: metrics are a list", _upstream, "r/output.json is neither a whole record of HedgeBench nor an output of SAEBench", 0),
    Case(ROOM, "no such folder", lambda here: ["table", "none"], "none: no such results folder"),
    Case(ROOM, "a file", lambda here: ((here / "f").touch(), ["table", "f"])[1], "f: no such results folder"),
]  # fmt: skip
