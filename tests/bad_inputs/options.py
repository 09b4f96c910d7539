"""Options of the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from bad_inputs import good
from bad_inputs.cases import Case

ROOM = "command line"


def bare(line: str, said: str) -> Case:
    """Words that need no file."""
    return Case(ROOM, f"`hedgebench {line}`", lambda here: line.split(), said)


def run(line: str, said: str, what: str | None = None, code: int = 2) -> Case:
    """`hedgebench run` on a good SAE, with these options."""
    return Case(
        ROOM,
        what or f"`run ... {line}`",
        lambda here: good.evaluated(good.sae(here / "good"), *line.split()),
        said,
        code,
    )


def evaluate(text: str, said: str) -> Case:
    """`--eval` of this text."""
    return Case(
        ROOM,
        f"`--eval '{text}'`",
        lambda here: ["run", "--sae", str(good.sae(here / "good")), "--eval", text, "--out", "out"],
        said,
    )


def placed(what: str, make: Callable[[Path], object], said: str, *args: str) -> Case:
    """With something in the way of `--out`."""

    def there(here: Path) -> Sequence[str]:
        good.sae(here / "good")
        make(here)
        return [*(args or good.evaluated("good"))]

    return Case(ROOM, what, there, said)


CASES = [
    bare("", "the following arguments are required: COMMAND; see `hedgebench --help`"),
    bare("evaluate", "invalid choice: 'evaluate'"),
    bare("run", "give a suite, or --sae REF and --eval NAME"),
    bare("run --sae x", "give a suite, or --sae REF and --eval NAME"),
    bare("run --sae x --eval decoder_bias", "without a suite, --out DIR says where the results go"),
    bare("run a.yaml b.yaml", "unrecognized arguments: b.yaml; see `hedgebench"),
    bare("run a.yaml --sea x", "unrecognized arguments: --sea x"),
    *(bare(f"run a.yaml --{option} x", f"--{option} goes without a suite; the suite has its own") for option in ("sae", "eval", "data", "world", "control", "second-control", "group", "seeds")),
    bare("run a.yaml --only", "argument --only: expected one argument"),
    bare("run a.yaml --executor slurm", "argument --executor: invalid choice: 'slurm'"),
    *(bare(f"run a.yaml --workers {n}", f"argument --workers: must be a whole number from 1, not '{n}'") for n in ("0", "x", "1.5", "1e3")),
    bare("run a.yaml --workers -1", "argument --workers: must be a whole number from 1, not '-1'"),
    *(bare(f"run a.yaml --limit {n}", f"argument --limit: must be a whole number from 1, not '{n}'") for n in ("0", "x", "nan")),
    run(f"--workers {'9' * 5000}", "argument --workers: must be a whole number from 1, not '999", "`--workers` of 5000 digits"),
    bare("run a.yaml --workers 1000000", "argument --workers: must be a whole number from 1 to 1024, not '1000000'"),
    run("--seeds -1", "--seeds must be a list of different whole numbers from 0, not (-1,)"),
    run("--seeds x", "--seeds is a list such as 0,1,2, not 'x'"),
    run("--seeds 0.5", "--seeds is a list such as 0,1,2"),
    run("--seeds 0,,1", "--seeds is a list such as 0,1,2"),
    run("--seeds 0,0", "--seeds must be a list of different whole numbers from 0"),
    run("--seeds 9223372036854775808", "--seeds must be a list of different whole numbers from 0"),
    run(f"--seeds {'9' * 5000}", "--seeds is a list such as 0,1,2", "`--seeds` of 5000 digits"),
    run("--only saebench_core", "--only saebench_core: the suite has no such eval; known: decoder_bias"),
    run("--device banana", "device 'banana' cannot be used here"),
    run("--device cuda:99", "device 'cuda:99' cannot be used here"),
    run("--model gtp2", "unknown model 'gtp2'; did you mean"),
    evaluate("", "unknown eval ''"),
    evaluate("decoder_bais", "--eval: unknown eval 'decoder_bais'; did you mean 'decoder_bias'?"),
    evaluate("decoder_bias:a", "write NAME:key=value,key=value"),
    evaluate("decoder_bias:=3", "write NAME:key=value,key=value"),
    evaluate("decoder_bias:a=1", "eval 'decoder_bias' has no setting 'a'"),
    evaluate("saebench_core:n_batches=[1", "'[1' is no value"),
    evaluate("saebench_core:n_batches=2020-13-45", "'2020-13-45' is no value"),
    evaluate("saebench_core:n_batches=!!python/object:os.system {}", "is no value"),
    evaluate("saebench_core:n_batches=two", "setting 'n_batches' must be int, not 'two'"),
    evaluate("saebench_core:n_batches=.nan", "setting 'n_batches' must be int, not nan"),
    evaluate("saebench_core:n_batches=1,n_batches=2", "'n_batches' is given twice"),
    Case(ROOM, "`--data nowhere`", lambda here: ["run", "--sae", str(good.sae(here / "good")), "--model", "smollm2-135m", "--data", "nowhere", "--eval", "saebench_core", "--out", "out"], "unknown data 'nowhere': use 'offline', a file or folder of text, or a hub data set org/name"),
    placed("`--out` is a file", lambda here: (here / "out").write_text("x"), "cannot write to the results folder out: File exists"),
    placed("`--out` below a file", lambda here: (here / "file").write_text("x"), "cannot write to the results folder file/out: Not a directory", *good.evaluated("good")[:-1], "file/out"),
    placed("`--out` that nobody can write", lambda here: None, "cannot write to the results folder /proc/nowhere", *good.evaluated("good")[:-1], "/proc/nowhere"),
    placed("`--out` of 5000 letters", lambda here: None, "cannot write to the results folder xxx", *good.evaluated("good")[:-1], "x" * 5000),
    bare("table nowhere", "nowhere: no such results folder"),
    bare("table nowhere --runs", "nowhere: no such results folder"),
    bare("table nowhere --stats", "argument --stats: expected one argument"),
    bare("table nowhere --stats mode", "argument --stats: invalid choice: 'mode'"),
    bare("table nowhere --runs --stats noise", "not allowed with argument"),
    bare("leaderboard nowhere", "the following arguments are required: --out"),
    bare("leaderboard nowhere --out x.pdf", "x.pdf: a leaderboard is written as .html, .md or .csv"),
    bare("plot nowhere --out x", "nowhere: no such results folder"),
    bare("check nowhere", "the following arguments are required: --baseline"),
    bare("check nowhere --baseline nowhere", "nowhere: no such results folder"),
    bare("baseline nowhere --out b.csv", "nowhere: no such results folder"),
    bare("export nowhere --model-card", "nowhere: no such results folder"),
    bare("export nowhere", "the following arguments are required: --model-card"),
    bare("train none.yaml", "the following arguments are required: --out"),
    bare("toy --seeds 0", "argument --seeds: must be a whole number from 1, not '0'"),
    bare("toy --loss mze", "--loss mze: there is no such loss; did you mean 'mse'?"),
    bare("toy --study growht", "--study growht: there is no such study; did you mean 'growth'?"),
    bare("toy --study growth --loss mse", "--study growth has its own worlds and losses"),
    bare("toy --scenario hierarchial", "there is no scenario 'hierarchial'; did you mean 'hierarchical'?"),
    bare("toy --device banana --scenario hierarchical", "device 'banana' cannot be used here"),
]  # fmt: skip
