"""The pairs of a cohort: from a table, or made from lists of scans."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..errors import RegistrationError
from ..files.inputs import stem
from ..files.points import separator_of
from ..files.writing import check_input_file
from ..geometry.canonical import TEMPLATE
from ..settings import RegistrationSettings
from .summary import SUMMARY_FILES

REQUIRED = ("name", "fixed", "moving")
IMAGES = ("fixed", "moving")  # which may be folders of DICOM files
OPTIONAL = ("fixed_mask", "moving_mask", "initial_transform", "moving_labels")
LONGEST_NAME = 220  # bytes of a pair's name: a file's may have 255, and names of BIDS add 27 to that of their pair
EXCEL_SEPARATOR = re.compile(r'\A"?sep=.?"?[ \t]*(\r\n?|\n)', re.IGNORECASE)
Item = TypeVar("Item")


@dataclass(frozen=True)
class Case:
    """One line of the table.

    Attributes:
        name: of the case and of its folder.
        files: the files of the other columns that are filled in, by column.
        problem: a sentence that says why it cannot be registered, so that it fails; empty where it can.
    """

    name: str
    files: dict[str, Path]
    problem: str = ""


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
    except UnicodeDecodeError:
        raise RegistrationError(f"The table {table} is not written in UTF-8; save it as CSV UTF-8.") from None
    except (OSError, csv.Error) as error:
        raise RegistrationError(f"The table {table} cannot be read ({error}); give a CSV file.") from None
    if missing := [name for name in REQUIRED if name not in columns]:
        raise RegistrationError(f"The table {table} has no column {missing[0]!r}; it needs {', '.join(REQUIRED)}.")
    if unknown := [name for name in columns if name not in (*REQUIRED, *OPTIONAL)]:
        known = ", ".join((*REQUIRED, *OPTIONAL))
        raise RegistrationError(f"The column {unknown[0]!r} of {table} is not known; its columns may be {known}.")
    if not lines:
        raise RegistrationError(f"The table {table} names no pair; write a line for each.")
    if twice := _repeated(columns):
        raise RegistrationError(f"The column {twice[0]!r} comes twice in {table}; keep one of them.")
    return with_checked_names(
        [_case(line, number, table) for number, line in lines], f"give its pair another one in {table}"
    )


def with_checked_names(cases: list[Case], advice: str = "rename its scan, or name the pairs in a table") -> list[Case]:
    """Return the pairs, each of which has a name of its own that a folder can have.

    Args:
        cases: the pairs.
        advice: what to do about a name that is refused.

    Raises:
        RegistrationError: where a name is refused.
    """
    twice = {*_repeated([case.name.lower() for case in cases])}  # Windows and macOS make one folder of Ann and ann
    for case in cases:
        if not _names_folder(case.name):
            raise RegistrationError(f"{case.name!r} is no name for a folder; {advice}.")
        if case.name.lower() in twice:
            raise RegistrationError(f"The name {case.name!r} comes twice; {advice}.")
    return cases


def _names_folder(name: str) -> bool:
    """Tell whether a folder of a cohort can be called so on every system, and a terminal be shown the name."""
    is_reserved = name.startswith(".") or name.lower() in SUMMARY_FILES
    if not name or is_reserved or name != Path(name).name or not name.isprintable():  # what is no UTF-8 is not either
        return False
    return len(name.encode()) <= LONGEST_NAME


def _rows(text: str) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Parse a table to the names of its columns, in lower case, and its lines with their numbers.

    The separator, a comma, semicolon or tab, is detected. Empty lines and empty columns at the end are ignored, as is a
    first line that names the separator for Excel.
    """
    text = EXCEL_SEPARATOR.sub(r"\1", text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator_of(text))
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
    name = line["name"]
    if not name:
        raise RegistrationError(f"Line {number} of {table} has no name; fill it in.")
    files = {key: table.parent / value for key, value in line.items() if key != "name" and value}
    for key in REQUIRED[1:]:
        if key not in files:
            raise RegistrationError(f"{name}, line {number} of {table}, names no {key} image; fill it in.")
    for key, file in files.items():
        check_input_file(file, f"Line {number} of {table}: the {key} of {name},", or_folder=key in IMAGES)
    return Case(name, files)


