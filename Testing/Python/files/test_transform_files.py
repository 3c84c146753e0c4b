"""Transform files are what ITK reads, without a change of sign."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.files.transforms import read_transform, write_transform
from ULAERegistrationLib.files.volumes import write_image


def mapped(transform: sitk.Transform, points: np.ndarray) -> np.ndarray:
    return np.array([transform.TransformPoint(point.tolist()) for point in points])


@pytest.mark.parametrize("name", ["transform.h5", "transform.nii.gz"])
def test_a_written_transform_reads_back_without_a_sign_change(tmp_path, oblique, name) -> None:
    path = tmp_path / name
    write_transform(oblique.transform, path, oblique.fixed)
    assert [file.name for file in tmp_path.iterdir()] == [name]
    if name.endswith(".h5"):
        others = sitk.ReadTransform(str(path))
    else:
        others = sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
        with gzip.open(path) as file:
            header = file.read(348)
        assert struct.unpack("<h", header[68:70]) == (1007,)  # NIFTI_INTENT_VECTOR, as ANTs writes its warps
        assert struct.unpack("<6h", header[40:52])[4:] == (1, 3)
    accuracy = 1e-9 if name.endswith(".h5") else 0.05  # the whole map, or one field of it
    expected = mapped(oblique.transform, oblique.points)
    np.testing.assert_allclose(mapped(others, oblique.points), expected, atol=accuracy)
    np.testing.assert_allclose(mapped(read_transform(path), oblique.points), expected, atol=accuracy)


def test_a_field_marked_as_displacements_in_ras_is_understood(tmp_path) -> None:
    """NIfTI's intent 1006 holds RAS components by definition; ITK turns them."""
    vectors = np.broadcast_to(np.float32([1, 2, 3]), (9, 9, 9, 3))
    write_image(sitk.GetImageFromArray(np.ascontiguousarray(vectors), isVector=True), tmp_path / "field.nii.gz")
    with gzip.open(tmp_path / "field.nii.gz") as file:
        content = bytearray(file.read())
    content[68:70] = struct.pack("<h", 1006)
    with gzip.open(tmp_path / "field.nii.gz", "wb") as file:
        file.write(content)
    assert read_transform(tmp_path / "field.nii.gz").TransformPoint((4.0, 4.0, 4.0)) == (3.0, 2.0, 7.0)


def test_without_a_fixed_image_linear_transforms_and_chains_are_kept_in_h5_only(tmp_path, oblique) -> None:
    linear, points = oblique.alignment.fixed_to_moving, oblique.points
    write_transform(linear, tmp_path / "linear.h5")
    np.testing.assert_allclose(
        mapped(read_transform(tmp_path / "linear.h5"), points), mapped(linear, points), atol=1e-9
    )
    with pytest.raises(RegistrationError, match=r"\.h5 instead"):
        write_transform(oblique.transform, tmp_path / "chain.nii.gz")
    with pytest.raises(RegistrationError, match="end its name with"):
        write_transform(linear, tmp_path / "linear.mat")
    assert [file.name for file in tmp_path.iterdir()] == ["linear.h5"]


def test_what_is_no_transform_is_refused_in_one_sentence(tmp_path, oblique) -> None:
    (tmp_path / "text.h5").write_text("not a transform")
    write_image(oblique.fixed, tmp_path / "scan.nii.gz")
    for name, why in (("text.h5", "is not a transform"), ("scan.nii.gz", "three components"), ("no.h5", "not exist")):
        with pytest.raises(RegistrationError, match=why) as refusal:
            read_transform(tmp_path / name)
        assert "\n" not in str(refusal.value)
