"""What came of a check, as JSON for programs. No torch."""

from __future__ import annotations

import json

from hedgebench.regression.check import Report


def as_json(report: Report, strict: bool = False) -> str:
    """Strict JSON: `exit_code`, `counts`, `notes`, and `findings` with the columns of `Report.findings`; what is not known is null."""
    findings = report.findings.astype(object)
    rows = findings.where(findings.notna(), None).to_dict("records")
    whole = {"exit_code": report.code(strict), "counts": report.counts, "notes": report.notes, "findings": rows}
    return json.dumps(whole, allow_nan=False, ensure_ascii=False, indent=1) + "\n"
