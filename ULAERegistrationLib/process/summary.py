"""The summary of a cohort, as a table for programs and as a page for people."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from ..files.writing import whole_or_nothing
from .summary_page import summary_page

MEASURES = ("ncc_before", "ncc_after", "folded_percent", "displacement_mean_mm")
SUMMARY = ("name", "status", "verdict", *MEASURES, "message")
SUMMARY_FILES = ("summary.csv", "summary.html")
THUMBNAIL = "thumbnail.jpg"  # of each pair, in its folder
Row: TypeAlias = dict[str, str]  # the columns of `SUMMARY` by name; those of a case that failed are missing
DONE, FAILED = "done", "failed"
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # spreadsheets run a cell that begins so


def write_summary(rows: Sequence[Row], folder: Path) -> None:
    """Write `summary.csv` and `summary.html` to the folder of a cohort; each completely or not at all.

    Raises:
        RegistrationError: where they cannot be written.
    """
    table, page = (folder / name for name in SUMMARY_FILES)
    with whole_or_nothing(table) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, SUMMARY, restval="")
        writer.writeheader()
        writer.writerows({column: _cell(value) for column, value in row.items()} for row in rows)
    with whole_or_nothing(page) as partial:
        partial.write_text(summary_page(rows, folder), encoding="utf-8")


def _cell(text: str) -> str:
    """Quote a text that a spreadsheet would take for a formula; numbers stay as they are."""
    try:
        float(text)
    except ValueError:
        return f"'{text}" if text.startswith(FORMULA) else text
    return text
