"""A result says what it was made of: the files, their content, and what was given beside them."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib.files.volumes import NAME, read_mask, read_volume
from ULAERegistrationLib.files.written import write_checked
from ULAERegistrationLib.geometry.canonical import TEMPLATE, template, template_mask
from ULAERegistrationLib.network.weights import Card
from ULAERegistrationLib.provenance import Provenance, provenance_of
from ULAERegistrationLib.settings import RegistrationSettings


@pytest.fixture
def provenance(tmp_path):
    """The provenance of a pair of files, one with a mask, and an initial transform."""
    sitk.WriteImage(template_mask(), str(tmp_path / "brain.nii.gz"))
    fixed = read_volume(TEMPLATE, "fixed")
    images = {
        "fixed": fixed,
        "moving": read_volume(template(), "moving"),
        "fixed_mask": read_mask(tmp_path / "brain.nii.gz", fixed, "fixed"),
        "moving_mask": None,
    }
    start = sitk.TranslationTransform(3, (1.0, 2.0, 3.0))
    return provenance_of(images, start, RegistrationSettings(), Card("some-weights", 1, {}), "cpu", "float32")


def test_it_names_each_input_and_the_content_of_its_file(provenance: Provenance, tmp_path) -> None:
    inputs = json.loads(json.dumps(provenance.to_dict()))["inputs"]
    assert inputs["fixed"] == {"name": TEMPLATE.name, "sha256": hashlib.sha256(TEMPLATE.read_bytes()).hexdigest()}
    assert inputs["moving"] == {}  # an image of a program
    assert inputs["fixed_mask"]["name"] == "brain.nii.gz"
    assert "moving_mask" not in inputs
    np.testing.assert_array_equal(inputs["initial_transform"], shift_matrix(1.0, 2.0, 3.0))


def shift_matrix(*shift: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = shift
    return matrix


def test_an_image_that_was_read_before_keeps_its_name(tmp_path) -> None:
    assert read_volume(read_volume(TEMPLATE, "fixed"), "fixed").GetMetaData(NAME) == TEMPLATE.name


@pytest.mark.parametrize("name", ["MRHead", "Schädel 1 (T1)", "a:=b"])
def test_a_file_between_two_processes_has_the_name_of_its_node(tmp_path, name) -> None:
    image = sitk.Image(template())
    image.SetMetaData(NAME, name)
    write_checked(image, tmp_path / "fixed.nrrd", compress=False)
    assert read_volume(tmp_path / "fixed.nrrd", "fixed").GetMetaData(NAME) == name
