"""A cohort is registered pair by pair; one bad pair costs nothing but itself, and what is done stays done."""

from __future__ import annotations

import csv

import pytest
import SimpleITK as sitk

from ULAERegistrationLib import registration
from ULAERegistrationLib.cli.main import main
from ULAERegistrationLib.errors import Cancelled, RegistrationError
from ULAERegistrationLib.process import batch
from ULAERegistrationLib.process.batch import SUMMARY, read_cases, run_batch
from ULAERegistrationLib.settings import RegistrationSettings


@pytest.fixture
def scan(tmp_path):
    sitk.WriteImage(sitk.GaussianSource(size=[30, 30, 30], sigma=[9] * 3, mean=[15] * 3), str(tmp_path / "scan.nii.gz"))
    return tmp_path / "scan.nii.gz"


@pytest.fixture
def table(scan):
    def write(*lines: str, header: str = "name,fixed,moving"):
        path = scan.parent / "cohort.csv"
        path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture
def quick(monkeypatch):
    """`register` that takes no time and does as the moving image's name says; tells which it was asked for."""
    asked = []

    def register(fixed, moving, settings, progress, **files):
        asked.append(files)
        progress(0.5, "Half way")
        if len(asked) == 2:
            raise RegistrationError("The moving image shows no brain; choose another.")
        return Result()

    class Result:
        def save(self, folder):
            folder.mkdir(parents=True)
            (folder / "quality.json").write_text(
                '{"verdict": "good", "reasons": ["They match."], "ncc_after": 0.61237}'
            )

    monkeypatch.setattr(registration, "register", register)
    monkeypatch.setattr(batch, "read_volume", lambda path, role: path)
    return asked


def test_one_bad_pair_does_not_stop_the_others_and_what_is_done_stays_done(table, quick, tmp_path):
    cases = read_cases(table(*(f"{name},scan.nii.gz,scan.nii.gz" for name in ("ann", "bob", "cid"))))
    heard = []
    rows = run_batch(cases, tmp_path / "out", RegistrationSettings(), lambda *told: heard.append(told))
    assert [row["status"] for row in rows] == ["done", "failed", "done"]
    with (tmp_path / "out" / "summary.csv").open() as file:
        written = list(csv.DictReader(file))
    assert list(written[0]) == list(SUMMARY)
    assert (written[0]["verdict"], written[0]["ncc_after"]) == ("good", "0.6124")
    assert written[1]["message"] == "The moving image shows no brain; choose another."
    assert [fraction for fraction, _ in heard] == sorted(fraction for fraction, _ in heard)
    assert heard[-1][0] == 1
    again = run_batch(cases, tmp_path / "out", RegistrationSettings())
    assert [row["status"] for row in again] == ["done"] * 3
    assert len(quick) == 4  # three, and the failed one again


def test_cancelling_ends_the_batch_and_keeps_what_is_done(table, quick, tmp_path):
    cases = read_cases(table("ann,scan.nii.gz,scan.nii.gz", "cid,scan.nii.gz,scan.nii.gz"))

    def cancel(fraction: float, message: str) -> None:
        if message.startswith("cid"):
            raise Cancelled

    with pytest.raises(Cancelled):
        run_batch(cases, tmp_path / "out", RegistrationSettings(), cancel)
    assert (tmp_path / "out" / "ann" / "quality.json").is_file()
    assert not (tmp_path / "out" / "cid").exists()


def test_masks_and_transforms_of_the_table_are_used(table, quick, scan, tmp_path):
    header = "name,fixed,moving,fixed_mask,initial_transform"
    line = f"ann,scan.nii.gz,{scan},scan.nii.gz,"
    run_batch(read_cases(table(line, header=header)), tmp_path / "out", RegistrationSettings())
    assert quick == [{"fixed_mask": scan}]


@pytest.mark.parametrize(
    ("header", "lines", "sentence"),
    [
        ("name,fixed", ["ann,scan.nii.gz"], "has no column 'moving'"),
        ("name,fixed,moving,colour", ["ann,scan.nii.gz,scan.nii.gz,red"], "column 'colour'"),
        ("name,fixed,moving", [], "names no pair"),
        ("name,fixed,moving", ["ann,scan.nii.gz,"], "names no moving image"),
        ("name,fixed,moving", ["ann,scan.nii.gz,none.nii.gz"], "does not exist"),
        ("name,fixed,moving", ["../ann,scan.nii.gz,scan.nii.gz"], "no name for a folder"),
        ("name,fixed,moving", ["ann,scan.nii.gz,scan.nii.gz"] * 2, "comes twice"),
        ("name,fixed,moving,fixed", ["ann,scan.nii.gz,scan.nii.gz,scan.nii.gz"], "column 'fixed' comes twice"),
    ],
)
def test_a_bad_table_is_refused_in_one_sentence_before_anything_runs(table, capsys, tmp_path, header, lines, sentence):
    assert main(["batch", str(table(*lines, header=header)), "-o", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_of_every_spreadsheet_are_read(table, separator):
    """Another separator, capitals, blank lines and empty columns at the end (pyradiomics #584)."""
    lines = [["ann", "scan.nii.gz", "scan.nii.gz", ""], ["", "", "", ""], [], ["bob", "scan.nii.gz", "scan.nii.gz", ""]]
    file = table(*(separator.join(line) for line in lines), header=separator.join(["Name", "Fixed", "Moving", ""]))
    assert [case.name for case in read_cases(file)] == ["ann", "bob"]


def test_a_fault_of_a_table_names_the_line_where_it_stands(table):
    with pytest.raises(RegistrationError, match="Line 4 "):
        read_cases(table("ann,scan.nii.gz,scan.nii.gz", "", "bob,none.nii.gz,scan.nii.gz"))


def test_a_table_that_is_not_there_is_refused(capsys, tmp_path):
    assert main(["batch", str(tmp_path / "none.csv"), "-o", str(tmp_path / "out")]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_the_command_says_which_pairs_failed(table, quick, tmp_path, capsys):
    lines = [f"{name},scan.nii.gz,scan.nii.gz" for name in ("ann", "bob")]
    assert main(["batch", str(table(*lines)), "-o", str(tmp_path / "out")]) == 1
    output = capsys.readouterr()
    assert "ann: good. They match." in output.out
    assert "1 of 2 pairs failed (bob)" in output.err
