"""A cohort is a table, one scan with many, all to the template, or every ordered pair."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ULAERegistrationLib.cli.main import main
from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.geometry.canonical import TEMPLATE
from ULAERegistrationLib.process.cases import Case, CaseJob, all_pairs, one_fixed, read_cases, to_template
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


@pytest.mark.parametrize("twin", ["ann.mgz", "Ann.mgz"])  # Windows and macOS make one folder of Ann and ann
def test_files_of_one_name_in_one_folder_are_refused_and_none_is_left_out(scans, twin):
    files = scans("1/ann.nii.gz", "2/ann.nii.gz", "bob.nii.gz", f"2/{twin}", "bob.mgz")
    with pytest.raises(RegistrationError, match=rf"2/ann.nii.gz and .*2/{twin} have one name"):
        to_template(files)


def test_all_pairs_go_both_ways(scans):
    cases = all_pairs(scans("a.nii.gz", "b.nii.gz", "c.nii.gz"))
    assert {case.name for case in cases} == {f"{m}_to_{f}" for m in "abc" for f in "abc" if m != f}
    assert all(case.name == f"{case.files['moving'].name[0]}_to_{case.files['fixed'].name[0]}" for case in cases)


def test_two_pairs_of_one_name_are_refused_and_none_is_lost(scans, quick, tmp_path, capsys):
    files = scans("a.nii.gz", "a_to_b.nii.gz", "b_to_c.nii.gz", "c.nii.gz")
    assert main(["batch", "--all-pairs", *map(str, files), "-o", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert "The name 'a_to_b_to_c' comes twice; rename its scan, or name the pairs in a table." in told
    assert (quick, (tmp_path / "out").exists()) == ([], False)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no files of such names")
@pytest.mark.parametrize("name", [".batch", "summary.csv", "\x1b[31mred", "two\nlines", "long" * 56])
@pytest.mark.parametrize("form", ["--moving", "--to-template"])
def test_a_scan_whose_name_no_folder_can_have_is_refused_in_one_sentence_before_anything_is_registered(
    scans, quick, tmp_path, capsys, form, name
):
    (scan,) = scans(f"{name}.nii.gz")
    form = [form] if form == "--to-template" else ["--fixed", str(scan), form]
    assert main(["batch", *form, str(scan), "-o", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert "is no name for a folder; rename its scan" in told
    assert told.count("\n") == 1
    assert (quick, (tmp_path / "out").exists()) == ([], False)


def test_scans_that_make_no_cohort_are_refused(scans, tmp_path):
    scan, _ = scans("a.nii.gz", "folder/b.nii.gz")
    with pytest.raises(RegistrationError, match="give two or more"):
        all_pairs([scan])
    with pytest.raises(RegistrationError, match="comes twice"):
        to_template([scan, scan])
    with pytest.raises(RegistrationError, match="does not exist"):
        to_template([scan, tmp_path / "none.nii.gz"])
    with pytest.raises(RegistrationError, match=r"'\.\.' is no name for a folder; rename its scan"):
        to_template([tmp_path / "folder" / ".."])
    with pytest.raises(RegistrationError, match="'' is no name for a folder"):
        to_template([Path(tmp_path.anchor)])


def test_a_case_survives_its_job_file(tmp_path):
    case = Case("ann", {"fixed": tmp_path / "f", "moving": tmp_path / "m"}, "It has no mask.")
    job = CaseJob(case=case, target=tmp_path / "ann", settings=RegistrationSettings(smoothness=2.0), threads=3)
    assert CaseJob.from_json(job.to_json()) == job


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Say which pairs"),
        (["t.csv", "--all-pairs", "a", "b"], "Say which pairs"),
        (["--fixed", "a"], "give both"),
        (["--to-template", "a", "--session", "1"], "give that with --bids"),
        (["t.csv", "--workers", "0"], "give 1 or more"),
        (["t.csv", "--workers", "2", "--scheduler", "tcp://node:1"], "leave out --workers or --scheduler"),
    ],
)
def test_options_that_name_no_cohort_end_with_status_2(arguments, sentence, tmp_path, capsys):
    assert main(["batch", *arguments, "-o", str(tmp_path / "out")]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("header", "lines", "sentence"),
    [
        ("name,fixed", ["ann,scan.nii.gz"], "has no column 'moving'"),
        ("name,fixed,moving,colour", ["ann,scan.nii.gz,scan.nii.gz,red"], "column 'colour'"),
        ("name,fixed,moving", [], "names no pair"),
        ("name,fixed,moving", ["ann,scan.nii.gz,"], "names no moving image"),
        ("name,fixed,moving", ["ann,scan.nii.gz,none.nii.gz"], "does not exist"),
        ("name,fixed,moving", ["../ann,scan.nii.gz,scan.nii.gz"], "no name for a folder"),
        ("name,fixed,moving", ["summary.csv,scan.nii.gz,scan.nii.gz"], "no name for a folder"),
        ("name,fixed,moving", ["\x1b[2Jann,scan.nii.gz,scan.nii.gz"], "no name for a folder"),
        ("name,fixed,moving", [f"{'n' * 221},scan.nii.gz,scan.nii.gz"], "no name for a folder"),
        ("name,fixed,moving", [",scan.nii.gz,scan.nii.gz"], "Line 2 of"),
        ("name,fixed,moving", ["ann,scan.nii.gz,scan.nii.gz", "Ann,scan.nii.gz,scan.nii.gz"], "comes twice"),
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


def test_the_line_by_which_excel_knows_the_separator_is_none_of_the_table(table):
    lines = ("Name;Fixed;Moving", "ann;scan.nii.gz;scan.nii.gz", "bob;none.nii.gz;scan.nii.gz")
    with pytest.raises(RegistrationError, match="Line 4 "):
        read_cases(table(*lines, header="sep=;"))
    assert [case.name for case in read_cases(table(*lines[:2], header="sep=;"))] == ["ann"]


def test_a_name_with_a_line_break_in_quotes_is_refused_and_not_joined(table):
    with pytest.raises(RegistrationError, match=r"p\\nq|p\nq"):
        read_cases(table('"p\nq",scan.nii.gz,scan.nii.gz'))


def test_a_fault_of_a_table_names_the_line_where_it_stands(table):
    with pytest.raises(RegistrationError, match="Line 4 "):
        read_cases(table("ann,scan.nii.gz,scan.nii.gz", "", "bob,none.nii.gz,scan.nii.gz"))


def test_a_table_in_another_encoding_says_how_to_save_it(table):
    file = table("ann,scan.nii.gz,scan.nii.gz")
    file.write_bytes(file.read_text().replace("ann", "jörg").encode("cp1252"))
    with pytest.raises(RegistrationError, match="not written in UTF-8; save it as CSV UTF-8"):
        read_cases(file)


def test_a_table_that_is_not_there_is_refused(capsys, tmp_path):
    assert main(["batch", str(tmp_path / "none.csv"), "-o", str(tmp_path / "out")]) == 1
    assert "cannot be read" in capsys.readouterr().err
