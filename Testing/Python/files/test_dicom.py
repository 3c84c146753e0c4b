"""A DICOM series is a volume, and what is none is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.files.inputs import digest
from ULAERegistrationLib.files.reading import read_image


def dicom_series(folder: Path, places: list[float | None], uid: str = "1.2.3", description: str = "T1", first: int = 0):
    folder.mkdir(exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number, place in enumerate(places):
        rows = np.random.default_rng(first + number).integers(0, 1000, (14, 12)).astype(np.int16)
        slice_ = sitk.GetImageFromArray(rows)
        slice_.SetSpacing((1.5, 1.25))
        is_capture = place is None
        place_and_axes = {"0020|0032": f"-20\\-30\\{place}", "0020|0037": "1\\0\\0\\0\\1\\0"}
        for key, value in {
            "0008|0060": "OT" if is_capture else "MR",
            "0020|000e": uid,
            "0020|000d": "1.2.1",
            "0008|0018": f"{uid}.{number + 1}",
            "0008|103e": description,
            "0020|0013": str(number),
            **({"0008|0016": "1.2.840.10008.5.1.4.1.1.7"} if is_capture else place_and_axes),
        }.items():
            slice_.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{first + number:03}.dcm"))
        writer.Execute(slice_)


def test_a_folder_with_a_dicom_series_is_a_volume_and_so_is_any_of_its_files(tmp_path) -> None:
    dicom_series(tmp_path / "series", [10 + 2.5 * number for number in range(9)])
    for path in (tmp_path / "series", tmp_path / "series" / "004.dcm"):
        image = read_image(path, "The image")
        assert image.GetSize() == (12, 14, 9)
        assert image.GetSpacing() == pytest.approx((1.5, 1.25, 2.5))
        assert image.GetOrigin() == pytest.approx((-20, -30, 10))
    expected = np.random.default_rng(4).integers(0, 1000, (14, 12))
    assert np.array_equal(sitk.GetArrayFromImage(image)[4], expected)


def test_a_folder_with_several_dicom_series_names_them_and_a_file_chooses(tmp_path) -> None:
    dicom_series(tmp_path / "study", [0.0, 2.0, 4.0], "1.2.3", "T1 MPRAGE")
    dicom_series(tmp_path / "study", [0.0, 3.0], "1.2.4", "Localizer", first=3)
    with pytest.raises(RegistrationError, match="holds 2 DICOM series") as caught:
        read_image(tmp_path / "study", "The fixed image")
    for words in ("T1 MPRAGE, 3 files such as 000.dcm", "Localizer, 2 files such as 003.dcm", "give one file of"):
        assert words in str(caught.value)
    assert read_image(tmp_path / "study" / "003.dcm", "The fixed image").GetSize() == (12, 14, 2)


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ([0.0, 2.0, 4.0, 8.0, 10.0], "lacks slices, or they lie unevenly (4 mm after 002.dcm, 2 mm elsewhere)"),
        ([0.0, 2.0, 2.0, 4.0], "several slices at one place"),
    ],
)
def test_a_dicom_series_that_is_no_volume_is_refused(tmp_path, places, words) -> None:
    dicom_series(tmp_path / "series", places)
    with pytest.raises(RegistrationError) as caught:
        read_image(tmp_path / "series", "The image")
    assert words in str(caught.value)


def test_slices_that_say_no_place_are_no_volume(tmp_path) -> None:
    """Captures of a screen have none."""
    dicom_series(tmp_path / "captures", [None] * 3)
    with pytest.raises(RegistrationError, match="slices that do not say where they lie"):
        read_image(tmp_path / "captures", "The image")


def test_a_folder_without_a_dicom_series_is_said(tmp_path) -> None:
    with pytest.raises(RegistrationError, match="folder without a DICOM series"):
        read_image(tmp_path, "The image")


@pytest.mark.parametrize("named", [".", "001.dcm"])
def test_the_checksum_of_a_series_changes_with_its_slices_and_with_nothing_else(tmp_path, named) -> None:
    """Results may be written into the folder of a scan, and macOS leaves files of its own in every folder."""
    dicom_series(tmp_path, [0.0, 2.0, 4.0])
    before = digest(tmp_path / named)
    assert before
    (tmp_path / ".DS_Store").write_bytes(b"of macOS")
    (tmp_path / "summary.csv").write_text("name,status")
    dicom_series(tmp_path / "others", [0.0, 2.0], "1.2.4")
    if named != ".":
        dicom_series(tmp_path, [0.0, 2.0], "1.2.5", first=7)
    assert digest(tmp_path / named) == before
    dicom_series(tmp_path, [0.0, 2.0, 4.0, 6.0])
    longer = digest(tmp_path / named)
    (tmp_path / "000.dcm").write_bytes((tmp_path / "003.dcm").read_bytes())
    assert len({before, longer, digest(tmp_path / named)}) == 3


def test_a_damaged_slice_has_no_checksum(tmp_path) -> None:
    (tmp_path / "000.dcm").write_bytes(bytes(128) + b"DICM")
    assert digest(tmp_path / "000.dcm") == ""
