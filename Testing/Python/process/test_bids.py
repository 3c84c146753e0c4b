"""The T1w scans of a BIDS dataset are a cohort, and its results a BIDS derivative."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from ULAERegistrationLib.cli.main import main
from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.files.writing import whole_folder_or_nothing
from ULAERegistrationLib.geometry.canonical import TEMPLATE
from ULAERegistrationLib.process import pair
from ULAERegistrationLib.process.bids import bids_cases, describe_derivative, name_results, scans_gone
from ULAERegistrationLib.process.cases import Case
from ULAERegistrationLib.process.made_from import MadeFrom, write_record


@pytest.fixture
def dataset(tmp_path):
    for name in (
        "study/sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz",
        "study/sub-01/ses-2/anat/sub-01_ses-2_run-1_T1w.nii.gz",
        "study/sub-01/ses-2/anat/sub-01_ses-2_T2w.nii.gz",
        "study/sub-02/anat/sub-02_T1w.nii",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path / "study"


def finished(derivative, case: Case, head: bool = False, brain: str = "auto") -> dict[str, str]:
    """What a registration leaves of a case, and its row."""
    result = derivative / case.name
    result.mkdir(parents=True)
    for name in ("transform.h5", "warped.nii.gz", *(["moving_brain.nii.gz"] if head else [])):
        (result / name).write_text(f"{case.name} {name}")
    write_record(result, MadeFrom({}, {"brain": brain}, {}))
    return {"name": case.name, "status": "done", "message": ""}


@pytest.fixture
def quick(monkeypatch):
    """A registration that takes no time, whose transform holds the text of the moving scan; tells what it registered.

    It is interrupted at the names in `stop`, and the scans in `gone` are gone after it.
    """
    quick = SimpleNamespace(done=[], stop=[], gone=[])

    def register(case, target, settings, made_from, progress):
        if case.name in quick.stop:
            raise KeyboardInterrupt
        quick.done.append(case.name)
        with whole_folder_or_nothing(target) as partial:
            (partial / "transform.h5").write_text(case.files["moving"].read_text())
            (partial / "warped.nii.gz").write_text("a scan")
            (partial / "quality.json").write_text('{"verdict": "good", "reasons": ["They match."]}')
            write_record(partial, made_from)
        for scan in quick.gone:
            scan.unlink(missing_ok=True)

    monkeypatch.setattr(pair, "_register", register)
    return quick


def call(dataset, *options: str) -> list[str]:
    return ["batch", "--bids", str(dataset), "-o", str(dataset / "derivatives" / "ulae"), *options]


def test_a_bids_dataset_goes_to_the_template_and_comes_out_as_a_derivative(dataset):
    derivative = dataset / "derivatives" / "ulae"
    cases = bids_cases(dataset, derivative)
    names = ["sub-01_ses-1_to-ULAE", "sub-01_ses-2_run-1_to-ULAE", "sub-02_to-ULAE"]
    assert [case.name for case in cases] == names
    rows = [finished(derivative, case, head=case is cases[0]) for case in cases]
    rows[1]["status"] = "failed"
    for _ in range(2):  # a second run changes nothing
        describe_derivative(dataset, derivative)
        for row in rows:
            name_results(dataset, derivative, row)
    about = json.loads((derivative / "dataset_description.json").read_text())
    assert about["DatasetType"] == "derivative"
    assert about["DatasetLinks"] == {"raw": "../.."}
    files = {path.relative_to(derivative).as_posix() for path in derivative.glob("sub-*/**/anat/*")}
    assert files == {
        "sub-01/ses-1/anat/sub-01_ses-1_from-T1w_to-ULAE_mode-image_xfm.h5",
        "sub-01/ses-1/anat/sub-01_ses-1_space-ULAE_T1w.nii.gz",
        "sub-01/ses-1/anat/sub-01_ses-1_space-ULAE_T1w.json",
        "sub-02/anat/sub-02_from-T1w_to-ULAE_mode-image_xfm.h5",
        "sub-02/anat/sub-02_space-ULAE_T1w.nii.gz",
        "sub-02/anat/sub-02_space-ULAE_T1w.json",
    }
    transform = derivative / "sub-02/anat/sub-02_from-T1w_to-ULAE_mode-image_xfm.h5"
    assert transform.read_text() == "sub-02_to-ULAE transform.h5"
    sidecar = json.loads((derivative / "sub-01/ses-1/anat/sub-01_ses-1_space-ULAE_T1w.json").read_text())
    assert sidecar["Sources"] == ["bids:raw:sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz"]
    assert sidecar["SkullStripped"] is False
    copy = derivative / sidecar["SpatialReference"].removeprefix("bids::")
    assert copy.read_bytes() == TEMPLATE.read_bytes()
    assert not copy.samefile(TEMPLATE)
    sidecar = json.loads((derivative / "sub-02/anat/sub-02_space-ULAE_T1w.json").read_text())
    assert (dataset / sidecar["Sources"][0].removeprefix("bids:raw:")).is_file()


def test_a_derivative_finds_its_dataset_from_where_it_really_lies(dataset, monkeypatch):
    real, link = dataset.parent / "disk" / "deep" / "ulae", dataset / "derivatives" / "ulae"
    for folder in (real, link.parent, dataset / "code"):
        folder.mkdir(parents=True)
    link.symlink_to(real)
    monkeypatch.chdir(dataset / "code")
    describe_derivative(Path(".."), link)
    about = json.loads((real / "dataset_description.json").read_text())
    assert (real / about["DatasetLinks"]["raw"]).samefile(dataset)
    assert about["Name"] == "study, registered with ULAE-net"


def test_a_derivative_on_another_drive_gives_its_datasets_whole_address(dataset, tmp_path, monkeypatch):
    def relpath(*_):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", relpath)
    describe_derivative(dataset, tmp_path)
    about = json.loads((tmp_path / "dataset_description.json").read_text())
    assert about["DatasetLinks"] == {"raw": dataset.resolve().as_uri()}


@pytest.mark.parametrize(("brain", "is_stripped"), [("auto", True), ("skip", False)])
def test_a_scan_that_was_taken_as_it_is_is_not_said_to_show_the_brain_alone(dataset, brain, is_stripped):
    derivative = dataset / "derivatives" / "ulae"
    name_results(dataset, derivative, finished(derivative, bids_cases(dataset, derivative)[0], brain=brain))
    (sidecar,) = derivative.glob("sub-01/ses-1/anat/*.json")
    assert json.loads(sidecar.read_text())["SkullStripped"] is is_stripped


def test_nothing_of_an_earlier_run_stays_under_the_names_of_a_pair_that_failed(dataset):
    derivative = dataset / "derivatives" / "ulae"
    row = finished(derivative, bids_cases(dataset, derivative)[0])
    name_results(dataset, derivative, row)
    assert len(list(derivative.glob("sub-01/ses-1/anat/*"))) == 3
    name_results(dataset, derivative, {**row, "status": "failed"})
    assert list(derivative.glob("sub-01/ses-1/anat/*")) == []


def test_a_new_result_takes_the_place_of_the_old_one_in_the_derivative(dataset):
    derivative = dataset / "derivatives" / "ulae"
    case = bids_cases(dataset, derivative)[0]
    row = finished(derivative, case)
    name_results(dataset, derivative, row)
    (derivative / case.name / "transform.h5").unlink()
    (derivative / case.name / "transform.h5").write_text("new")
    name_results(dataset, derivative, row)
    (named,) = derivative.glob("sub-01/ses-1/anat/*.h5")
    assert named.read_text() == "new"


def test_sessions_go_to_one_session_of_the_same_person(dataset):
    case, other = bids_cases(dataset, dataset / "d", "1")
    assert (other.name, other.problem) == ("sub-02_to-ses1", "sub-02 has 0 T1w scans in session 1; one is needed.")
    assert case.name == "sub-01_ses-2_run-1_to-ses1"
    assert case.files["fixed"].name == "sub-01_ses-1_T1w.nii.gz"
    name_results(dataset, dataset / "d", finished(dataset / "d", case), "1")
    (sidecar,) = (dataset / "d").glob("sub-01/ses-2/anat/*.json")
    assert json.loads(sidecar.read_text())["SpatialReference"] == "bids:raw:sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz"


def test_a_person_without_a_scan_in_that_session_fails_and_the_others_are_registered(dataset, quick, capsys):
    assert main(call(dataset, "--session", "1")) == 1
    assert quick.done == ["sub-01_ses-2_run-1_to-ses1"]
    told = capsys.readouterr()
    assert "sub-02_to-ses1: failed. sub-02 has 0 T1w scans in session 1; one is needed.\n" in told.out
    assert "1 of 2 pairs failed (sub-02_to-ses1)" in told.err


def test_a_session_to_which_no_scan_can_be_registered_is_refused(dataset):
    with pytest.raises(RegistrationError, match="has one T1w scan in session 01 and others"):
        bids_cases(dataset, dataset / "d", "01")
    for scan in (dataset / "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz", dataset / "sub-02/anat/sub-02_T1w.nii"):
        scan.unlink()
    with pytest.raises(RegistrationError, match="has one T1w scan in session 2 and others"):
        bids_cases(dataset, dataset / "d", "2")


@pytest.mark.parametrize("session", [None, "2"])
def test_two_files_of_one_scan_are_refused(dataset, session):
    """Their results would lie in one folder."""
    (dataset / "sub-02/anat/sub-02_T1w.nii.gz").write_text("the same, compressed")
    with pytest.raises(RegistrationError, match=r"sub-02_T1w\.nii and sub-02_T1w\.nii\.gz are two files of one scan"):
        bids_cases(dataset, dataset / "d", session)


@pytest.mark.parametrize(
    ("scan", "name"),
    [
        ("sub-03/ses-1/anat/sub-03_T1w.nii.gz", "sub-03_ses-1_"),
        ("sub-03/anat/sub-03_ses-1_T1w.nii.gz", "sub-03_"),
        ("sub-03/ses-1/anat/sub-04_ses-1_T1w.nii.gz", "sub-03_ses-1_"),
    ],
)
def test_a_scan_that_is_not_named_after_its_folders_is_refused_before_anything_is_computed(
    dataset, quick, capsys, scan, name
):
    (dataset / scan).parent.mkdir(parents=True)
    (dataset / scan).write_text("a scan")
    assert main(call(dataset)) == 1
    told = capsys.readouterr().err
    assert told == (f"ulae: {dataset / scan} is not named after its folders; rename it to {name}[...]T1w.nii.gz.\n")
    assert quick.done == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no files of such names")
@pytest.mark.parametrize("person", ["sub-\x1b[31m", os.fsdecode(b"sub-\xff"), "sub-" + "0" * 210])
def test_a_person_whose_name_no_folder_can_have_is_refused_before_anything_is_computed(dataset, quick, capsys, person):
    (dataset / person / "anat").mkdir(parents=True)
    (dataset / person / "anat" / f"{person}_T1w.nii.gz").write_text("a scan")
    assert main(call(dataset)) == 1
    told = capsys.readouterr().err
    assert "is no name for a folder; rename its scan" in told
    assert told.count("\n") == 1
    assert quick.done == []


@pytest.mark.parametrize("folder", ["", "sub-01", "sub-01/ses-2/anat"])
def test_a_folder_of_scans_that_cannot_be_read_is_said_and_nobody_is_left_out(dataset, monkeypatch, folder):
    """As root, who runs the tests in a container, may read everything."""
    listdir = os.listdir

    def listdir_of_a_user(path="."):
        if Path(path) == dataset / folder:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", listdir_of_a_user)
    with pytest.raises(RegistrationError, match=rf"{dataset / folder} cannot be read \(Permission denied\); "):
        bids_cases(dataset, dataset / "derivatives" / "ulae")


@pytest.mark.parametrize("session", [None, "1"])
def test_files_beside_a_scan_are_not_taken_for_it(dataset, session):
    beside = [
        f"{folder}/{name}.nii.gz{ending}"
        for folder, name in (("sub-01/ses-1", "sub-01_ses-1"), ("sub-01/ses-2", "sub-01_ses-2_run-1"))
        for name, ending in ((f"anat/{name}_T1w", ".md5"), (f"anat/._{name}_T1w", ""))
    ]
    for file in beside:
        (dataset / file).write_text("beside a scan")
    # Some disks list such a file first.
    scan = dataset / "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz"
    scan.unlink()
    scan.write_text("a scan")
    derivative = dataset / "derivatives" / "ulae"
    case = next(case for case in bids_cases(dataset, derivative, session) if not case.problem)
    name_results(dataset, derivative, finished(derivative, case), session)
    (sidecar,) = derivative.glob("sub-01/ses-*/anat/*.json")
    about = json.loads(sidecar.read_text())
    for address in [*about["Sources"], *([about["SpatialReference"]] if session else [])]:
        assert address.startswith("bids:raw:sub-01/")
        assert "/anat/sub-01_ses-" in address
        assert address.endswith("_T1w.nii.gz")
    scan.unlink()
    if session is None:
        assert scans_gone(dataset, derivative) == ["sub-01_ses-1_T1w"]


def test_a_scan_that_goes_during_the_run_is_said_and_the_other_results_have_their_names(dataset, quick, capsys):
    derivative = dataset / "derivatives" / "ulae"
    scan = dataset / "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz"
    quick.gone.append(scan)
    assert main(call(dataset)) == 1
    told = capsys.readouterr().err
    assert f"of 1 of 3 pairs are not up to date. {scan} is no longer there; bring it back and call it again." in told
    assert len(list(derivative.glob("sub-*/**/anat/*.json"))) == 2


def test_a_dataset_of_somebody_else_is_not_written_to(dataset):
    other = dataset.parent / "other"
    other.mkdir()
    (other / "dataset_description.json").write_text('{"Name": "raw"}')
    with pytest.raises(RegistrationError, match="has not made; give a folder of its own, such as derivatives/ulae"):
        bids_cases(dataset, other)


def test_a_dataset_is_not_its_own_derivative_under_another_name_either(dataset):
    (dataset.parent / "link").symlink_to(dataset)
    for same in (dataset, dataset.parent / "link", dataset / "sub-01" / ".."):
        with pytest.raises(RegistrationError, match=r"is the dataset itself; .* derivatives/ulae"):
            bids_cases(dataset, same)


def test_an_interrupted_run_leaves_every_result_under_its_bids_name(dataset, quick, capsys):
    derivative = dataset / "derivatives" / "ulae"
    assert main(call(dataset)) == 0
    scan = dataset / "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz"
    scan.write_text("another scan")
    (dataset / "sub-02/anat/sub-02_T1w.nii").write_text("another scan")
    quick.stop.append("sub-02_to-ULAE")
    assert main(call(dataset)) == 1
    assert "cancelled" in capsys.readouterr().err
    for case in bids_cases(dataset, derivative):
        name = case.name.removesuffix("_to-ULAE")
        (named,) = derivative.glob(f"sub-*/**/{name}_from-T1w_to-ULAE_mode-image_xfm.h5")
        assert named.read_text() == (derivative / case.name / "transform.h5").read_text()
    (named,) = derivative.glob("sub-01/ses-1/anat/*.h5")
    assert named.read_text() == "another scan"


def test_a_result_that_cannot_have_its_bids_name_is_said_and_the_others_have_theirs(dataset, quick, capsys):
    derivative = dataset / "derivatives" / "ulae"
    (derivative / "sub-01").mkdir(parents=True)
    (derivative / "sub-01" / "ses-1").write_text("in the way")
    assert main(call(dataset, "--json")) == 1
    told = capsys.readouterr()
    assert json.loads(told.out)["failed"] == []
    assert told.err.startswith("ulae: The BIDS names of 1 of 3 pairs are not up to date. ")
    assert len(list(derivative.glob("sub-*/**/anat/*_xfm.h5"))) == 2


def test_files_of_a_scan_that_is_no_longer_in_the_dataset_are_said_and_stay(dataset, quick, capsys):
    derivative = dataset / "derivatives" / "ulae"
    assert main(call(dataset, "--json")) == 0
    assert json.loads(capsys.readouterr().out)["scans_gone"] == []
    shutil.rmtree(dataset / "sub-02")
    (dataset / "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz").unlink()
    before = sorted(derivative.rglob("sub-*"))
    assert main(call(dataset)) == 0
    told = capsys.readouterr().out
    assert f"of scans that are no longer in {dataset}: sub-01_ses-1_T1w, sub-02_T1w; remove them " in told
    assert "not among these: sub-01_ses-1_to-ULAE, sub-02_to-ULAE.\n" in told
    assert sorted(derivative.rglob("sub-*")) == before
    shutil.rmtree(derivative / "sub-02_to-ULAE")
    assert main(call(dataset, "--json")) == 0
    assert json.loads(capsys.readouterr().out)["scans_gone"] == ["sub-01_ses-1_T1w", "sub-02_T1w"]
