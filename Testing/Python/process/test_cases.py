"""A cohort is a table, one scan with many, all to the template, every ordered pair, or a BIDS dataset."""

from __future__ import annotations

import json

import pytest

from ULAERegistrationLib.cli.main import main
from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.geometry.canonical import TEMPLATE
from ULAERegistrationLib.process.bids import bids_cases, write_derivative
from ULAERegistrationLib.process.cases import Case, CaseJob, all_pairs, one_fixed, to_template
from ULAERegistrationLib.settings import RegistrationSettings


@pytest.fixture
def scans(tmp_path):
    def make(*names: str):
        paths = [tmp_path / name for name in names]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return paths

    return make


def test_one_fixed_scan_and_many_moving_ones(scans):
    fixed, ann, bob = scans("atlas.nii.gz", "ann.nii.gz", "bob.v2.nrrd")
    cases = one_fixed(fixed, [ann, bob])
    assert [(case.name, case.files) for case in cases] == [
        ("ann", {"fixed": fixed, "moving": ann}),
        ("bob.v2", {"fixed": fixed, "moving": bob}),
    ]
    assert to_template([ann])[0].files["fixed"] == TEMPLATE
    assert TEMPLATE.is_file()


def test_files_of_one_name_are_told_apart_by_their_folders(scans):
    paths = scans("01/a/t1.nii.gz", "02/a/t1.nii.gz", "02/b/t1.nii.gz")
    assert [case.name for case in to_template(paths)] == ["01_a_t1", "02_a_t1", "02_b_t1"]
    folders = [path.parent for path in paths]  # of DICOM files
    assert [case.name for case in to_template(folders)] == ["01_a", "02_a", "02_b"]


def test_files_of_one_name_in_one_folder_are_refused_and_none_is_left_out(tmp_path):
    files = [tmp_path / name for name in ("ann.nii.gz", "ann.mgz", "bob.nii.gz")]
    for file in files:
        file.write_text("a scan")
    with pytest.raises(RegistrationError, match=r"ann.nii.gz and .*ann.mgz have one name"):
        to_template(files)


def test_all_pairs_go_both_ways(scans):
    cases = all_pairs(scans("a.nii.gz", "b.nii.gz", "c.nii.gz"))
    assert {case.name for case in cases} == {f"{m}_to_{f}" for m in "abc" for f in "abc" if m != f}
    assert all(case.name == f"{case.files['moving'].name[0]}_to_{case.files['fixed'].name[0]}" for case in cases)


def test_scans_that_make_no_cohort_are_refused(scans, tmp_path):
    (scan,) = scans("a.nii.gz")
    with pytest.raises(RegistrationError, match="give two or more"):
        all_pairs([scan])
    with pytest.raises(RegistrationError, match="comes twice"):
        to_template([scan, scan])
    with pytest.raises(RegistrationError, match="does not exist"):
        to_template([scan, tmp_path / "none.nii.gz"])


def test_a_case_survives_its_job_file(tmp_path):
    case = Case("ann", {"fixed": tmp_path / "f", "moving": tmp_path / "m"})
    job = CaseJob(case=case, target=tmp_path / "ann", settings=RegistrationSettings(smoothness=2.0), threads=3)
    assert CaseJob.from_json(job.to_json()) == job


@pytest.fixture
def dataset(scans, tmp_path):
    scans(
        "study/sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz",
        "study/sub-01/ses-2/anat/sub-01_ses-2_run-1_T1w.nii.gz",
        "study/sub-01/ses-2/anat/sub-01_ses-2_T2w.nii.gz",
        "study/sub-02/anat/sub-02_T1w.nii",
    )
    return tmp_path / "study"


def finished(derivative, case: Case, head: bool = False) -> dict[str, str]:
    """What a registration leaves of a case, and its row."""
    result = derivative / case.name
    result.mkdir(parents=True)
    for name in ("transform.h5", "warped.nii.gz", *(["moving_brain.nii.gz"] if head else [])):
        (result / name).write_text(f"{case.name} {name}")
    return {"name": case.name, "status": "done", "message": ""}


def test_a_bids_dataset_goes_to_the_template_and_comes_out_as_a_derivative(dataset):
    derivative = dataset / "derivatives" / "ulae"
    cases = bids_cases(dataset, derivative)
    names = ["sub-01_ses-1_to-ULAE", "sub-01_ses-2_run-1_to-ULAE", "sub-02_to-ULAE"]
    assert [case.name for case in cases] == names
    rows = [finished(derivative, case, head=case is cases[0]) for case in cases]
    rows[1]["status"] = "failed"
    for _ in range(2):  # a second run changes nothing
        write_derivative(dataset, derivative, rows)
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


def test_nothing_of_an_earlier_run_stays_under_the_names_of_a_pair_that_failed(dataset):
    derivative = dataset / "derivatives" / "ulae"
    row = finished(derivative, bids_cases(dataset, derivative)[0])
    write_derivative(dataset, derivative, [row])
    assert len(list(derivative.glob("sub-01/ses-1/anat/*"))) == 3
    write_derivative(dataset, derivative, [{**row, "status": "failed"}])
    assert list(derivative.glob("sub-01/ses-1/anat/*")) == []


def test_a_new_result_takes_the_place_of_the_old_one_in_the_derivative(dataset):
    derivative = dataset / "derivatives" / "ulae"
    case = bids_cases(dataset, derivative)[0]
    rows = [finished(derivative, case)]
    write_derivative(dataset, derivative, rows)
    (derivative / case.name / "transform.h5").unlink()
    (derivative / case.name / "transform.h5").write_text("new")
    write_derivative(dataset, derivative, rows)
    (named,) = derivative.glob("sub-01/ses-1/anat/*.h5")
    assert named.read_text() == "new"


def test_sessions_go_to_one_session_of_the_same_person(dataset, scans):
    with pytest.raises(RegistrationError, match="sub-02 has 0 T1w scans in session 1"):
        bids_cases(dataset, dataset / "d", "1")
    (dataset / "sub-02/anat/sub-02_T1w.nii").unlink()
    (case,) = bids_cases(dataset, dataset / "d", "1")
    assert case.name == "sub-01_ses-2_run-1_to-ses1"
    assert case.files["fixed"].name == "sub-01_ses-1_T1w.nii.gz"
    write_derivative(dataset, dataset / "d", [finished(dataset / "d", case)], "1")
    (sidecar,) = (dataset / "d").glob("sub-01/ses-2/anat/*.json")
    assert json.loads(sidecar.read_text())["SpatialReference"] == "bids:raw:sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz"


def test_a_dataset_of_somebody_else_is_not_written_to(dataset):
    (dataset / "dataset_description.json").write_text('{"Name": "raw"}')
    with pytest.raises(RegistrationError, match="derivatives/ulae"):
        bids_cases(dataset, dataset)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Say which pairs"),
        (["t.csv", "--all-pairs", "a", "b"], "Say which pairs"),
        (["--fixed", "a"], "give both"),
        (["--to-template", "a", "--session", "1"], "give that with --bids"),
        (["t.csv", "--workers", "0"], "give 1 or more"),
    ],
)
def test_options_that_name_no_cohort_end_with_status_2(arguments, sentence, tmp_path, capsys):
    assert main(["batch", *arguments, "-o", str(tmp_path / "out")]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
