"""A cohort is registered pair by pair; one bad pair costs nothing but itself, and what is done stays done."""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
from dataclasses import replace

import pytest
import SimpleITK as sitk

from ULAERegistrationLib import __version__, registration
from ULAERegistrationLib.cli.main import main
from ULAERegistrationLib.errors import Cancelled, RegistrationError
from ULAERegistrationLib.output import thumbnail
from ULAERegistrationLib.process import batch, cluster, pair
from ULAERegistrationLib.process.batch import run_batch
from ULAERegistrationLib.process.cases import Case, read_cases
from ULAERegistrationLib.process.made_from import MadeFrom
from ULAERegistrationLib.process.summary import SUMMARY
from ULAERegistrationLib.settings import RegistrationSettings

PLAIN = {"quality.json", "made_from.json", "thumbnail.jpg"}  # what the stand-in for a registration leaves


@pytest.fixture
def quick(monkeypatch):
    """`register` that takes no time and does as the moving image's name says; tells which it was asked for."""
    asked = []

    def register(fixed, moving, settings, progress, **files):
        asked.append(files)
        progress(0.5, "Half way")
        if fixed.name == "bad.nii.gz":
            raise RegistrationError("The moving image shows no brain; choose another.")
        return Result()

    class Result:
        def save(self, folder, warped_labels):
            if warped_labels is not None:
                sitk.WriteImage(warped_labels, str(folder / "warped_labels.nii.gz"))
            (folder / "quality.json").write_text(
                '{"verdict": "good", "reasons": ["They match."], "ncc_after": 0.61237}'
            )

        def warp_labels(self, labels):
            return labels

        def view(self):
            return None

    monkeypatch.setattr(registration, "register", register)
    monkeypatch.setattr(thumbnail, "thumbnail", lambda view: b"a picture")
    monkeypatch.setattr(pair, "read_volume", lambda path, role: path)
    monkeypatch.setattr(pair, "read_labels", lambda path, image, role: sitk.ReadImage(str(path)))
    return asked


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


def changed_input(folder, case, settings):
    case.files["moving"].write_bytes(b"another scan")
    return case, settings, "moving"


def changed_setting(folder, case, settings):
    return case, replace(settings, smoothness=2.0), "setting smoothness"


def changed_weights(folder, case, settings):
    (folder / "own.safetensors").write_bytes(b"weights")
    return case, replace(settings, model=str(folder / "own.safetensors")), "weights of the registration"


def added_labels(folder, case, settings):
    return Case(case.name, {**case.files, "moving_labels": folder / "bad.nii.gz"}), settings, "moving labels"


@pytest.mark.parametrize("change", [changed_input, changed_setting, changed_weights, added_labels])
def test_a_pair_is_registered_again_where_what_it_was_made_from_has_changed(table, quick, tmp_path, change):
    """A corrected table, another preset, labels added (mne-bids-pipeline #901)."""
    (case,), settings = read_cases(table("ann,scan.nii.gz,bad.nii.gz")), RegistrationSettings()
    run_batch([case], tmp_path / "out", settings)
    run_batch([case], tmp_path / "out", replace(settings, device="cpu"))  # where it runs changes nothing
    assert len(quick) == 1
    case, settings, what = change(tmp_path, case, settings)
    (row,) = run_batch([case], tmp_path / "out", settings)
    assert len(quick) == 2
    assert row["message"] == f"They match. Registered again: changed since the earlier result: {what}."
    assert "Registered again" not in run_batch([case], tmp_path / "out", settings)[0]["message"]
    assert len(quick) == 2


