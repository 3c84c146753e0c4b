"""Register a cohort: many pairs listed in a table, each into its own folder.

Pairs that have a result are not registered again, so that the same call continues after an interruption. A pair that
fails has a line in the summary and does not stop the others.
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
from ..files.writing import check_input_file, check_output_folder, whole_or_nothing
from ..progress import Progress, silent
from ..settings import RegistrationSettings

REQUIRED = ("name", "fixed", "moving")
OPTIONAL = ("fixed_mask", "moving_mask", "initial_transform", "moving_labels")
SUMMARY = ("name", "status", "verdict", "ncc_before", "ncc_after", "folded_percent", "displacement_mean_mm", "message")
DONE, FAILED = "done", "failed"


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
    names = [case.name for case in cases]
    if twice := [name for name in names if names.count(name) > 1]:
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
    if not name or name != Path(name).name or name.startswith("."):
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
        folder: of the cohort; a case that has a `quality.json` in its folder is not registered again.
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

        target = folder / case.name
        if not (target / "quality.json").is_file():
            try:
                _register(case, target, settings, within)
            except Cancelled:
                raise
            except Exception as error:  # a pair that fails must not stop the others
                rows.append({"name": case.name, "status": FAILED, "message": _sentence(error)})
                _write_summary(rows, folder)
                continue
        quality = json.loads((target / "quality.json").read_text(encoding="utf-8"))
        rows.append({"name": case.name, "status": DONE, "message": " ".join(quality["reasons"]), **_measures(quality)})
        _write_summary(rows, folder)
    progress(1.0, "Done")
    return rows


def _register(case: Case, target: Path, settings: RegistrationSettings, progress: Progress) -> None:
    # Imported here, so that errors in the table are reported before torch is loaded.
    from ..registration import register

    files = dict(case.files)
    fixed, moving = read_volume(files.pop("fixed"), "fixed"), read_volume(files.pop("moving"), "moving")
    labels = files.pop("moving_labels", None)
    labels = labels and read_labels(labels, moving, "moving")
    began = time.monotonic()
    registration = register(fixed, moving, settings, **files, progress=lambda part, what: progress(0.8 * part, what))
    if labels:
        write_image(registration.warp_labels(labels), target / "warped_labels.nii.gz")
    progress(0.8, f"Writing ({time.monotonic() - began:.0f} s so far)")
    registration.save(target)  # last, because its quality.json marks the case as done


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
    with whole_or_nothing(folder / "summary.csv") as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, SUMMARY, restval="")
        writer.writeheader()
        writer.writerows(rows)
