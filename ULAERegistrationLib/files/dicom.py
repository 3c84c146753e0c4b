"""Read DICOM series by ITK's reader: a folder that holds one, or a folder of several by one of its files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import RegistrationError

SERIES_UID, DESCRIPTION, POSITION, ORIENTATION = "0020|000e", "0008|103e", "0020|0032", "0020|0037"
PREAMBLE, MAGIC = 128, b"DICM"
FORMAT = "GDCMImageIO"  # ITK is told, see `files.itk.HDF5`
UNEVEN = 0.02  # largest difference of a gap between slices from the usual one, as a fraction
MOST_NAMED = 8  # series in a message


def is_dicom(beginning: bytes) -> bool:
    """Tell whether a file that begins so is a DICOM file."""
    return beginning[PREAMBLE : PREAMBLE + len(MAGIC)] == MAGIC


def read_dicom(path: Path, name: str) -> sitk.Image:
    """Read a series.

    Args:
        path: a folder with one series, or a file, whose own series in its folder is read.
        name: in messages, such as "The fixed image".

    Raises:
        RegistrationError: where the folder holds no series or several, or the slices do not make one volume.
        RuntimeError: where ITK cannot read it.
    """
    return _stacked(_only_series(path, name) if path.is_dir() else dicom_files(path), path, name)


def dicom_files(path: Path) -> tuple[str, ...]:
    """Return the files that are read where a path is given, in the order of their slices.

    Args:
        path: a folder, of which all series count, or a file, whose own series in its folder counts.

    Raises:
        RuntimeError: where ITK cannot read the file.
    """
    if path.is_dir():
        return tuple(file for files in _series_in(path).values() for file in files)
    head = _head(path)
    if len(head.GetSize()) > 2 and head.GetSize()[2] > 1:
        return (str(path),)
    return _series_in(path.parent).get(_entry(head, SERIES_UID), (str(path),))


def _only_series(folder: Path, name: str) -> tuple[str, ...]:
    found = _series_in(folder)
    if not found:
        raise RegistrationError(
            f"{name} {folder} is a folder without a DICOM series; give the path of a file, or of the folder with the "
            f"series itself."
        )
    if len(found) > 1:
        told = [f"{_described(files)}, {len(files)} files such as {Path(files[0]).name}" for files in found.values()]
        if len(told) > MOST_NAMED:
            told = [*told[:MOST_NAMED], f"{len(told) - MOST_NAMED} more"]
        raise RegistrationError(
            f"{name} {folder} holds {len(found)} DICOM series ({'; '.join(told)}); give one file of the series that "
            f"you mean."
        )
    return next(iter(found.values()))


def _series_in(folder: Path) -> dict[str, tuple[str, ...]]:
    """Return the files of every series in a folder, in the order of their slices, by the series' UID."""
    reader = sitk.ImageSeriesReader
    return {uid: reader.GetGDCMSeriesFileNames(str(folder), uid) for uid in reader.GetGDCMSeriesIDs(str(folder))}


def _stacked(files: tuple[str, ...], path: Path, name: str) -> sitk.Image:
    """Read slices as one volume, after a look at where they lie: ITK itself only warns where some are missing."""
    heads = [_head(Path(file)) for file in files]
    if len(heads) == 1:
        return sitk.ReadImage(files[0], imageIO=FORMAT)
    orientations = np.array([_values(head, ORIENTATION, 6) for head in heads])
    if np.ptp(orientations, axis=0).max() > 1e-3:
        raise RegistrationError(f"{name} {path} has slices that are not parallel; give a series of one volume.")
    normal = np.cross(orientations[0][:3], orientations[0][3:])
    gaps = np.diff([float(normal @ _values(head, POSITION, 3)) for head in heads])
    usual = float(np.median(np.abs(gaps)))
    if np.abs(gaps).min() < 0.01:
        raise RegistrationError(
            f"{name} {path} holds several slices at one place (times, echoes or phases), or slices that do not say "
            f"where they lie (captures of a screen); give a series of one volume."
        )
    if np.abs(np.abs(gaps) - usual).max() > UNEVEN * usual:
        widest = int(np.abs(gaps).argmax())
        raise RegistrationError(
            f"{name} {path} lacks slices, or they lie unevenly ({abs(gaps[widest]):.3g} mm after "
            f"{Path(files[widest]).name}, {usual:.3g} mm elsewhere); fetch the whole series again."
        )
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO(FORMAT)
    reader.SetFileNames(files)
    return reader.Execute()


def _head(file: Path) -> sitk.ImageFileReader:
    """Read the header of a file."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO(FORMAT)
    reader.SetFileName(str(file))
    reader.ReadImageInformation()
    return reader


def _entry(head: sitk.ImageFileReader, key: str) -> str:
    return head.GetMetaData(key).strip(" \0") if head.HasMetaDataKey(key) else ""


def _values(head: sitk.ImageFileReader, key: str, count: int) -> np.ndarray:
    """Return the numbers of an entry; zeros where it has not as many."""
    try:
        values = [float(value) for value in _entry(head, key).split("\\")]
    except ValueError:
        values = []
    return np.array(values if len(values) == count else [0.0] * count)


def _described(files: tuple[str, ...]) -> str:
    return _entry(_head(Path(files[0])), DESCRIPTION) or "without a description"
