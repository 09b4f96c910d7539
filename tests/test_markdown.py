"""Tables in Markdown."""

import pytest

from hedgebench.markdown import markdown_table


def test_a_table_has_a_line_for_each_row_under_its_columns():
    text = markdown_table(["width", "mean"], [["1,024", 0.5], [64, ""]])
    assert text.splitlines() == ["| width | mean |", "| --- | --- |", "| 1,024 | 0.5 |", "| 64 |  |"]


def test_a_table_without_rows_is_its_columns():
    assert markdown_table(["a"], []) == "| a |\n| --- |"


def test_a_row_that_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match="2 columns, but a row of 1 cells"):
        markdown_table(["a", "b"], [["1"]])
