"""Register a cohort: many pairs listed in a table, each into its own folder.

Pairs that have a result of the same inputs, settings and weights are not registered again, so that the same call
continues after an interruption. A pair that fails has a line in the summary and does not stop the others.
"""

from __future__ import annotations

import csv
import json
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import NOT_ENOUGH_MEMORY, Cancelled, RegistrationError
from ..files.volumes import read_labels, read_volume, write_image
from ..files.writing import check_input_file, check_output_folder, whole_folder_or_nothing, whole_or_nothing
from ..progress import Progress, silent
from ..settings import RegistrationSettings
from .made_from import Earlier, MadeFrom, earlier_result, remove_left_over, write_record

REQUIRED = ("name", "fixed", "moving")
OPTIONAL = ("fixed_mask", "moving_mask", "initial_transform", "moving_labels")
SUMMARY = ("name", "status", "verdict", "ncc_before", "ncc_after", "folded_percent", "displacement_mean_mm", "message")
SUMMARY_FILE = "summary.csv"
DONE, FAILED = "done", "failed"
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # spreadsheets run a cell that begins so


@dataclass(frozen=True)
class Case:
    """One line of the table.

    Attributes:
        name: of the case and of its folder.
        files: the files of the other columns that are filled in, by column.
    """

    name: str
    files: dict[str, Path]


def read_cases(table: str | Path) -> list[Case]:
    """Read the lines of a table (CSV, any usual separator) with the columns `name`, `fixed`, `moving`, any `OPTIONAL`.

    Relative paths start at the table's folder; empty cells are ignored.

    Raises:
        RegistrationError: for a table that cannot be read or has no line, missing, unknown or repeated columns, a name
            that occurs twice or cannot be that of a folder, or a file that cannot be opened.
    """
    table = Path(table)
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            columns, lines = _rows(file.read())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RegistrationError(f"The table {table} cannot be read ({error}); give a CSV file.") from None
    if missing := [name for name in REQUIRED if name not in columns]:
        raise RegistrationError(f"The table {table} has no column {missing[0]!r}; it needs {', '.join(REQUIRED)}.")
    if unknown := [name for name in columns if name not in (*REQUIRED, *OPTIONAL)]:
        known = ", ".join((*REQUIRED, *OPTIONAL))
        raise RegistrationError(f"The column {unknown[0]!r} of {table} is not known; its columns may be {known}.")
    if not lines:
        raise RegistrationError(f"The table {table} names no pair; write a line for each.")
    if twice := [name for name in columns if columns.count(name) > 1]:
        raise RegistrationError(f"The column {twice[0]!r} comes twice in {table}; keep one of them.")
    cases = [_case(line, number, table) for number, line in lines]
    names = [case.name.lower() for case in cases]  # Windows and macOS make one folder of Ann and ann
    if twice := [case.name for case in cases if names.count(case.name.lower()) > 1]:
        raise RegistrationError(f"The name {twice[0]!r} comes twice in {table}; each pair needs a name of its own.")
    return cases


