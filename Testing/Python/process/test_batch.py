"""A cohort is registered pair by pair; one bad pair costs nothing but itself, and what is done stays done."""

from __future__ import annotations

import csv
import errno
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from ULAERegistrationLib.cli.main import main
from ULAERegistrationLib.errors import Cancelled, RegistrationError
from ULAERegistrationLib.output import thumbnail
from ULAERegistrationLib.process import batch, local_workers
from ULAERegistrationLib.process.batch import run_batch
from ULAERegistrationLib.process.cases import read_cases
from ULAERegistrationLib.process.summary import SUMMARY
from ULAERegistrationLib.settings import RegistrationSettings


def lines_of(out):
    with (out / "summary.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def stop_at(name: str):
    def progress(fraction: float, message: str) -> None:
        if message.startswith(name):
            raise Cancelled

    return progress


def test_one_bad_pair_does_not_stop_the_others_and_what_is_done_stays_done(table, quick, tmp_path):
    lines = ("ann,scan.nii.gz,scan.nii.gz", "bob,bad.nii.gz,scan.nii.gz", "cid,scan.nii.gz,scan.nii.gz")
    cases = read_cases(table(*lines))
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
    assert [row["message"] for row in again] == [row["message"] for row in rows]
    assert len(quick) == 4  # three, and the failed one again


def test_a_summary_that_is_open_elsewhere_stops_no_pair(table, quick, tmp_path, monkeypatch):
    def locked(rows, folder):
        raise RegistrationError("summary.csv could not be written.")

    monkeypatch.setattr(batch, "write_summary", locked)
    monkeypatch.setattr(batch, "SUMMARY_SECONDS", 0)
    cases = read_cases(table(*(f"{name},scan.nii.gz,scan.nii.gz" for name in ("ann", "bob", "cid"))))
    with pytest.raises(RegistrationError, match=r"summary.csv could not"):
        run_batch(cases, tmp_path / "out", RegistrationSettings())
    assert all((tmp_path / "out" / case.name / "quality.json").is_file() for case in cases)


def test_results_of_pairs_that_the_table_does_not_name_are_said(table, quick, tmp_path, capsys):
    for name in ("ann", "bob"):
        assert main(["batch", str(table(f"{name},scan.nii.gz,scan.nii.gz")), "-o", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.endswith("also holds results of pairs that are not among these: ann.\n")


def test_folders_of_other_users_cost_their_own_pairs_alone(table, quick, tmp_path, monkeypatch, capsys):
    """Such as lost+found, in the output folder of a disk of its own."""
    out, stat = tmp_path / "out", os.stat
    others = [out / "bob", out / "lost+found"]
    for folder in others:
        folder.mkdir(parents=True)

    def stat_of_a_user(path, *given, **named):
        if isinstance(path, (str, os.PathLike)) and Path(path).parent in others:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return stat(path, *given, **named)

    monkeypatch.setattr(os, "stat", stat_of_a_user)
    lines = (f"{name},scan.nii.gz,scan.nii.gz" for name in ("ann", "bob", "cid"))
    assert main(["batch", str(table(*lines)), "-o", str(out)]) == 1
    assert "1 of 3 pairs failed (bob)" in capsys.readouterr().err
    assert [line["status"] for line in lines_of(out)] == ["done", "failed", "done"]


def test_a_cohort_that_cannot_be_locked_is_refused_in_one_sentence(table, quick, tmp_path, monkeypatch, capsys):
    call = ["batch", str(table("ann,scan.nii.gz,scan.nii.gz")), "-o", str(tmp_path / "out")]
    lock = tmp_path / "out" / ".locks"
    lock.parent.mkdir()
    lock.write_text("in the way")
    assert main(call) == 1
    assert capsys.readouterr().err.startswith(f"ulae: {lock / '.batch'} cannot be locked (File exists); ")
    lock.unlink()

    def acquire(*_):
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(FileLock, "acquire", acquire)
    assert main(call) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"ulae: {lock / '.batch'} cannot be locked (FileSystem does not appear to support flock); ")
    assert told.count("\n") == 1
    assert quick == []


def test_a_pair_that_cannot_be_locked_fails_alone(table, quick, tmp_path):
    (tmp_path / "out" / ".locks" / "ann").mkdir(parents=True)
    cases = read_cases(table("ann,scan.nii.gz,scan.nii.gz", "bob,scan.nii.gz,scan.nii.gz"))
    ann, bob = run_batch(cases, tmp_path / "out", RegistrationSettings())
    assert ann["message"].startswith(f"{tmp_path / 'out' / '.locks' / 'ann'} cannot be locked (")
    assert (ann["status"], bob["status"]) == ("failed", "done")


def test_a_pair_whose_folder_is_in_the_way_fails_before_anything_is_computed(table, quick, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "ann").write_text("in the way")
    cases = read_cases(table("ann,scan.nii.gz,scan.nii.gz", "bob,scan.nii.gz,scan.nii.gz"))
    ann, bob = run_batch(cases, tmp_path / "out", RegistrationSettings())
    assert (ann["status"], bob["status"]) == ("failed", "done")
    assert (
        ann["message"]
        == f"Nothing can be written to {tmp_path / 'out' / 'ann'} (it is not a folder); choose another folder."
    )
    assert len(quick) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on the length of files")
def test_a_batch_ends_where_its_folder_takes_no_more_results_and_fills_no_other_place(
    table, quick, tmp_path, monkeypatch, capsys
):
    import resource

    out, other = tmp_path / "out", tmp_path / "other"
    other.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(other))
    monkeypatch.setenv("HOME", str(other))
    monkeypatch.setattr(thumbnail, "thumbnail", lambda view: b"a picture" if len(quick) < 2 else bytes(1_000_000))
    call = ["batch", str(table(*(f"{name},scan.nii.gz,scan.nii.gz" for name in "abcd"))), "-o", str(out), "--quiet"]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))
    try:
        assert main(call) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    reason = f"{out / 'b'} could not be written (File too large), and {out} takes no other result."
    assert capsys.readouterr().err.startswith(f"ulae: {reason} 3 of 4 pairs are left; free some space ")
    assert len(quick) == 2, "no further pair is registered"
    assert list(other.iterdir()) == []
    assert {path.name for path in out.iterdir()} == {".locks", "a", "summary.csv", "summary.html"}
    lines = lines_of(out)
    assert [line["status"] for line in lines] == ["done", "not done", "not done", "not done"]
    assert [line["message"] for line in lines] == ["They match.", reason, "", ""]
    assert main(call) == 0
    assert len(quick) == 5
    assert {line["status"] for line in lines_of(out)} == {"done"}


