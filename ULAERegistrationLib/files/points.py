"""Read and write files of points: CSV as ANTs has it, and Slicer's `.fcsv` and `.mrk.json`.

Points are LPS millimetres here, whatever the file says. Everything else in a file (names, descriptions, colours) is
kept when its points are replaced, but for what Slicer has measured with them, such as a length.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import RegistrationError
from .writing import check_input_file, check_output_file, whole_or_nothing

POINT_EXTENSIONS = (".csv", ".fcsv", ".mrk.json")
# Kinds of Slicer's markups that their control points describe wholly; an ROI or a plane has a centre and axes as well.
KINDS = ("Fiducial", "Line", "Angle", "Curve", "ClosedCurve")
UNITS = ("mm", "millimeter", "millimetre")
FLIP = np.array([-1.0, -1.0, 1.0])  # between LPS and RAS


@dataclass(frozen=True, eq=False)
class PointFile:
    """The content of a file of points.

    Attributes:
        points: float64 `[n, 3]`, LPS mm.
        extension: of the file, one of `POINT_EXTENSIONS`.
        text_with: returns the text of the same file with other points, `[n, 3]`, LPS mm.
    """

    points: np.ndarray
    extension: str
    text_with: Callable[[np.ndarray], str]


def read_points(path: str | os.PathLike[str]) -> PointFile:
    """Read a file of points.

        .csv        a head line with the columns x, y, z, in LPS mm (as ANTs), and any others; any usual separator
        .fcsv       Slicer's older markups; the frame is the one that the file names, RAS by default
        .mrk.json   Slicer's markups; the frame of each list of points is the one that the file names

    Raises:
        RegistrationError: where the file is missing, of another kind, cannot be read, or holds no points, or markups
            that are more than their points.
    """
    path = Path(path)
    check_input_file(path, "The file of points")
    readers = {".fcsv": _read_fcsv, ".csv": _read_csv, ".mrk.json": _read_markups}
    extension = next((end for end in readers if path.name.lower().endswith(end)), None)
    if extension is None:
        raise RegistrationError(f"{path} is no file of points; give one of {', '.join(POINT_EXTENSIONS)}.")
    try:
        points, text_with = readers[extension](path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise RegistrationError(f"The file of points {path} is not written in UTF-8; save it as UTF-8.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, csv.Error) as error:
        reason = f"{type(error).__name__}: {error}"
        raise RegistrationError(f"The points of {path} cannot be read ({reason}); check the file.") from None
    if not len(points):
        raise RegistrationError(f"{path} holds no points; choose another file.")
    if not np.isfinite(points).all():
        raise RegistrationError(f"{path} holds a point that is not finite; correct it.")
    return PointFile(points, extension, text_with)


def write_points(points: np.ndarray, like: PointFile, path: str | os.PathLike[str]) -> None:
    """Write points in place of those of a file, with everything else that it holds; completely or not at all.

    Args:
        points: float64 `[n, 3]`, LPS mm.
        like: the file they were read from.
        path: to write to, of the same kind.

    Raises:
        RegistrationError: for another extension, or where the file cannot be written.
    """
    path = check_output_file(path, (like.extension,))
    with whole_or_nothing(path) as partial:
        partial.write_text(like.text_with(points), encoding="utf-8")


_Read = tuple[np.ndarray, Callable[[np.ndarray], str]]


def separator_of(text: str) -> str:
    """Return the separator of a table, a comma, semicolon or tab: the most frequent one of its first line."""
    return max(",;\t", key=text.lstrip().partition("\n")[0].count)


class _Row(NamedTuple):
    """A row of a table, the line of the file that it ends in, and its text there."""

    line: int
    cells: list[str]
    text: str


def _rows_of(text: str, separator: str) -> list[_Row]:
    """Return the rows of a table that are not empty; a cell in quotes may hold line breaks."""
    lines = [*io.StringIO(text, newline="")]
    reader = csv.reader(lines, delimiter=separator)
    rows, before = [], 0
    for cells in reader:
        if any(cell.strip() for cell in cells):
            rows.append(_Row(reader.line_num, cells, "".join(lines[before : reader.line_num]).rstrip("\r\n")))
        before = reader.line_num
    return rows


def _points_of(rows: Sequence[_Row], places: Sequence[int]) -> np.ndarray:
    """Return the points of a table, float64 `[n, 3]`, whose coordinates lie in the cells of these numbers."""
    return _floats([_point(row, places) for row in rows])


def _point(row: _Row, places: Sequence[int]) -> list[float]:
    try:
        return [float(row.cells[place]) for place in places]
    except (IndexError, ValueError):
        raise ValueError(f"line {row.line} holds no point") from None


def _read_csv(text: str) -> _Read:
    separator = separator_of(text)
    head, *rows = _rows_of(text, separator) or [_Row(1, [], "")]
    names = [cell.strip().lower() for cell in head.cells]
    for axis in "xyz":
        if names.count(axis) != 1:
            raise ValueError(f"it has {'several columns' if axis in names else 'no column'} {axis}")
    places = [names.index(axis) for axis in "xyz"]

    def text_with(points: np.ndarray) -> str:
        new = (_replaced(row.cells, places, point) for row, point in zip(rows, points, strict=True))
        return _joined([head.cells, *new], separator)

    return _points_of(rows, places), text_with


def _read_fcsv(text: str) -> _Read:
    all_rows = _rows_of(text, ",")
    comments = [row.text for row in all_rows if row.cells[0].startswith("#")]
    rows = [row for row in all_rows if not row.cells[0].startswith("#")]
    frames = [line.partition("=")[2].strip().upper() for line in comments if "CoordinateSystem" in line]
    frame = frames[0] if frames else "RAS"
    flip = _flip({"0": "RAS", "1": "LPS"}.get(frame, frame))  # older versions wrote numbers
    places = [1, 2, 3]

    def text_with(points: np.ndarray) -> str:
        kept = "".join(f"{line}\n" for line in comments)
        new = (_replaced(row.cells, places, point) for row, point in zip(rows, points * flip, strict=True))
        return kept + _joined(list(new))

    return _points_of(rows, places) * flip, text_with


def _read_markups(text: str) -> _Read:
    content = json.loads(text)
    for markup in content["markups"]:
        if markup.get("type", KINDS[0]) not in KINDS:
            raise RegistrationError(
                f"Markups of the kind {markup['type']}, which are more than their control points, cannot be carried "
                f"along; give one of {', '.join(KINDS)}."
            )
        if (unit := markup.get("coordinateUnits", "mm")) not in UNITS:
            raise ValueError(f"its coordinates are in {unit}, not in mm")

    def control_points() -> list[tuple[dict[str, Any], np.ndarray]]:
        """List the points that have a position, with the factors between their frame and LPS."""
        return [
            (point, _flip(markup.get("coordinateSystem", "LPS")))
            for markup in content["markups"]
            for point in markup.get("controlPoints", [])
            if point.get("positionStatus", "defined") == "defined"
        ]

    def text_with(points: np.ndarray) -> str:
        for (one, flip), point in zip(control_points(), points, strict=True):
            one["position"] = [float(value) for value in point * flip]
        for markup in content["markups"]:
            markup.pop("measurements", None)  # Slicer measures anew
        return json.dumps(content, indent=4) + "\n"

    return _floats([np.array(point["position"], float) * flip for point, flip in control_points()]), text_with


def _flip(frame: str) -> np.ndarray:
    """Return the factors between a frame and LPS."""
    if frame not in ("LPS", "RAS"):
        raise ValueError(f"the coordinate system {frame} is not known")
    return np.ones(3) if frame == "LPS" else FLIP


def _floats(rows: list[Any]) -> np.ndarray:
    return np.array(rows, dtype=float).reshape(-1, 3)


def _replaced(row: list[str], places: list[int], point: np.ndarray) -> list[str]:
    new = list(row)
    for place, value in zip(places, point, strict=True):
        new[place] = f"{value:.6f}"
    return new


def _joined(rows: list[list[str]], separator: str = ",") -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\n").writerows(rows)
    return text.getvalue()
