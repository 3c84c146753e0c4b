"""Every format is read as other programs read it, and what is wrong with a file is said before ITK hides it."""

from __future__ import annotations

import gzip
import locale
import os
import shutil
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.files.reading import MOST_VOXELS, read_image
from ULAERegistrationLib.files.volumes import header_doubts, read_any, write_image

SIZE = (9, 11, 12)
OBLIQUE = sitk.Euler3DTransform((0, 0, 0), 0.2, -0.1, 0.3).GetMatrix()


@pytest.fixture
def values() -> np.ndarray:
    """Random voxels, in nibabel's order x, y, z."""
    return np.random.default_rng(0).normal(100, 20, SIZE).astype(np.float32)


@pytest.fixture
def affine() -> np.ndarray:
    """An oblique, left-handed place far from the origin, voxels to RAS mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(OBLIQUE, (3, 3)) @ np.diag([-1.25, 1.5, 2.0])
    matrix[:3, 3] = (-90.125, 126.5, -72.25)
    return matrix


@pytest.fixture
def image(values) -> sitk.Image:
    made = sitk.GetImageFromArray(values.transpose(2, 1, 0))
    made.SetSpacing((1.25, 1.5, 2.0))
    made.SetOrigin((-70.5, 33.25, 100.0))
    return made


def lies_at(image: sitk.Image, voxel: tuple[int, int, int]) -> np.ndarray:
    """The place of a voxel, RAS mm."""
    return np.array(image.TransformIndexToPhysicalPoint(voxel)) * (-1, -1, 1)


def assert_is_nibabels(image: sitk.Image, path: Path, tolerance: float = 1e-3) -> None:
    theirs = nibabel.load(path)
    assert image.GetSize() == theirs.shape
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).transpose(2, 1, 0), np.asarray(theirs.dataobj))
    for voxel in ((0, 0, 0), (8, 0, 0), (0, 10, 0), (0, 0, 11), (8, 10, 11)):
        np.testing.assert_allclose(lies_at(image, voxel), (theirs.affine @ (*voxel, 1))[:3], atol=tolerance)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.float32])
@pytest.mark.parametrize("ending", [".mgz", ".mgh"])
def test_volumes_of_freesurfer_are_read_as_nibabel_reads_them(tmp_path, values, affine, kind, ending) -> None:
    """CaPTk #1060."""
    path = tmp_path / f"brain{ending}"
    nibabel.save(nibabel.MGHImage(values.astype(kind), affine), path)
    image = read_image(path, "The image")
    assert_is_nibabels(image, path)
    assert header_doubts(image, "fixed") == ()


def test_a_volume_of_freesurfer_without_orientation_is_said_and_one_cut_short_refused(tmp_path, values, affine) -> None:
    path = tmp_path / "brain.mgh"
    nibabel.save(nibabel.MGHImage(values, affine), path)
    data = bytearray(path.read_bytes())
    data[28:30] = bytes(2)
    path.write_bytes(data)
    assert "holds no orientation" in header_doubts(read_image(path, "The image"), "fixed")[0]
    path.write_bytes(data[:-2000])
    with pytest.raises(RegistrationError, match="cut short or damaged"):
        read_image(path, "The image")


@pytest.mark.parametrize("order", ["<", ">"])
def test_nifti_2_is_read_as_nibabel_reads_it(tmp_path, values, affine, order) -> None:
    """nibabel #898; ITK 5.4 does not read it."""
    path = tmp_path / "scan.nii.gz"
    made = nibabel.Nifti2Image(np.rint(values).astype(np.int16), affine, nibabel.Nifti2Header(endianness=order))
    made.header.set_slope_inter(0.5, 3)
    nibabel.save(made, path)
    assert_is_nibabels(read_image(path, "The image"), path)


@pytest.mark.parametrize("name", ["scan.nii", "scan", "scan.nrrd", "scan.nii.gz"])
def test_a_compressed_nifti_file_is_known_by_its_content(tmp_path, values, affine, name) -> None:
    """MONAI #2743."""
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "right.nii.gz")
    shutil.copy(tmp_path / "right.nii.gz", tmp_path / name)
    read = read_image(tmp_path / name, "The image")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read).transpose(2, 1, 0), values)


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.hdr"])
@pytest.mark.parametrize("other", ["scan.nii", "scan.nii.gz", "scan.hdr"])
def test_a_file_is_read_and_not_its_namesake_with_another_ending(tmp_path, image, name, other) -> None:
    """Given scan.nii.gz, ITK 5.4 reads the voxels of a scan.nii beside it."""
    for file, shift in {other: 1000, name: 0}.items():
        sitk.WriteImage(image + shift, str(tmp_path / file))
    assert read_image(tmp_path / name, "The image")[2, 3, 4] == pytest.approx(image[2, 3, 4])


