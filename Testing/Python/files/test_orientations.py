"""Where a header says that its voxels lie is kept; where it contradicts itself, that is said or refused."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from in_world import lies_at
from patched_headers import header_with

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.files.reading import read_image
from ULAERegistrationLib.files.volumes import header_doubts, read_any, write_image


def sheared(path: Path, values: np.ndarray, amount: float) -> Path:
    """A file whose only orientation is an sform with an angle that is not right."""
    matrix = np.diag([2.0, 1.5, 1.25, 1.0])
    matrix[0, 1] = amount * 1.5
    made = nibabel.Nifti1Image(values, matrix)
    made.header.set_qform(None, 0)
    made.header.set_sform(matrix, 2)
    nibabel.save(made, path)
    return path


def test_axes_not_quite_at_right_angles_become_the_nearest_that_are_and_it_is_said(tmp_path, values) -> None:
    """ITK #3994, SimpleITK #1433."""
    path = sheared(tmp_path / "scan.nii.gz", values, 0.003)
    image = read_image(path, "The image")
    axes = np.reshape(image.GetDirection(), (3, 3))
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(image.GetSpacing(), (2.0, 1.5, 1.25), rtol=1e-4)
    theirs = nibabel.load(path).affine
    corners = ((0, 0, 0), (8, 0, 0), (0, 10, 0), (8, 10, 11))
    apart = [lies_at(image, voxel) - (theirs @ (*voxel, 1))[:3] for voxel in corners]
    # Half of the shear at each of the two axes, on the longest of 18 mm.
    assert np.abs(apart).max() < 0.003 / 2 * 18 * 1.01
    assert "not at right angles, by 0.3 %" in header_doubts(image, "fixed")[0]


@pytest.mark.parametrize("amount", [1e-5, 5e-4])
def test_what_rounding_does_to_axes_is_no_fault(tmp_path, values, amount) -> None:
    assert header_doubts(read_image(sheared(tmp_path / "scan.nii", values, amount), "The image"), "fixed") == ()


def test_axes_far_from_right_angles_are_refused_in_every_format(tmp_path, values, image) -> None:
    path = sheared(tmp_path / "scan.nii", values, 0.02)
    with pytest.raises(RegistrationError, match=r"not at right angles \(by 2 %, more than 1 %\)"):
        read_image(path, "The image")
    image.SetDirection((1, 0.02, 0, 0, 1, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / "scan.nrrd"))
    for source in (image, tmp_path / "scan.nrrd"):
        with pytest.raises(RegistrationError, match="not at right angles"):
            read_any(source, "The image")
    text = (tmp_path / "scan.nrrd").read_bytes()
    (tmp_path / "flat.nrrd").write_bytes(text[:200] + text[200:].replace(b"(0,0,2)", b"(0,0,0)"))
    with pytest.raises(RegistrationError, match=r"span no volume|cut short or damaged"):
        read_image(tmp_path / "flat.nrrd", "The image")


@pytest.mark.parametrize("pixdim", [1.8, -2.0, 0.0, float("nan")])
@pytest.mark.parametrize("codes", [(0, 1), (1, 1)])
def test_voxel_sizes_that_are_not_those_of_the_orientation_are_refused(tmp_path, values, pixdim, codes) -> None:
    """ITK took one or the other without a word, and a scan lay 20 mm off, or mirrored."""
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    path = two_forms(tmp_path / "scan.nii", values, affine, affine, codes)
    read_image(path, "The image")
    header_with(path, 80, "<f", pixdim)
    with pytest.raises(RegistrationError, match=r"do not fit its orientation|no numbers"):
        read_image(path, "The image")


def two_forms(path: Path, values: np.ndarray, qform: np.ndarray, sform: np.ndarray, codes: tuple[int, int]) -> Path:
    made = nibabel.Nifti1Image(values, None)  # with a matrix it writes an sform of its own
    made.header.set_qform(qform, codes[0])
    made.header.set_sform(sform, codes[1])
    nibabel.save(made, path)
    return path


@pytest.mark.parametrize("codes", [(1, 4), (1, 2), (1, 1), (2, 1)])
def test_where_two_orientations_differ_it_is_said_which_was_taken(tmp_path, values, affine, codes) -> None:
    """fMRIPrep #819, ANTs #1804."""
    moved = affine.copy()
    moved[0, 3] += 125
    path = two_forms(tmp_path / "scan.nii", values, affine, moved, codes)
    image = read_image(path, "The image")
    taken = "qform" if np.allclose(lies_at(image, (0, 0, 0)), affine[:3, 3], atol=1e-3) else "sform"
    (doubt,) = header_doubts(image, "fixed")
    assert f"up to 125 mm apart (qform with code {codes[0]}, sform with code {codes[1]})" in doubt
    assert f"the {taken} was taken" in doubt
    assert header_doubts(read_image(two_forms(path, values, affine, affine, codes), "The image"), "fixed") == ()


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("apart", [0.0, 125.0])
@pytest.mark.parametrize("codes", [(1, 4), (2, 1), (1, 0), (0, 2), (3, 3), (1, 1), (0, 0)])
def test_an_output_on_its_grid_keeps_both_orientations_and_their_codes(
    tmp_path, values, affine, ending, apart, codes
) -> None:
    from ULAERegistrationLib.geometry.resampling import resample

    moved = np.array([[0, 1, 0, apart], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]) @ affine if apart else affine
    fixed = read_image(two_forms(tmp_path / "fixed.nii", values, affine, moved, codes), "The image")
    write_image(resample(fixed, fixed, sitk.Transform(3, sitk.sitkIdentity)), tmp_path / f"warped{ending}")
    before, after = (nibabel.load(tmp_path / name).header for name in ("fixed.nii", f"warped{ending}"))
    assert (int(after["qform_code"]), int(after["sform_code"])) == codes
    for code, form in zip(codes, ("get_qform", "get_sform"), strict=True):
        if code:
            np.testing.assert_allclose(getattr(after, form)(), getattr(before, form)(), atol=2e-3)
    np.testing.assert_allclose(after.get_best_affine(), before.get_best_affine(), atol=2e-3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fixed.nii", f"warped{ending}"]
    np.testing.assert_allclose(np.asarray(nibabel.load(tmp_path / f"warped{ending}").dataobj), values, rtol=1e-6)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_the_orientations_of_nifti_do_not_get_into_other_headers(tmp_path, values, affine, ending) -> None:
    moved = affine.copy()
    moved[0, 3] += 125
    image = read_image(two_forms(tmp_path / "scan.nii", values, affine, moved, (1, 4)), "The image")
    write_image(image, tmp_path / f"scan{ending}")
    assert header_doubts(read_image(tmp_path / f"scan{ending}", "The image"), "fixed") == ()
    assert b"qform" not in (tmp_path / f"scan{ending}").read_bytes()
    assert image.HasMetaDataKey("qform_code")


def test_an_image_that_was_moved_since_it_was_read_is_written_where_it_lies_now(tmp_path, values, affine) -> None:
    image = read_image(two_forms(tmp_path / "scan.nii", values, affine, affine, (1, 4)), "The image")
    unplaced = read_image(two_forms(tmp_path / "scan.nii", values, affine, affine, (0, 0)), "The image")
    for one in (image, unplaced):
        one.SetOrigin((1.0, 2.0, 3.0))
        write_image(one, tmp_path / "moved.nii")
        np.testing.assert_allclose(nibabel.load(tmp_path / "moved.nii").affine[:3, 3], (-1, -2, 3), atol=1e-5)
