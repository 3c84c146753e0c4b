"""Files of points are read in the frame that they name, and written back with everything else that they hold."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.files.points import read_points, write_points

POINTS = np.array([[10.0, -20.0, 30.0], [1.5, 2.5, -3.5]])  # LPS

CSV = "name,x,y,z\nac,10,-20,30\npc,1.5,2.5,-3.5\n"
FCSV = """# Markups fiducial file version = 4.11
# CoordinateSystem = {}
# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID
1,{},{},30,0,0,0,1,1,1,0,ac,"in front, of all",
2,{},{},-3.5,0,0,0,1,1,1,0,pc,,
"""


def markups(frame: str, sign: int) -> str:
    points = [
        {"id": str(i), "label": name, "position": [sign * x, sign * y, z]}
        for i, (name, (x, y, z)) in enumerate(zip(("ac", "pc"), POINTS, strict=True))
    ]
    points.insert(1, {"id": "9", "label": "not placed yet", "positionStatus": "undefined"})
    return json.dumps({"markups": [{"type": "Fiducial", "coordinateSystem": frame, "controlPoints": points}]})


FILES = {
    "p.csv": CSV,
    "p-excel.csv": CSV.replace(",", ";"),
    "lps.fcsv": FCSV.format("LPS", 10, -20, 1.5, 2.5),
    "ras.fcsv": FCSV.format("RAS", -10, 20, -1.5, -2.5),
    "old.fcsv": FCSV.format("0", -10, 20, -1.5, -2.5),
    "lps.mrk.json": markups("LPS", 1),
    "ras.mrk.json": markups("RAS", -1),
}


@pytest.mark.parametrize("name", FILES)
def test_points_are_lps_whatever_frame_a_file_has_and_go_back_to_it(tmp_path, name: str) -> None:
    (tmp_path / name).write_text(FILES[name])
    file = read_points(tmp_path / name)
    assert np.allclose(file.points, POINTS)
    target = tmp_path / f"moved-{name}"
    write_points(POINTS + 1, file, target)
    assert np.allclose(read_points(target).points, POINTS + 1)
    before, after = (path.read_text() for path in (tmp_path / name, target))
    for kept in ("ac", "pc", "in front, of all", "CoordinateSystem", "coordinateSystem", "not placed yet"):
        assert (kept in after) == (kept in before)
    numbers = "11.000000" if name.startswith(("p", "lps.f")) else "-11.000000"
    assert name.endswith("json") or numbers in after


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("p.txt", CSV, "no file of points"),
        ("p.csv", "a,y,z\n1,2,3\n", "it has no column x"),
        ("p.csv", "name,x,y,z,x\na,1,2,3,4\n", "it has several columns x"),
        ("p.mrk.json", '{"markups": [{"coordinateUnits": "m", "controlPoints": []}]}', "in m, not in mm"),
        ("p.csv", "x,y,z\n1,2,three\n", "line 2 holds no point"),
        ("p.csv", "x,y,z\n1,2,3\n\n1,2\n", "line 4 holds no point"),
        ("p.fcsv", FCSV.format("LPS", 1, 2, 3, 4) + "3,1,2\n", "line 6 holds no point"),
        ("p.csv", "", "cannot be read"),
        ("p.csv", "x,y,z\n", "holds no points"),
        ("p.csv", "x,y,z\n1,2,nan\n", "not finite"),
        ("p.fcsv", FCSV.format("IJK", 1, 2, 3, 4), "coordinate system IJK"),
        ("p.mrk.json", "[]", "cannot be read"),
        ("p.mrk.json", "{", "cannot be read"),
        ("p.csv", CSV.encode("utf-16"), "not written in UTF-8; save it as UTF-8"),
    ],
)
def test_what_holds_no_points_is_refused_in_a_sentence(tmp_path, name: str, text: str | bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RegistrationError, match=sentence):
        read_points(tmp_path / name)


def test_points_are_written_to_the_kind_of_file_they_came_from(tmp_path) -> None:
    (tmp_path / "p.csv").write_text(CSV)
    with pytest.raises(RegistrationError, match=r"end its name with \.csv"):
        write_points(POINTS, read_points(tmp_path / "p.csv"), tmp_path / "p.fcsv")


def test_a_line_keeps_no_length_that_was_measured_before_its_points_moved(tmp_path) -> None:
    """Slicer computes it anew, but whoever reads the file does not."""
    content = json.loads(markups("LPS", 1).replace("Fiducial", "Line"))
    content["markups"][0]["measurements"] = [{"name": "length", "value": 12.5}]
    (tmp_path / "line.mrk.json").write_text(json.dumps(content))
    write_points(2 * POINTS, read_points(tmp_path / "line.mrk.json"), tmp_path / "moved.mrk.json")
    (line,) = json.loads((tmp_path / "moved.mrk.json").read_text())["markups"]
    assert "measurements" not in line
    assert line["type"] == "Line"
    assert line["controlPoints"][0]["position"] == (2 * POINTS[0]).tolist()


@pytest.mark.parametrize("kind", ["ROI", "Plane"])
def test_markups_that_are_more_than_their_control_points_are_refused(tmp_path, kind: str) -> None:
    """The centre and the size of an ROI would stay where they are."""
    (tmp_path / "p.mrk.json").write_text(markups("LPS", 1).replace("Fiducial", kind))
    with pytest.raises(RegistrationError, match=f"kind {kind}, .*; give one of Fiducial, Line, Angle, Curve"):
        read_points(tmp_path / "p.mrk.json")


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_labels_with_line_breaks_and_comments_anywhere_stay_whole(tmp_path, ending: str) -> None:
    """Word processors write U+2028 for a line break within a cell, spreadsheets quote a plain one."""
    rows = FCSV.format("LPS", 10, -20, 1.5, 2.5).replace("ac", "front\u2028ac").replace(",pc,", ',"pc\n#2, ""left""",')
    text = rows.replace("2,1.5", '# by hand, "twice","a, b"\n2,1.5').replace("\n", ending)
    (tmp_path / "p.fcsv").write_bytes(text.encode())
    file = read_points(tmp_path / "p.fcsv")
    assert np.allclose(file.points, POINTS)
    write_points(POINTS + 1, file, tmp_path / "moved.fcsv")
    assert np.allclose(read_points(tmp_path / "moved.fcsv").points, POINTS + 1)
    after = (tmp_path / "moved.fcsv").read_text(encoding="utf-8")
    for kept in (
        "front\u2028ac",
        'pc\n#2, ""left""',
        '# by hand, "twice","a, b"\n',
        "# CoordinateSystem = LPS\n",
        "of all",
    ):
        assert kept in after
