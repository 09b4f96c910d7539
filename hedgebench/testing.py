"""For test suites: fail where results are worse than a baseline. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame

    from hedgebench.regression.check import Report
    from hedgebench.regression.rules import Rules


def assert_no_regression(
    results: DataFrame | str | Path,
    baseline: DataFrame | str | Path,
    *,
    config: Rules | str | Path | None = None,
    strict: bool = False,
) -> Report:
    """Fail where results are worse than a baseline, beyond noise.

    Args:
        results: A scores table (of `hedgebench.evaluate`, say), its file, or a results folder.
        baseline: Likewise; what `hedgebench baseline` writes is such a file.
        config: As in `hedgebench.check`.
        strict: Fail where something is undecided or missing, too.

    Returns:
        What came of the check.

    Raises:
        AssertionError: With the report.
        BadInput: There is nothing to compare, or it cannot be read.
    """
    from hedgebench.regression.check import check
    from hedgebench.regression.text import text

    __tracebackhide__ = True
    report = check(results, baseline, config=config)
    if report.code(strict):
        raise AssertionError(text(report))
    return report
