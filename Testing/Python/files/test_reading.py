"""Every format is read as other programs read it, and what is wrong with a file is said before ITK hides it."""

from __future__ import annotations

import gzip
import locale
import os
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from in_world import lies_at
from patched_headers import header_with

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.files.reading import MOST_VOXELS, read_image
from ULAERegistrationLib.files.volumes import header_doubts, read_any, write_image


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
    assert read_image(path, "The image").GetSize() == image.GetSize()
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


@pytest.mark.parametrize("entry", ["ElementNumberOfChannels", "CompressedDataSize"])
@pytest.mark.parametrize("number", ["", "two", "1 1"])
def test_a_header_of_metaimage_without_the_number_that_it_names_is_a_sentence(tmp_path, entry, number) -> None:
    header = f"ObjectType = Image\nNDims = 3\nCompressedData = True\nDimSize = 9 9 9\n{entry} = {number}\n"
    (tmp_path / "scan.mha").write_text(f"{header}ElementType = MET_SHORT\nElementDataFile = LOCAL\n")
    with pytest.raises(RegistrationError, match=r"scan\.mha"):
        read_image(tmp_path / "scan.mha", "The image")


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
    assert read_image(path, "The image").GetSize() == image.GetSize()


def test_a_compressed_file_whose_sum_is_wrong_is_refused(tmp_path, values, affine) -> None:
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "scan.nii")
    data = bytearray(gzip.compress((tmp_path / "scan.nii").read_bytes(), 0))
    data[len(data) // 2] ^= 1
    (tmp_path / "scan.nii.gz").write_bytes(data)
    with pytest.raises(RegistrationError, match="cut short or damaged"):
        read_image(tmp_path / "scan.nii.gz", "The image")