@pytest.mark.parametrize("ending", [".hdr", ".img"])
def test_an_analyze_pair_has_no_orientation_whatever_lies_beside_it(tmp_path, values, ending) -> None:
    """SPM's originator and Analyze's orient lie where NIfTI has its orientation."""
    header = nibabel.Spm99AnalyzeHeader()
    header.set_data_dtype(np.int16)
    header["origin"][:3] = 5, 6, 7
    nibabel.save(nibabel.Spm99AnalyzeImage(np.rint(values).astype(np.int16), None, header), tmp_path / "scan.img")
    alone = read_image(tmp_path / f"scan{ending}", "The image")
    sitk.WriteImage(alone + 1000, str(tmp_path / "scan.nii"))
    beside = read_image(tmp_path / f"scan{ending}", "The image")
    assert sitk.Hash(beside) == sitk.Hash(alone)
    assert (beside.GetDirection(), beside.GetOrigin()) == (alone.GetDirection(), alone.GetOrigin())
    assert [beside.GetMetaData(code) for code in ("qform_code", "sform_code")] == ["0", "0"]


@pytest.mark.parametrize(
    "ending", [".nii", ".nii.gz", ".hdr", ".img", ".nrrd", ".nhdr", ".mha", ".mhd", ".mnc", ".mgz"]
)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.6, 0.99])
def test_a_file_of_any_format_cut_short_is_refused(tmp_path, image, values, affine, ending, share, capfd) -> None:
    path = tmp_path / f"scan{ending}"
    if ending == ".mgz":
        nibabel.save(nibabel.MGHImage(values, affine), path)
    else:
        sitk.WriteImage(image, str(path))
    assert read_image(path, "The image").GetSize() == SIZE
    longest = max(tmp_path.iterdir(), key=lambda file: file.stat().st_size)  # the voxels, where they lie apart
    longest.write_bytes(longest.read_bytes()[: int(share * longest.stat().st_size)])
    with pytest.raises(RegistrationError, match=r"cut short or damaged|is not a volume") as caught:
        read_image(path, "The image")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err.count("\n") == 0


@pytest.mark.parametrize("ending", [".nii", ".hdr", ".nrrd", ".mha", ".mgh"])
def test_voxels_that_are_not_numbers_are_refused_in_every_format(tmp_path, image, values, affine, ending) -> None:
    values[3, 4, 5] = np.nan
    if ending == ".mgh":
        nibabel.save(nibabel.MGHImage(values, affine), tmp_path / f"scan{ending}")
    else:
        image[3, 4, 5] = float("nan")
        sitk.WriteImage(image, str(tmp_path / f"scan{ending}"))
    from ULAERegistrationLib.files.volumes import read_volume

    with pytest.raises(RegistrationError, match="NaN or infinite"):
        read_volume(tmp_path / f"scan{ending}", "fixed")


def test_a_file_of_another_kind_is_refused_with_the_formats_that_are_read(tmp_path, image) -> None:
    sitk.WriteImage(image, str(tmp_path / "scan.vtk"))  # ITK reads half of such a file as a whole one
    (tmp_path / "text.nii.gz").write_text("not a volume")
    (tmp_path / "empty.nii.gz").write_bytes(b"")
    for name in ("scan.vtk", "text.nii.gz", "empty.nii.gz"):
        with pytest.raises(RegistrationError, match="not a volume that is read here; give one in NIfTI, NRRD"):
            read_image(tmp_path / name, "The image")