def one_fixed(fixed: Path, moving: Sequence[Path]) -> list[Case]:
    """Pair one fixed scan with each of many moving scans; each pair is named after its moving scan.

    Raises:
        RegistrationError: where a scan cannot be opened or comes twice, or a pair cannot have its name.
    """
    check_input_file(fixed, "The fixed image", or_folder=True)
    return with_checked_names([Case(name, {"fixed": fixed, "moving": path}) for name, path in _named(moving).items()])


def to_template(moving: Sequence[Path]) -> list[Case]:
    """Pair the shipped template, as the fixed image, with each of many moving scans.

    Raises:
        RegistrationError: where a scan cannot be opened or comes twice, or a pair cannot have its name.
    """
    return one_fixed(TEMPLATE, moving)


def all_pairs(scans: Sequence[Path]) -> list[Case]:
    """Pair every scan with every other one, in both orders; `b_to_a` has a as the fixed scan.

    Raises:
        RegistrationError: for fewer than two scans, or where a scan cannot be opened or comes twice, or a pair cannot
            have its name.
    """
    named = _named(scans)
    if len(named) < 2:
        raise RegistrationError("One scan makes no pair; give two or more.")
    return with_checked_names(
        [
            Case(f"{moving}_to_{fixed}", {"fixed": named[fixed], "moving": named[moving]})
            for fixed in named
            for moving in named
            if fixed != moving
        ]
    )


def _named(scans: Sequence[Path]) -> dict[str, Path]:
    """Name scans after their files, and after the folders above too where files are called the same.

    Raises:
        RegistrationError: where a scan cannot be opened, or comes twice.
    """
    scans = [path.absolute() for path in scans]
    for path in scans:
        check_input_file(path, "The scan", or_folder=True)
    if twice := _repeated(scans):
        raise RegistrationError(f"The scan {twice[0]} comes twice; give it once.")
    for depth in range(1, 1 + max(len(path.parts) for path in scans)):
        names = ["_".join((*path.parts[1:][-depth:-1], stem(path))) for path in scans]
        if len({name.lower() for name in names}) == len(names):
            break
    else:
        common = _repeated([name.lower() for name in names])[0]
        twins = [path for path, name in zip(scans, names, strict=True) if name.lower() == common]
        raise RegistrationError(
            f"The scans {twins[0]} and {twins[1]} have one name; give them different ones, or use a table."
        )
    return dict(zip(names, scans, strict=True))


def _repeated(values: Sequence[Item]) -> list[Item]:
    """Return the values that come more than once, each once."""
    return [value for value, number in Counter(values).items() if number > 1]


@dataclass(frozen=True, kw_only=True)
class CaseJob:
    """What a process that registers one case is told.

    Attributes:
        case: the pair; its files are absolute, or relative to the process's folder.
        target: the folder for its result.
        settings: of the registration.
        threads: how many the process may use.
    """

    case: Case
    target: Path
    settings: RegistrationSettings
    threads: int

    def to_json(self) -> str:
        """Return the text of the job file."""
        return json.dumps(asdict(self), default=str, indent=1)

    @classmethod
    def from_json(cls, text: str) -> CaseJob:
        """Parse the text of a job file."""
        values: dict[str, Any] = json.loads(text)
        files = {column: Path(path) for column, path in values["case"]["files"].items()}
        return cls(
            case=Case(values["case"]["name"], files, values["case"]["problem"]),
            target=Path(values["target"]),
            settings=RegistrationSettings(**values["settings"]),
            threads=values["threads"],
        )
