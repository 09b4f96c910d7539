"""Labelled sets of one's own. `tests/test_labelled.py` has more of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bad_inputs import good
from bad_inputs.cases import Case

ROOM = "labelled set"
GOOD = "file: topics.csv\ntext: body\nlabel: topic\n"
TABLE = "body,topic,stars\n" + "".join(f"text {i},{'sport' if i % 2 else 'news'},{i % 3}\n" for i in range(20))


def case(what: str, text: str, said: str, table: str | bytes = TABLE) -> Case:
    """A set that a file describes."""

    def make(here: Path) -> Sequence[str]:
        good.sae(here / "good")
        (here / "set.yaml").write_text(text)
        (here / "topics.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
        names = {"model": "smollm2-135m", "evals": "[{saebench_tpp: {data: set.yaml}}]", "saes": "[{path: good}]"}
        (here / "suite.yaml").write_text("".join(f"{key}: {value}\n" for key, value in names.items()))
        return ["run", "suite.yaml", "--out", "out"]

    return Case(ROOM, what, make, said)


CASES = [
    case("an empty description", "", "set.yaml: a labelled set is a mapping of keys and values"),
    case("an unknown key", GOOD + "lable: x\n", "set.yaml:4: a labelled set has no key 'lable'; did you mean 'label'?"),
    case("no text column", GOOD.replace("text: body\n", ""), "'text' must name a column"),
    case("a text column that is a number", GOOD.replace("body", "3"), "'text' must name a column"),
    case("a column that is not there", GOOD.replace("body", "bodi"), "set.yaml:2: no column 'bodi'; did you mean 'body'?"),
    case("one column for both", GOOD.replace("topic\n", "body\n"), "'label' must name another column than 'body'"),
    case("neither file nor hub", GOOD.partition("\n")[2], "give either 'file' or 'hub'"),
    case("a file that is not there", GOOD.replace("topics", "gone"), "gone.csv cannot be read"),
    case("a file of another kind", GOOD.replace(".csv", ".xls"), "topics.xls: expected one of .csv"),
    case("a device without end", GOOD.replace("topics.csv", "/dev/zero"), "zero: expected one of .csv"),
    case("an unknown class", GOOD + "classes: [spurt]\n", "no text has the class 'spurt'; did you mean 'sport'?"),
    case("classes that are a text", GOOD + "classes: sport\n", "'classes' must be a list, not 'sport'"),
    case("pairs without a second label", GOOD + "pairs: [[sport, news]]\n", "need 'second'"),
    case("a second label of three values", GOOD + "second: stars\n", "SCR needs two values of the second label"),
    case("a pair of one class", GOOD + "second: stars\nsecond_values: [0, 1]\npairs: [[sport]]\n", "is no pair of classes"),
    case("the name of a hub set", GOOD + "name: fancyzhx/ag_news\n", "cannot be the name of a set of one's own"),
    case("a table of no rows", GOOD, "set.yaml:1: no row has both a text and a class", "body,topic\n"),
    case("a table that is not UTF-8", GOOD, "topics.csv cannot be read", b"body,topic\n\xff\xfe,a\n"),
    case("a table that is empty", GOOD, "topics.csv cannot be read", ""),
]  # fmt: skip