@pytest.mark.parametrize("kind", ["DICOM", "mhd", "mhd, folder", "nhdr, slices", "hdr"])
def test_a_scan_of_several_files_has_changed_where_any_of_them_has(tmp_path, kind):
    named, other = {
        "DICOM": ("IM1", "IM2"),
        "mhd": ("scan.mhd", "voxels.raw"),
        "mhd, folder": ("scan.mhd", "data/voxels.raw"),
        "nhdr, slices": ("scan.nhdr", "data/001.raw"),
        "hdr": ("scan.hdr", "scan.img"),
    }[kind]
    beginning = {
        "DICOM": bytes(128) + b"DICM",
        "mhd": b"ElementDataFile = voxels.raw\n",
        "mhd, folder": b"ElementDataFile = data/voxels.raw\n",
        "nhdr, slices": b"NRRD0004\ndata file: data/%03d.raw 1 2 1\n",
        "hdr": b"a header",
    }[kind]
    (tmp_path / "data").mkdir()
    (tmp_path / named).write_bytes(beginning)
    (tmp_path / other).write_bytes(b"voxels")
    (tmp_path / "scan").mkdir()  # the folder of a result, say
    files, settings = {"moving": tmp_path / named}, RegistrationSettings()
    before = MadeFrom.of(files, settings)
    assert MadeFrom.of(files, settings).changes(before) == ""
    (tmp_path / other).write_bytes(b"others")
    assert MadeFrom.of(files, settings).changes(before) == "moving"


def test_a_summary_that_is_open_elsewhere_stops_no_pair(table, quick, tmp_path, monkeypatch):
    def locked(rows, folder):
        raise RegistrationError("summary.csv could not be written.")

    monkeypatch.setattr(batch, "write_summary", locked)
    monkeypatch.setattr(batch, "SUMMARY_SECONDS", 0)
    cases = read_cases(table(*(f"{name},scan.nii.gz,scan.nii.gz" for name in ("ann", "bob", "cid"))))
    with pytest.raises(RegistrationError, match=r"summary.csv could not"):
        run_batch(cases, tmp_path / "out", RegistrationSettings())
    assert all((tmp_path / "out" / case.name / "quality.json").is_file() for case in cases)


def test_no_file_of_an_earlier_result_lies_beside_the_new_one_and_others_stay(table, quick, tmp_path):
    header, line = "name,fixed,moving,moving_labels", "ann,scan.nii.gz,scan.nii.gz,scan.nii.gz"
    out = tmp_path / "out"
    run_batch(read_cases(table(line, header=header)), out, RegistrationSettings())
    assert {path.name for path in (out / "ann").iterdir()} == PLAIN | {"warped_labels.nii.gz"}
    (out / "ann" / "notes.txt").write_text("my own")
    run_batch(read_cases(table(line.rpartition(",")[0])), out, RegistrationSettings())
    assert {path.name for path in (out / "ann").iterdir()} == PLAIN | {"notes.txt"}


def test_a_result_of_which_is_not_known_what_it_was_made_from_is_made_again(table, quick, tmp_path):
    cases = read_cases(table("ann,scan.nii.gz,scan.nii.gz"))
    run_batch(cases, tmp_path / "out", RegistrationSettings())
    (tmp_path / "out" / "ann" / "made_from.json").write_text("[]")
    (row,) = run_batch(cases, tmp_path / "out", RegistrationSettings())
    assert "is not known" in row["message"]
    assert len(quick) == 2


def test_results_of_another_version_stay_and_are_counted(table, quick, tmp_path, capsys):
    out = tmp_path / "out"
    call = ["batch", str(table(*(f"{name},scan.nii.gz,scan.nii.gz" for name in ("ann", "bob", "cid")))), "-o", str(out)]
    assert main(call) == 0
    assert "another version" not in capsys.readouterr().out + (out / "summary.html").read_text(encoding="utf-8")
    for name in ("ann", "cid"):
        record = json.loads((out / name / "made_from.json").read_text())
        (out / name / "made_from.json").write_text(json.dumps({**record, "version": "0.1.9"}))
    assert main(call) == 0
    assert len(quick) == 3, "none is registered again"
    sentence = f"2 of 3 results were made by another version than {__version__} (column version of summary.csv); "
    advice = "to make them again, remove their folders and give the same call."
    assert f"{sentence}{advice}\n" in capsys.readouterr().out
    assert sentence + advice in (out / "summary.html").read_text(encoding="utf-8")
    assert [line["version"] for line in lines_of(out)] == ["0.1.9", __version__, "0.1.9"]
    for name in ("ann", "cid"):
        shutil.rmtree(out / name)
    assert main(call) == 0
    assert "another version" not in capsys.readouterr().out + (out / "summary.html").read_text(encoding="utf-8")


