"""What is read, what is refused before anything is computed, and what is left on disk."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.files.volumes import (
    header_doubts,
    read_any,
    read_any_labels,
    read_labels,
    read_mask,
    read_volume,
    write_image,
)
from ULAERegistrationLib.files.writing import check_output_folder, whole_or_nothing
from ULAERegistrationLib.files.written import check_written, write_checked
from ULAERegistrationLib.geometry.brain import brain_mask, coarse_foreground, looks_unstripped
from ULAERegistrationLib.geometry.canonical import template, template_mask


def ball(litres: float = 1.4, size: int = 48, spacing: float = 4.0) -> sitk.Image:
    """A ball that grows brighter inwards on an even background: the least that passes for a brain."""
    centre = (size - 1) / 2
    z, y, x = np.indices((size, size, size)) - centre
    radius = np.cbrt(litres * 1e6 * 3 / 4 / np.pi) / spacing
    depth = radius - np.sqrt(x**2 + y**2 + z**2)
    image = sitk.GetImageFromArray(np.where(depth > 0, 60 + 5 * depth, 0).astype(np.float32))
    image.SetSpacing([spacing] * 3)
    return image


def with_voxel(value: float) -> sitk.Image:
    image = ball()
    image[20, 20, 20] = value
    return image


def with_spacing(*spacing: float) -> sitk.Image:
    image = ball()
    image.SetSpacing(spacing)
    return image


def test_an_image_is_passed_on_as_it_is() -> None:
    image = sitk.Cast(ball(), sitk.sitkInt16)
    assert read_volume(image, "fixed") is image


def test_a_file_keeps_its_type_and_geometry(tmp_path) -> None:
    image = sitk.Cast(ball(), sitk.sitkInt16)
    image.SetOrigin((-70.5, 33.25, 1000.0))
    image.SetDirection(sitk.Euler3DTransform((0, 0, 0), 0.2, -0.1, 0.3).GetMatrix())
    write_image(image, tmp_path / "scan.nii.gz")
    read = read_volume(tmp_path / "scan.nii.gz", "moving")
    assert read.GetPixelID() == sitk.sitkInt16
    np.testing.assert_allclose(read.GetOrigin(), image.GetOrigin(), atol=1e-3)
    np.testing.assert_allclose(read.GetDirection(), image.GetDirection(), atol=1e-6)
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(read), sitk.GetArrayViewFromImage(image))


def test_a_fourth_side_of_one_is_dropped() -> None:
    image = sitk.JoinSeries([template()])
    assert read_volume(image, "fixed").GetSize() == template().GetSize()


@pytest.mark.parametrize("ending", ["", ".nii.gz", ".nrrd", ".mha"])
def test_the_axes_of_a_volume_with_a_fourth_side_of_one_are_looked_at_as_others_are(tmp_path, ending: str) -> None:
    def with_shear(amount: float) -> sitk.Image | Path:
        image = sitk.JoinSeries([ball()])
        axes = np.eye(4)
        axes[0, 1] = amount
        image.SetDirection(axes.ravel().tolist())
        if not ending:
            return image
        path = tmp_path / f"scan{ending}"
        if ending == ".nii.gz":  # ITK writes no axes that are not at right angles
            matrix = axes @ np.diag([4.0, 4.0, 4.0, 1.0])
            made = nibabel.Nifti1Image(sitk.GetArrayFromImage(image).T, matrix)
            made.header.set_qform(None, 0)
            made.header.set_sform(matrix, 2)
            nibabel.save(made, path)
        else:
            sitk.WriteImage(image, str(path))
        return path

    with pytest.raises(RegistrationError, match=r"not at right angles \(by 2 %"):
        read_volume(with_shear(0.02), "fixed")
    image = read_volume(with_shear(0.003), "fixed")
    assert "not at right angles, by 0.3 %" in header_doubts(image, "fixed")[-1]
    axes = np.reshape(image.GetDirection(), (3, 3))
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-4)


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (sitk.Image([64, 64], sitk.sitkUInt8), "2 dimensions"),
        (sitk.JoinSeries([ball(), ball()]), "4 dimensions"),
        (sitk.Compose(ball(), ball(), ball()), "several values per voxel"),
        (sitk.Image([64, 64, 64], sitk.sitkInt16) + 5, "same value 5"),
        (with_voxel(float("nan")), "NaN or infinite"),
        (with_voxel(float("inf")), "NaN or infinite"),
        (ball()[:, :, 24:25], "48 x 48 x 1 voxels"),
        (with_spacing(0.01, 1, 1), "voxels of 0.01"),
        (with_spacing(3, 3, 40), "voxels of 3 x 3 x 40"),
        (ball(litres=4, spacing=6.0), "4 litres"),
        (ball(litres=0.1, spacing=2.0), "0.11 litres"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_brain_volume_is_refused_in_one_sentence(image: sitk.Image, why: str) -> None:
    with pytest.raises(RegistrationError, match=why) as refusal:
        read_volume(image, "moving")
    message = str(refusal.value)
    assert message.startswith("The moving image")
    assert message.endswith(".")
    assert "\n" not in message


def test_missing_and_foreign_files_are_refused(tmp_path) -> None:
    with pytest.raises(RegistrationError, match="does not exist"):
        read_volume(tmp_path / "nowhere.nii.gz", "fixed")
    (tmp_path / "text.nii.gz").write_text("not a volume")
    with pytest.raises(RegistrationError, match="is not a volume that is read here") as refusal:
        read_volume(tmp_path / "text.nii.gz", "fixed")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
@pytest.mark.parametrize("kind", [sitk.sitkFloat32, sitk.sitkFloat64])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_itks_nifti_reader_hides_are_refused(tmp_path, ending: str, kind: int, value: float) -> None:
    path = tmp_path / f"scan{ending}"
    sitk.WriteImage(sitk.Cast(with_voxel(value), kind), str(path))
    assert sitk.ReadImage(str(path))[20, 20, 20] == 0  # hence the look into the file itself
    with pytest.raises(RegistrationError, match="NaN or infinite"):
        read_volume(path, "fixed")
    assert read_any(path, "The image").GetSize() == (48, 48, 48)  # a statistical map may have them


@pytest.mark.parametrize("kind", [sitk.sitkFloat32, sitk.sitkFloat64])
def test_the_last_voxel_of_an_odd_number_is_looked_at_too(tmp_path, kind: int) -> None:
    image = sitk.Cast(ball()[:45, :45, :45], kind)
    image[44, 44, 44] = float("nan")
    sitk.WriteImage(image, str(tmp_path / "scan.nii.gz"))
    with pytest.raises(RegistrationError, match="NaN or infinite"):
        read_volume(tmp_path / "scan.nii.gz", "fixed")


@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_a_file_that_is_cut_short_is_refused(tmp_path, ending: str) -> None:
    path = tmp_path / f"scan{ending}"
    sitk.WriteImage(ball(), str(path))
    assert read_volume(path, "moving").GetSize() == (48, 48, 48)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(RegistrationError, match=r"cut short or damaged|cannot be read"):
        read_volume(path, "moving")


def test_a_spacing_that_lies_is_told_from_a_large_head(data_folder) -> None:
    brain = sitk.ReadImage(str(data_folder / "raw/nirep/na16_t1.nii.gz"))
    assert read_volume(brain, "fixed") is brain
    brain.SetSpacing((1.0, 1.0, 1.0))  # as published
    with pytest.raises(RegistrationError, match=r"4.2 litres.*correct its spacing"):
        read_volume(brain, "fixed")
    head = sitk.ReadImage(str(data_folder / "raw/whole-head/chris_t1.nii.gz"))
    assert read_volume(head, "fixed") is head


@pytest.mark.slow
def test_a_whole_head_is_recognised_and_stripped_brains_are_not_suspected(data_folder) -> None:
    assert looks_unstripped(sitk.ReadImage(str(data_folder / "raw/whole-head/chris_t1.nii.gz")))
    brains = sorted((data_folder / "brains").glob("*_t1.nii.gz"))[::5]  # some of every source
    scans = [*sorted((data_folder / "raw").glob("[!w]*/*_t1.nii.gz")), *brains]
    assert [scan.name for scan in scans if looks_unstripped(sitk.ReadImage(str(scan)))] == []


def test_the_brain_is_what_differs_from_the_background_holes_filled() -> None:
    lifted = sitk.Cast(template(), sitk.sitkInt16) - 1024  # a background that is not zero
    lifted[80, 90, 80] = -1024  # a hole
    lifted[2, 2, 2] = 0  # a speck
    brain = sitk.GetArrayFromImage(brain_mask(lifted))
    assert brain[80, 90, 80] == 1
    assert brain[2, 2, 2] == 0
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(brain_mask(lifted), template_mask())
    assert overlap.GetDiceCoefficient() > 0.93


def test_a_brain_that_a_lost_slice_divides_stays_whole_and_small_pieces_are_left_out() -> None:
    image = ball()
    image[:, :, 20] = 0
    image[0:3, 0:3, 0:3] = 100
    mask, whole = (sitk.GetArrayFromImage(brain_mask(one)) for one in (image, ball()))
    whole[20] = 0
    np.testing.assert_array_equal(mask, whole)


def test_the_sums_of_large_integers_do_not_overflow() -> None:
    large = sitk.Cast(ball(size=96, spacing=2.0) * 1e7, sitk.sitkInt32)
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(coarse_foreground(large)),
        sitk.GetArrayFromImage(coarse_foreground(ball(size=96, spacing=2.0))),
    )


def test_masks_become_zeros_and_ones() -> None:
    mask = read_mask(sitk.Cast(ball() > 0, sitk.sitkFloat32) * 255.0, ball(), "fixed")
    assert mask.GetPixelID() == sitk.sitkUInt8
    assert np.unique(sitk.GetArrayViewFromImage(mask)).tolist() == [0, 1]


def moved(image: sitk.Image) -> sitk.Image:
    image = sitk.Image(image)
    image.SetOrigin((0, 0, 10))
    return image


@pytest.mark.parametrize(
    ("mask", "why"),
    [
        (ball() * 0, "is empty"),
        (moved(ball()), "another grid.*its corners lie up to 10 mm"),
        (sitk.Expand(ball(), (2, 1, 1)), "96 x 48 x 48 voxels, not 48 x 48 x 48"),
        (ball() * 0 + 1, "7.1 litres"),
        (ball()[:, :, 3], "2 dimensions"),
        (with_voxel(float("nan")), "NaN or infinite"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mask_that_is_none_is_refused(mask: sitk.Image, why: str) -> None:
    with pytest.raises(RegistrationError, match=why):
        read_mask(mask, ball(), "fixed")


@pytest.mark.parametrize(
    "change",
    [
        lambda mask: sitk.PermuteAxes(mask, (2, 0, 1))[:, :, 1:],
        lambda mask: sitk.PermuteAxes(mask, (2, 0, 1)),
        lambda mask: mask[2:-1, 3:, :-2],
        lambda mask: sitk.Flip(mask[1:], (True, False, False)),
    ],
    ids=["other axes, cropped", "other axes", "cropped", "other direction"],
)
@pytest.mark.parametrize("read", [read_mask, read_labels])
def test_a_mask_on_the_same_voxels_in_another_order_or_cropped_is_laid_onto_the_image(change, read) -> None:
    """Segmentation tools write a mask of the same brain so (freesurfer #1025, pyradiomics #263)."""
    found = read(change(sitk.Cast(ball() > 0, sitk.sitkUInt8)), ball(), "fixed")
    assert np.array_equal(sitk.GetArrayFromImage(found), (sitk.GetArrayFromImage(ball()) > 0).astype(np.uint8))
    assert found.GetSize() == ball().GetSize()


@pytest.mark.parametrize("read", [read_mask, read_labels])
def test_a_mask_a_small_part_of_a_voxel_off_gets_the_grid_of_its_scan(read) -> None:
    mask = sitk.Cast(ball() > 0, sitk.sitkUInt8)
    mask.SetOrigin((0.3, 0.3, 0.3))
    assert read(mask, ball(), "fixed").GetOrigin() == ball().GetOrigin()
    assert mask.GetOrigin() == (0.3, 0.3, 0.3)


def test_labels_that_a_scale_factor_moved_off_whole_numbers_are_rounded(tmp_path) -> None:
    """2.9999 for 3, as a file with scl_slope holds it (nibabel #1001, TorchIO #220)."""
    values = sitk.Cast(ball() > 0, sitk.sitkFloat32) * 2.9997
    for labels in (read_labels(values, ball(), "moving"), read_any_labels(values, "The label map")):
        assert labels.GetPixelID() == sitk.sitkInt32
        assert set(np.unique(sitk.GetArrayViewFromImage(labels))) == {0, 3}
    with pytest.raises(RegistrationError, match="not whole numbers"):
        read_any_labels(values * float("nan"), "The label map")


@pytest.mark.parametrize("value", [2**53 + 2, -(2**53) - 2])
def test_labels_that_itk_would_round_are_refused(value) -> None:
    values = sitk.GetArrayFromImage(sitk.Cast(ball() > 0, sitk.sitkInt64))
    kept = sitk.GetImageFromArray(values * (value // abs(value)) * 2**53)
    assert read_any_labels(kept, "The label map") is kept
    for kind in (np.int64, np.float64):
        with pytest.raises(RegistrationError, match="labels beyond 9007199254740992"):
            read_any_labels(sitk.GetImageFromArray((values * value).astype(kind)), "The label map")


def test_a_header_without_orientation_is_said(tmp_path) -> None:
    """ITK takes the stored axes as LPS, which may mirror the brain (ANTs #826, fMRIPrep #988)."""
    sitk.WriteImage(ball(), str(tmp_path / "known.nii"))
    data = bytearray((tmp_path / "known.nii").read_bytes())
    data[252:256] = bytes(4)  # qform_code and sform_code of the NIfTI-1 header
    (tmp_path / "unknown.nii").write_bytes(data)
    assert header_doubts(read_volume(tmp_path / "known.nii", "fixed"), "fixed") == ()
    (doubt,) = header_doubts(read_volume(tmp_path / "unknown.nii", "fixed"), "fixed")
    assert "holds no orientation" in doubt
    assert header_doubts(ball(), "fixed") == ()


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable for root")
def test_a_file_that_may_not_be_read_is_said(tmp_path) -> None:
    write_image(ball(), tmp_path / "closed.nii.gz")
    (tmp_path / "closed.nii.gz").chmod(0)
    with pytest.raises(RegistrationError, match="cannot be opened"):
        read_volume(tmp_path / "closed.nii.gz", "fixed")


@pytest.mark.parametrize("name", ["n" * 300 + ".nii.gz", "zero\0byte.nii.gz", "."])
def test_a_name_that_no_file_can_have_is_a_sentence(tmp_path, name) -> None:
    with pytest.raises(RegistrationError, match=r"cannot be opened|does not exist|is a folder") as caught:
        read_volume(tmp_path / name, "fixed")
    assert str(caught.value).endswith(".")


def test_label_maps_are_whole_numbers_on_the_image_grid() -> None:
    labels = read_labels(sitk.Cast(ball() > 0, sitk.sitkFloat32) * 207.0, ball(), "moving")
    assert labels.GetPixelID() == sitk.sitkInt32
    assert sitk.GetArrayViewFromImage(labels).max() == 207
    with pytest.raises(RegistrationError, match="not whole numbers"):
        read_labels(ball() + 0.5, ball(), "moving")
    with pytest.raises(RegistrationError, match="another grid"):
        read_labels(sitk.Cast(moved(ball()), sitk.sitkInt16), ball(), "moving")


def test_an_output_folder_is_tried_without_a_trace(tmp_path) -> None:
    assert check_output_folder(tmp_path / "new" / "deep") == tmp_path / "new" / "deep"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", "/proc/here"):
        with pytest.raises(RegistrationError, match="choose another folder"):
            check_output_folder(folder)


def test_a_volume_appears_whole_or_not_at_all(tmp_path) -> None:
    (tmp_path / "old.nrrd").write_text("what was here before")

    def fail_half_way() -> None:
        with whole_or_nothing(tmp_path / "old.nrrd") as partial:
            partial.write_text("half")
            raise OSError("disk is full")

    with pytest.raises(RegistrationError, match="disk is full"):
        fail_half_way()
    assert [path.name for path in tmp_path.iterdir()] == ["old.nrrd"]
    assert (tmp_path / "old.nrrd").read_text() == "what was here before"
    write_image(ball(), tmp_path / "old.nrrd")
    assert [path.name for path in tmp_path.iterdir()] == ["old.nrrd"]
    assert sitk.ReadImage(str(tmp_path / "old.nrrd")).GetSize() == (48, 48, 48)
    with pytest.raises(RegistrationError, match=r"end its name with .nii.gz"):
        write_image(ball(), tmp_path / "picture.jpg")


@pytest.mark.parametrize("name", ["W.NII.GZ", "W.Nii.gz", "w.NII", "w.Nrrd", "W.MHA"])
def test_an_ending_in_capitals_is_written_and_read(tmp_path, name) -> None:
    write_image(ball(), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert np.array_equal(*map(sitk.GetArrayViewFromImage, (read_any(tmp_path / name, "The image"), ball())))


@pytest.mark.parametrize(
    "values", [np.zeros((6, 5, 4), np.int16), np.arange(360, dtype=np.float32).reshape(6, 5, 4, 3)]
)
@pytest.mark.parametrize("lost", [0, 1, 48])
def test_an_uncompressed_file_between_two_processes_that_lacks_bytes_is_noticed(tmp_path, values, lost):
    image, path = sitk.GetImageFromArray(values, isVector=values.ndim == 4), tmp_path / "image.nrrd"
    write_checked(image, path, compress=False)
    path.write_bytes(path.read_bytes()[: -lost or None])
    if lost:
        with pytest.raises(OSError, match="incomplete"):
            check_written(image, path)
    else:
        check_written(image, path)


def test_an_uncompressed_file_that_ends_otherwise_is_noticed(tmp_path):
    image, path = sitk.GetImageFromArray(np.ones((6, 5, 4), np.float32)), tmp_path / "image.nrrd"
    write_checked(image, path, compress=False)
    with pytest.raises(OSError, match="incomplete"):
        check_written(image + 1, path)
