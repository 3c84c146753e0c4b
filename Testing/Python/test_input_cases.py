"""Every row of the table of bad and odd inputs ends as the table says: from Python, from the shell, and in the docs."""

from __future__ import annotations

from pathlib import Path

import pytest
from input_cases import CASES, CENTRED, brain
from reported_faults import REPORTED_FAULTS
from tools import limits

from ULAERegistrationLib import register
from ULAERegistrationLib.cli.main import main
from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.files.volumes import read_labels, read_mask, read_volume, write_image
from ULAERegistrationLib.scan_brain import cut_doubts, find_scan_brain
from ULAERegistrationLib.settings import RegistrationSettings

REFUSED = [case for case in CASES if case.outcome == "refused"]
ACCEPTED = [case for case in CASES if case.outcome != "refused"]
NAME = {"ids": lambda case: case.what}


@pytest.fixture
def inputs(tmp_path):
    """Makes the arguments of `register()` of a row; what it does not name is a whole brain."""
    write_image(brain(), tmp_path / "whole.nrrd")

    def make(case) -> dict:
        whole = {"fixed": tmp_path / "whole.nrrd", "moving": tmp_path / "whole.nrrd"}
        try:
            return {**whole, **case.make(tmp_path)}
        except OSError as error:  # macOS and Windows take no name that is not Unicode
            pytest.skip(f"this file system does not hold such a file: {error}")

    return make


def from_python(moving_labels=None, **given) -> None:
    if moving_labels is not None:  # as `Registration.warp_labels` reads them
        read_labels(moving_labels, read_volume(given["moving"], "moving"), "moving")
    register(**given, preset="fast", brain="skip", progress=lambda fraction, message: pytest.fail(message))


@pytest.mark.parametrize("case", REFUSED, **NAME)
def test_a_bad_input_is_refused_in_one_sentence_from_python_and_from_the_shell(case, inputs, tmp_path, capsys) -> None:
    given = inputs(case)
    with pytest.raises(RegistrationError) as caught:
        from_python(**given)
    assert case.says in str(caught.value)
    assert str(caught.value).endswith(".")
    assert str(caught.value).isprintable()
    before = sorted(tmp_path.rglob("*"))
    named = [
        str(word) for key in given.keys() - {"fixed", "moving"} for word in (f"--{key.replace('_', '-')}", given[key])
    ]
    assert main(["register", str(given["fixed"]), str(given["moving"]), "-o", str(tmp_path / "out"), *named]) == 1
    said = capsys.readouterr().err
    assert said.startswith("ulae: ")
    assert case.says in said
    assert said.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("case", ACCEPTED, **NAME)
def test_an_odd_input_is_accepted_with_the_warning_that_the_table_names(case, inputs) -> None:
    given = inputs(case)
    scan = read_volume(given["fixed"], "fixed")
    mask = read_mask(given["fixed_mask"], scan, "fixed") if "fixed_mask" in given else None
    found = find_scan_brain(scan, mask, "fixed", RegistrationSettings())
    warnings = found.doubts + cut_doubts(found, CENTRED, "fixed")
    if case.outcome == "warned":
        assert [case.says in warning for warning in warnings] == [True]
    else:
        assert warnings == ()


def test_the_page_of_limits_is_made_from_the_table() -> None:
    assert limits.DOC.read_text(encoding="utf-8") == limits.text()


def test_every_fault_that_was_reported_of_other_tools_names_tests_that_exist() -> None:
    testing = Path(__file__).parents[1]
    for fault in REPORTED_FAULTS:
        assert fault.tests
        for test in fault.tests:
            file, _, name = test.partition("::")
            assert f"def {name}(" in (testing / file).read_text(encoding="utf-8"), test