def test_workers_are_stopped_where_the_folder_takes_no_more_results(table, tmp_path, monkeypatch):
    ended = []

    def on_this_machine(cases, *_):
        try:
            for case in cases:
                yield {"name": case.name, "status": "not done", "message": "The disk is full."}
        finally:
            ended.append("stopped")

    monkeypatch.setattr(local_workers, "run_on_this_machine", on_this_machine)
    cases = read_cases(table("ann,scan.nii.gz,scan.nii.gz", "bob,scan.nii.gz,scan.nii.gz"))
    with pytest.raises(RegistrationError, match=r"^The disk is full\. 2 of 2 pairs are left"):
        run_batch(cases, tmp_path / "out", RegistrationSettings(), lambda *told: None, workers=2)
    assert ended == ["stopped"]


def test_what_ended_a_batch_is_said_where_the_summary_cannot_be_written_either(table, quick, tmp_path):
    (tmp_path / "out" / "summary.csv").mkdir(parents=True)
    cases = read_cases(table("ann,scan.nii.gz,scan.nii.gz", "bob,scan.nii.gz,scan.nii.gz"))
    with pytest.raises(Cancelled):
        run_batch(cases, tmp_path / "out", RegistrationSettings(), stop_at("bob"))


def test_a_spreadsheet_finds_no_formula_in_the_summary(table, quick, tmp_path):
    name = "=HYPERLINK(A1)"
    (row,) = run_batch(read_cases(table(f"{name},scan.nii.gz,scan.nii.gz")), tmp_path / "out", RegistrationSettings())
    with (tmp_path / "out" / "summary.csv").open() as file:
        (line,) = csv.DictReader(file)
    assert (row["name"], line["name"], line["ncc_after"]) == (name, f"'{name}", "0.6124")


def test_cancelling_ends_the_batch_and_keeps_what_is_done(table, quick, tmp_path):
    cases = read_cases(table("ann,scan.nii.gz,scan.nii.gz", "cid,scan.nii.gz,scan.nii.gz"))

    with pytest.raises(Cancelled):
        run_batch(cases, tmp_path / "out", RegistrationSettings(), stop_at("cid"))
    assert (tmp_path / "out" / "ann" / "quality.json").is_file()
    assert not (tmp_path / "out" / "cid").exists()


def test_a_pair_that_no_run_has_reached_is_a_line_that_says_so(table, quick, tmp_path):
    cases = read_cases(table(*(f"{name},scan.nii.gz,scan.nii.gz" for name in ("ann", "bob", "cid"))))
    with pytest.raises(Cancelled):
        run_batch(cases, tmp_path / "out", RegistrationSettings(), stop_at("bob"))
    states = [(line["name"], line["status"]) for line in lines_of(tmp_path / "out")]
    assert states == [("ann", "done"), ("bob", "not done"), ("cid", "not done")]
    page = (tmp_path / "out" / "summary.html").read_text(encoding="utf-8")
    assert "3 pairs: 2 not done, 1 good." in page


