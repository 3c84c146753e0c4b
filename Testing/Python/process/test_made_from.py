"""A pair is registered again where what its result was made from has changed, and only there."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace

import pytest

from ULAERegistrationLib import __version__
from ULAERegistrationLib.cli.main import main
from ULAERegistrationLib.process.batch import run_batch
from ULAERegistrationLib.process.cases import Case, read_cases
from ULAERegistrationLib.process.made_from import MadeFrom, has_result
from ULAERegistrationLib.settings import RegistrationSettings

PLAIN = {"quality.json", "made_from.json", "thumbnail.jpg"}  # what the stand-in for a registration leaves


def lines_of(out):
    with (out / "summary.csv").open(newline="") as file:
        return list(csv.DictReader(file))


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


HEADERS = {
    "mhd": ("scan.mhd", "voxels.raw", b"NDims = 3\nElementDataFile = voxels.raw\n"),
    "mhd, folder": ("scan.mhd", "data/voxels.raw", b"NDims = 3\nElementDataFile = data/voxels.raw\n"),
    "mha": ("scan.mha", "Jürgen.raw", "NDims = 3\r\nElementDataFile = Jürgen.raw\r\n".encode()),
    "mha, list": ("scan.mha", "2.raw", b"ObjectType = Image\nElementDataFile = LIST\n1.raw\n2.raw\n"),
    "nhdr, slices": ("scan.nhdr", "data/001.raw", b"NRRD0004\ndata file: data/%03d.raw 1 2 1\n"),
    "nrrd": ("scan.nrrd", "voxels.raw", b"NRRD0005\r\nspace: LPS\r\nDataFile: voxels.raw\r\n"),
    "nrrd, list": ("scan.nrrd", "2.raw", b"NRRD0005\ndata file: LIST\n1.raw\n2.raw\n"),
    "hdr": ("scan.hdr", "scan.img", b"a header"),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_scan_of_several_files_has_changed_where_any_of_them_has(tmp_path, kind):
    named, other, beginning = HEADERS[kind]
    (tmp_path / "data").mkdir()
    (tmp_path / named).write_bytes(beginning)
    (tmp_path / other).write_bytes(b"voxels")
    (tmp_path / "data" / "notes.txt").write_bytes(b"no voxels")
    (tmp_path / "scan").mkdir()  # the folder of a result, say
    files, settings = {"moving": tmp_path / named}, RegistrationSettings()
    before = MadeFrom.of(files, settings)
    (tmp_path / "data" / "notes.txt").write_bytes(b"nor here")
    assert MadeFrom.of(files, settings).changes(before) == ""
    (tmp_path / other).write_bytes(b"others")
    assert MadeFrom.of(files, settings).changes(before) == "moving"


def test_no_file_of_an_earlier_result_lies_beside_the_new_one_and_others_stay(table, quick, tmp_path):
    header, line = "name,fixed,moving,moving_labels", "ann,scan.nii.gz,scan.nii.gz,scan.nii.gz"
    out = tmp_path / "out"
    run_batch(read_cases(table(line, header=header)), out, RegistrationSettings())
    assert {path.name for path in (out / "ann").iterdir()} == PLAIN | {"warped_labels.nii.gz"}
    (out / "ann" / "notes.txt").write_text("my own")
    run_batch(read_cases(table(line.rpartition(",")[0])), out, RegistrationSettings())
    assert {path.name for path in (out / "ann").iterdir()} == PLAIN | {"notes.txt"}


@pytest.mark.parametrize("file", ["made_from.json", "quality.json"])
@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff"])
def test_a_result_of_which_is_not_known_what_it_was_made_from_is_made_again(table, quick, tmp_path, file, content):
    cases = read_cases(table("ann,scan.nii.gz,scan.nii.gz"))
    run_batch(cases, tmp_path / "out", RegistrationSettings())
    (tmp_path / "out" / "ann" / file).write_bytes(content)
    (row,) = run_batch(cases, tmp_path / "out", RegistrationSettings())
    assert row["message"].endswith("Registered again: what the earlier result was made from is not known.")
    (row,) = run_batch(cases, tmp_path / "out", RegistrationSettings())
    assert row["message"] == "They match."
    assert len(quick) == 2


def test_a_name_that_no_folder_can_have_holds_no_result(tmp_path):
    assert not has_result(tmp_path / ("n" * 300))


@pytest.mark.parametrize("is_linked", [False, True])
def test_a_mask_that_was_corrected_in_the_result_is_registered_once(table, quick, tmp_path, is_linked):
    """The result replaces the file by its own, which says the same in other bytes."""
    mask, link = tmp_path / "out" / "ann" / "fixed_brain.nii.gz", tmp_path / "mask.nii.gz"
    cases = read_cases(table("ann,scan.nii.gz,scan.nii.gz"))
    run_batch(cases, tmp_path / "out", RegistrationSettings())
    link.symlink_to(mask)
    for correction in (b"corrected", b"corrected again"):
        mask.write_bytes(correction)
        header, given = "name,fixed,moving,fixed_mask", link if is_linked else mask
        cases = read_cases(table(f"ann,scan.nii.gz,scan.nii.gz,{given}", header=header))
        before = len(quick)
        first, second = (run_batch(cases, tmp_path / "out", RegistrationSettings())[0] for _ in range(2))
        assert first["message"].endswith("changed since the earlier result: fixed mask.")
        assert second["message"] == "They match."
        assert len(quick) == before + 1


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
