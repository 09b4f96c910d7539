"""What came of a check, as JUnit's XML: a test suite for each SAE, a test for each metric. No torch."""

from __future__ import annotations

import math
from xml.etree import ElementTree

from hedgebench.one_line import one_line
from hedgebench.regression.check import Report
from hedgebench.regression.text import change, metric, rows_of
from hedgebench.regression.verdicts import UNDECIDED


def junit(report: Report, strict: bool = False) -> str:
    """The XML. What is worse has failed; what is undecided or missing was skipped, and has failed where `strict`."""
    root = ElementTree.Element("testsuites", name="hedgebench check")
    for sae, rows in report.findings.groupby("sae", sort=True):
        suite = ElementTree.SubElement(root, "testsuite", name=one_line(str(sae)))
        for row in rows_of(rows):
            case = ElementTree.SubElement(suite, "testcase", classname=one_line(str(sae)), name=metric(row), time="0")
            numbers = change(row) if math.isfinite(row["difference"]) else None
            said = one_line(f"{row['verdict']}: {row['reason']}".removesuffix(": "))
            if row["verdict"] == "worse" or (strict and row["verdict"] in UNDECIDED):
                failure = ElementTree.SubElement(case, "failure", type=row["verdict"], message=said)
                failure.text = numbers or said
            elif row["verdict"] in UNDECIDED:
                ElementTree.SubElement(case, "skipped", message=said).text = numbers
        _count(suite, len(rows))
    _count(root, len(report.findings))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False).join(
        ['<?xml version="1.0" encoding="UTF-8"?>\n', "\n"]
    )


def _count(element: ElementTree.Element, tests: int) -> None:
    failed, skipped = (len(list(element.iter(name))) for name in ("failure", "skipped"))
    element.attrib |= {
        "tests": str(tests),
        "failures": str(failed),
        "errors": "0",
        "skipped": str(skipped),
        "time": "0",
    }