def test_an_earlier_result_stays_where_the_new_one_fails_and_is_not_taken_for_it(table, quick, scan, tmp_path):
    out = tmp_path / "out"
    run_batch(read_cases(table("ann,scan.nii.gz,scan.nii.gz")), out, RegistrationSettings())
    before = (out / "ann" / "quality.json").read_bytes()
    for _ in range(2):
        (row,) = run_batch(read_cases(table("ann,bad.nii.gz,scan.nii.gz")), out, RegistrationSettings())
        assert row["status"] == "failed"
        assert row["message"].endswith("still holds an earlier result, of other inputs or settings.")
    assert (out / "ann" / "quality.json").read_bytes() == before
    with (out / "summary.csv").open() as file:
        assert [line["verdict"] for line in csv.DictReader(file)] == [""]


def test_results_of_pairs_that_the_table_does_not_name_are_said(table, quick, tmp_path, capsys):
    for name in ("ann", "bob"):
        assert main(["batch", str(table(f"{name},scan.nii.gz,scan.nii.gz")), "-o", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.endswith("also holds results of pairs that are not among these: ann.\n")


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

    def run_on_workers(cases, *_):
        try:
            for case in cases:
                yield {"name": case.name, "status": "not done", "message": "The disk is full."}
        finally:
            ended.append("stopped")

    monkeypatch.setattr(cluster, "run_on_workers", run_on_workers)
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


def test_what_a_killed_run_has_left_in_the_folder_of_a_pair_is_removed(table, quick, tmp_path):
    left = tmp_path / "out" / "ann" / ".partial-othermachine-1" / "half"
    left.parent.mkdir(parents=True)
    left.write_text("half")
    run_batch(read_cases(table("ann,scan.nii.gz,scan.nii.gz")), tmp_path / "out", RegistrationSettings())
    assert {path.name for path in (tmp_path / "out" / "ann").iterdir()} == PLAIN


@pytest.mark.parametrize("change", [{"preset": "fast"}, {"brain": "skip"}, {"precision": "float32"}])
def test_a_pair_is_registered_again_where_any_setting_that_changes_the_result_has(table, quick, tmp_path, change):
    cases = read_cases(table("ann,scan.nii.gz,scan.nii.gz"))
    for settings in (RegistrationSettings(), RegistrationSettings(**change)):
        run_batch(cases, tmp_path / "out", settings)
    assert len(quick) == 2


def test_a_pair_is_registered_again_where_the_weights_that_find_the_brain_have_changed(
    table, quick, tmp_path, monkeypatch
):
    cases = read_cases(table("ann,scan.nii.gz,scan.nii.gz"))
    run_batch(cases, tmp_path / "out", RegistrationSettings())
    (tmp_path / "brain.safetensors").write_bytes(b"others")
    monkeypatch.setattr("ULAERegistrationLib.network.brain_net.BRAIN_WEIGHTS", tmp_path / "brain.safetensors")
    (row,) = run_batch(cases, tmp_path / "out", RegistrationSettings())
    assert row["message"].endswith("weights of the brain extraction.")


def test_the_command_asks_for_the_workers_that_it_is_given(table, quick, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(batch, "run_batch", lambda *given: asked.append(given[-2:]) or [])
    call = ["batch", str(table("ann,scan.nii.gz,scan.nii.gz")), "-o", str(tmp_path / "out"), "--quiet"]
    for options in (["--workers", "3"], ["--scheduler", "tcp://node1:8786"]):
        assert main([*call, *options]) == 0
    assert asked == [(3, None), (1, "tcp://node1:8786")]