def _rows(text: str) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Parse a table to the names of its columns, in lower case, and its lines with their numbers.

    The separator, a comma, semicolon or tab, is detected. Empty lines and empty columns at the end are ignored.
    """
    head = text.lstrip().partition("\n")[0]
    separator = max(",;\t", key=head.count)
    reader = csv.reader(text.splitlines(), delimiter=separator)
    columns: list[str] = []
    lines: list[tuple[int, dict[str, str]]] = []
    for row in reader:
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if not columns:
            columns = [cell.lower() for cell in cells]
            while columns and not columns[-1]:
                columns.pop()
        else:
            lines.append((reader.line_num, dict(zip(columns, [*cells, *[""] * len(columns)], strict=False))))
    return columns, lines


def _case(line: dict[str, str], number: int, table: Path) -> Case:
    name = (line["name"] or "").strip()
    unusable = name != Path(name).name or name.startswith(".") or name.lower() == SUMMARY_FILE or not name.isprintable()
    if not name or unusable:
        raise RegistrationError(f"Line {number} of {table} has the name {name!r}, which is no name for a folder.")
    files = {
        key: table.parent / value.strip() for key, value in line.items() if key != "name" and (value or "").strip()
    }
    for key in REQUIRED[1:]:
        if key not in files:
            raise RegistrationError(f"{name}, line {number} of {table}, names no {key} image; fill it in.")
    for key, file in files.items():
        check_input_file(file, f"Line {number} of {table}: the {key} of {name},")
    return Case(name, files)


def run_batch(
    cases: Sequence[Case], folder: str | Path, settings: RegistrationSettings, progress: Progress = silent
) -> list[dict[str, str]]:
    """Register every case into `folder/<name>/`, and update `folder/summary.csv` after each.

    Args:
        cases: as `read_cases` returns them.
        folder: of the cohort; a case whose folder holds a result of the same inputs, settings and weights is not
            registered again.
        settings: of all registrations.
        progress: called with the fraction done and what is being done; it may raise `Cancelled` to stop the batch.
            Any other exception from it counts as a failure of the case.

    Returns:
        The rows of the summary, the columns of `SUMMARY` by name.

    Raises:
        RegistrationError: where the folder cannot be written.
        Cancelled: where `progress` raises it; every file written until then is complete.
    """
    folder = check_output_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, str]] = []
    for number, case in enumerate(cases):

        def within(fraction: float, message: str, number: int = number, name: str = case.name) -> None:
            progress((number + fraction) / len(cases), f"{name}: {message}")

        rows.append(_run_case(case, folder / case.name, settings, within))
        _write_summary(rows, folder)
    progress(1.0, "Done")
    return rows


def results_of_others(cases: Sequence[Case], folder: str | Path) -> list[str]:
    """Name the folders of a cohort that hold the result of a pair which is not among the cases."""
    names = {case.name for case in cases}
    return sorted(
        path.name for path in Path(folder).glob("*/") if path.name not in names and earlier_result(path) is not None
    )


def _run_case(case: Case, target: Path, settings: RegistrationSettings, progress: Progress) -> dict[str, str]:
    """Register a case unless its result is there, and return its row of the summary.

    Raises:
        Cancelled: where `progress` raises it.
    """
    earlier = earlier_result(target)
    again = ""
    try:
        made_from = MadeFrom.of(case.files, settings)
        changes = _changes(earlier, made_from)
        if changes is not None:
            again = f" Registered again: {changes}." if changes else ""
            files = _register(case, target, settings, made_from, progress)
            remove_left_over(target, earlier.files if earlier else (), files)
        quality = json.loads((target / "quality.json").read_text(encoding="utf-8"))
    except Cancelled:
        raise
    except Exception as error:  # a pair that fails must not stop the others
        kept = f" {target} still holds an earlier result, of other inputs or settings." if earlier else ""
        return {"name": case.name, "status": FAILED, "message": _sentence(error) + kept}
    return {"name": case.name, "status": DONE, "message": " ".join(quality["reasons"]) + again, **_measures(quality)}


def _changes(earlier: Earlier | None, now: MadeFrom) -> str | None:
    """Say why a case has to be registered, "" where it has no result yet; None where its result is there."""
    if earlier is None:
        return ""
    if earlier.made_from is None:
        return "what the earlier result was made from is not known"
    changes = now.changes(earlier.made_from)
    return f"changed since the earlier result: {changes}" if changes else None


def _register(
    case: Case, target: Path, settings: RegistrationSettings, made_from: MadeFrom, progress: Progress
) -> tuple[str, ...]:
    """Register a case, write its result, and return the names of its files."""
    # Imported here, so that errors in the table are reported before torch is loaded.
    from ..registration import register

    files = dict(case.files)
    fixed, moving = read_volume(files.pop("fixed"), "fixed"), read_volume(files.pop("moving"), "moving")
    labels = files.pop("moving_labels", None)
    labels = labels and read_labels(labels, moving, "moving")
    began = time.monotonic()
    registration = register(fixed, moving, settings, **files, progress=lambda part, what: progress(0.8 * part, what))
    progress(0.8, f"Writing ({time.monotonic() - began:.0f} s so far)")
    with whole_folder_or_nothing(target) as partial:
        registration.save(partial)
        if labels:
            write_image(registration.warp_labels(labels), partial / "warped_labels.nii.gz")
        return write_record(partial, made_from)


def _sentence(error: Exception) -> str:
    if isinstance(error, RegistrationError):
        return str(error)
    if isinstance(error, MemoryError):
        return NOT_ENOUGH_MEMORY
    traceback.print_exception(error)
    return f"The registration failed unexpectedly ({type(error).__name__}: {error})."


def _measures(quality: dict) -> dict[str, str]:
    measures = {name: quality[name] for name in SUMMARY if name in quality}
    return {name: f"{value:.4f}" if isinstance(value, float) else str(value) for name, value in measures.items()}


def _write_summary(rows: Sequence[dict[str, str]], folder: Path) -> None:
    with whole_or_nothing(folder / SUMMARY_FILE) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, SUMMARY, restval="")
        writer.writeheader()
        writer.writerows({column: _cell(value) for column, value in row.items()} for row in rows)


def _cell(text: str) -> str:
    """Quote a text that a spreadsheet would take for a formula; numbers stay as they are."""
    try:
        float(text)
    except ValueError:
        return f"'{text}" if text.startswith(FORMULA) else text
    return text