def header_with(path: Path, start: int, layout: str, *numbers: float) -> None:
    data = bytearray(path.read_bytes())
    struct.pack_into(layout, data, start, *numbers)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("start", "layout", "numbers"),
    [
        (108, "<f", [float("nan")]),
        (108, "<f", [-5.0]),
        (40, "<8h", [3, 0, 11, 12, 1, 1, 1, 1]),
        (40, "<8h", [3, -9, 11, 12, 1, 1, 1, 1]),
        (40, "<8h", [9, 9, 11, 12, 1, 1, 1, 1]),
        (70, "<h", [77]),
        (40, "<8h", [3, 9, 11, 13, 1, 1, 1, 1]),
    ],
    ids=["vox_offset NaN", "vox_offset negative", "a side of 0", "a side of -9", "9 axes", "type 77", "a slice more"],
)
def test_a_header_of_nonsense_is_a_sentence(tmp_path, image, start, layout, numbers) -> None:
    sitk.WriteImage(image, str(tmp_path / "scan.nii"))
    header_with(tmp_path / "scan.nii", start, layout, *numbers)
    with pytest.raises(RegistrationError, match="cut short or damaged"):
        read_image(tmp_path / "scan.nii", "The image")


def test_a_header_that_promises_more_than_there_is_takes_no_memory(tmp_path, image) -> None:
    sitk.WriteImage(image, str(tmp_path / "scan.nii"))
    header_with(tmp_path / "scan.nii", 40, "<8h", 3, 32767, 32767, 32767, 1, 1, 1, 1)
    sitk.WriteImage(image, str(tmp_path / "scan.nrrd"))
    data = (tmp_path / "scan.nrrd").read_bytes().replace(b"sizes: 9 11 12", b"sizes: 99999 99999 99999")
    (tmp_path / "scan.nrrd").write_bytes(data)
    assert MOST_VOXELS < 32767**3
    for name in ("scan.nii", "scan.nrrd"):
        with pytest.raises(RegistrationError, match="more than 1024 x 1024 x 1024"):
            read_image(tmp_path / name, "The image")


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


@pytest.mark.parametrize("entry", ["ElementNumberOfChannels", "CompressedDataSize"])
@pytest.mark.parametrize("number", ["", "two", "1 1"])
def test_a_header_of_metaimage_without_the_number_that_it_names_is_a_sentence(tmp_path, entry, number) -> None:
    header = f"ObjectType = Image\nNDims = 3\nCompressedData = True\nDimSize = 9 9 9\n{entry} = {number}\n"
    (tmp_path / "scan.mha").write_text(f"{header}ElementType = MET_SHORT\nElementDataFile = LOCAL\n")
    with pytest.raises(RegistrationError, match=r"scan\.mha"):
        read_image(tmp_path / "scan.mha", "The image")


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


def test_a_name_that_is_not_utf_8_is_a_sentence(tmp_path, image) -> None:
    """internetarchive #284; ITK ends the process at it."""
    name = os.path.join(os.fsencode(tmp_path), b"caf\xe9.nii")
    sitk.WriteImage(image, str(tmp_path / "scan.nii"))
    try:
        shutil.copy(tmp_path / "scan.nii", name)
    except OSError as error:  # macOS and Windows take no name that is not Unicode
        pytest.skip(f"this file system does not hold such a file: {error}")
    for act in (lambda path: read_any(path, "The image"), lambda path: write_image(image, path)):
        with pytest.raises(RegistrationError, match="not UTF-8; rename it") as caught:
            act(os.fsdecode(name))
        assert str(caught.value).isprintable()


def test_a_language_with_a_decimal_comma_changes_no_number(tmp_path, image, monkeypatch) -> None:
    """ITK #5683: in such a process ITK reads 1.25 in a text header as 1."""
    calls: list[str] = []
    monkeypatch.setattr(locale, "setlocale", lambda kind, name=None: calls.append(name) or "de_DE.UTF-8")
    for ending in (".nrrd", ".mha"):
        calls.clear()
        write_image(image, tmp_path / f"scan{ending}")
        assert calls == [None, "C", "de_DE.UTF-8"]
        read_image(tmp_path / f"scan{ending}", "The image")
        assert calls[3:] == [None, "C", "de_DE.UTF-8"]


def test_a_name_of_250_letters_is_written(tmp_path, image) -> None:
    path = tmp_path / ("n" * 243 + ".nii.gz")
    write_image(image, path)
    assert read_image(path, "The image").GetSize() == SIZE


def test_a_compressed_file_whose_sum_is_wrong_is_refused(tmp_path, values, affine) -> None:
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "scan.nii")
    data = bytearray(gzip.compress((tmp_path / "scan.nii").read_bytes(), 0))
    data[len(data) // 2] ^= 1
    (tmp_path / "scan.nii.gz").write_bytes(data)
    with pytest.raises(RegistrationError, match="cut short or damaged"):
        read_image(tmp_path / "scan.nii.gz", "The image")