def test_an_interrupted_run_keeps_the_lines_of_the_pairs_that_it_has_not_reached(table, quick, tmp_path):
    scans = {"ann": "scan", "=bob": "scan", "cid": "bad", "dan": "scan"}
    cases = read_cases(table(*(f"{name},{fixed}.nii.gz,scan.nii.gz" for name, fixed in scans.items())))
    out = tmp_path / "out"
    run_batch(cases, out, RegistrationSettings())
    before = lines_of(out)
    (out / "dan" / "quality.json").unlink()
    with pytest.raises(Cancelled):
        run_batch(cases, out, replace(RegistrationSettings(), smoothness=2.0), stop_at("=bob"))
    after = lines_of(out)
    assert "Registered again" in after[0]["message"]
    assert after[1:3] == before[1:3]
    assert after[2]["status"] == "failed"
    assert after[3]["status"] == "not done", "its result is no longer there"


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"name;status\nbob;failed\n", b'name,status,ncc_after\nbob,failed,"0,5"\n']
)
def test_what_is_no_line_of_a_summary_stops_no_run(table, quick, tmp_path, content):
    """An earlier summary that a spreadsheet has written, say."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "summary.csv").write_bytes(content)
    cases = read_cases(table("ann,scan.nii.gz,scan.nii.gz", "bob,scan.nii.gz,scan.nii.gz"))
    with pytest.raises(Cancelled):
        run_batch(cases, tmp_path / "out", RegistrationSettings(), stop_at("bob"))
    assert [line["status"] for line in lines_of(tmp_path / "out")] == ["done", "not done"]


def test_masks_and_transforms_of_the_table_are_used(table, quick, scan, tmp_path):
    header = "name,fixed,moving,fixed_mask,initial_transform"
    line = f"ann,scan.nii.gz,{scan},scan.nii.gz,"
    run_batch(read_cases(table(line, header=header)), tmp_path / "out", RegistrationSettings())
    assert quick == [{"fixed_mask": scan}]


def test_a_batch_that_would_overwrite_what_it_reads_is_refused_and_writes_nothing(table, quick, scan, tmp_path, capsys):
    earlier = tmp_path / "people" / "ann" / "warped.nii.gz"
    earlier.parent.mkdir(parents=True)
    earlier.write_bytes(scan.read_bytes())
    summary = table("ann,scan.nii.gz,scan.nii.gz").rename(tmp_path / "summary.csv")
    row = table(f"ann,scan.nii.gz,{earlier}")
    raw = tmp_path / "raw" / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    raw.parent.mkdir(parents=True)
    raw.write_bytes(scan.read_bytes())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for call, status, sentence in (
        ([row, "-o", tmp_path / "people"], 2, f"{earlier} is read and would be overwritten"),
        ([summary, "-o", tmp_path], 2, f"{summary} is read and would be overwritten"),
        (["--bids", tmp_path / "raw", "-o", tmp_path / "raw"], 1, "is the dataset itself"),
    ):
        assert main(["batch", *map(str, call)]) == status
        assert sentence in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert quick == []


def test_a_mask_that_was_corrected_in_the_result_may_be_given(table, quick, scan, tmp_path):
    mask = tmp_path / "out" / "ann" / "fixed_brain.nii.gz"
    mask.parent.mkdir(parents=True)
    mask.write_bytes(scan.read_bytes())
    file = table(f"ann,scan.nii.gz,{scan},{mask}", header="name,fixed,moving,fixed_mask")
    assert main(["batch", str(file), "-o", str(tmp_path / "out")]) == 0
    assert quick == [{"fixed_mask": mask}]


def test_the_command_says_which_pairs_failed(table, quick, tmp_path, capsys):
    lines = ["ann,scan.nii.gz,scan.nii.gz", "bob,bad.nii.gz,scan.nii.gz"]
    assert main(["batch", str(table(*lines)), "-o", str(tmp_path / "out")]) == 1
    output = capsys.readouterr()
    assert "ann: good. They match." in output.out
    assert output.out.endswith(f"every pair on one page: {tmp_path / 'out' / 'summary.html'}\n")
    assert "1 of 2 pairs failed (bob)" in output.err


def test_the_command_tells_a_program_how_every_pair_went(table, quick, tmp_path, capsys):
    lines = ["ann,scan.nii.gz,scan.nii.gz", "bob,bad.nii.gz,scan.nii.gz"]
    assert main(["batch", str(table(*lines)), "-o", str(tmp_path / "out"), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["failed"] == ["bob"]
    ann, bob = told["pairs"]
    assert (ann["verdict"], ann["ncc_after"], bob["status"]) == ("good", 0.6124, "failed")


def test_the_command_asks_for_the_workers_that_it_is_given(table, quick, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(batch, "run_batch", lambda *given, **_: asked.append(given[-2:]) or [])
    call = ["batch", str(table("ann,scan.nii.gz,scan.nii.gz")), "-o", str(tmp_path / "out"), "--quiet"]
    for options in (["--workers", "3"], ["--scheduler", "tcp://node1:8786"]):
        assert main([*call, *options]) == 0
    assert asked == [(3, None), (1, "tcp://node1:8786")]
