"""The summary of a cohort, as a table for programs and as a page for people."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from .. import __version__
from ..files.writing import whole_or_nothing
from .summary_page import summary_page

MEASURES = ("ncc_before", "ncc_after", "folded_percent", "displacement_mean_mm")
SUMMARY = ("name", "status", "verdict", *MEASURES, "version", "message")
SUMMARY_FILES = ("summary.csv", "summary.html")
THUMBNAIL = "thumbnail.jpg"  # of each pair, in its folder
Row: TypeAlias = dict[str, str]  # the columns of `SUMMARY` by name; those of a case without a result are missing
CASE_DONE, CASE_FAILED, CASE_NOT_DONE = "done", "failed", "not done"
STATES = (CASE_DONE, CASE_FAILED, CASE_NOT_DONE)
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
        partial.write_text(summary_page(rows, folder, of_other_versions(rows)), encoding="utf-8")


def of_other_versions(rows: Sequence[Row]) -> str:
    """Say how many results another version of this program has made, and how to make them again; empty where none."""
    done = [row for row in rows if row["status"] == CASE_DONE]
    others = [row for row in done if row.get("version") != __version__]
    if not others:
        return ""
    return (
        f"{len(others)} of {len(done)} results were made by another version than {__version__} (column version of "
        f"{SUMMARY_FILES[0]}); to make them again, remove their folders and give the same call."
    )


def read_summary(folder: Path) -> dict[str, Row]:
    """Read the rows of the `summary.csv` in the folder of a cohort, by name.

    Somebody may have edited it: what is no row of a summary is left out, and so is all of a file that cannot be read.
    """
    try:
        with (folder / SUMMARY_FILES[0]).open(newline="", encoding="utf-8-sig") as file:
            lines = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error):
        return {}
    found = [{column: _text(line[column]) for column in SUMMARY if line.get(column)} for line in lines]
    return {row["name"]: {"message": "", **row} for row in found if _is_row(row)}


def _is_row(row: Row) -> bool:
    return "name" in row and row.get("status") in STATES and all(_is_number(row.get(name, "0")) for name in MEASURES)


def _cell(text: str) -> str:
    """Quote a text that a spreadsheet would take for a formula; numbers stay as they are."""
    return f"'{text}" if text.startswith(FORMULA) and not _is_number(text) else text


def _text(cell: str) -> str:
    """Return the text that `_cell` made a cell from."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
