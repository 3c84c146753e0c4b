"""Read volumes, masks and label maps, and refuse unusable ones before anything is computed; write volumes.

The world is LPS millimetres (ITK).
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TypeAlias

import numpy as np
import SimpleITK as sitk

from ..errors import RegistrationError
from ..geometry.brain import (
    BRAIN_LITRES,
    DOUBTFUL_LITRES,
    HEAD_LITRES,
    coarse_foreground,
    looks_unstripped,
    volume_litres,
)
from ..geometry.orientation import SAME_MM, STRAIGHTENED, keep_stored_forms, stored_forms, straightened
from .reading import NOT_FINITE, read_image
from .writing import check_output_file, whole_or_nothing
from .written import write_checked

SPACING_LIMITS = (0.1, 10.0)  # mm; the network's own grid is 1 mm
LARGEST_LABEL = 2**53  # the last up to which ITK, which samples labels as float64, holds every whole number
LABEL_TOLERANCE = 1e-3  # largest distance of a label from an integer, which a header's scale factor may cause
FEWEST_VOXELS = 8  # along each axis; fewer do not suffice to align a brain
# A voxel shows something above this fraction of the image's contrast; a mask lies elsewhere where less than this
# fraction of it shows something. Of 43 right masks of heads and brains .88 and more does.
SHOWN, LEAST_SHOWN = 0.1, 0.5

# Metadata of an image, for the provenance of a result: the name of its file or node, and the file's SHA-256.
NAME, SHA256 = "ULAERegistration.name", "ULAERegistration.sha256"

Source: TypeAlias = str | os.PathLike[str] | sitk.Image


def read_volume(source: Source, role: str) -> sitk.Image:
    """Read one scan and refuse what cannot be a brain volume.

    Args:
        source: a file that SimpleITK reads, or an image (never changed, and a 3-D one is returned itself).
        role: "fixed" or "moving", for the message.

    Returns:
        The scalar 3-D image with its own pixel type and geometry.

    Raises:
        RegistrationError: where the file is missing or cannot be read, or the image is not 3-D, not scalar, constant,
            not finite, too thin, or of an impossible spacing or brain volume.
    """
    name = f"The {role} image"
    image = _three_dimensional(_read(source, name, finite=True), name)
    if min(image.GetSize()) < FEWEST_VOXELS:
        raise RegistrationError(f"{name} has {_size(image)} voxels; every side must have at least {FEWEST_VOXELS}.")
    low, high = SPACING_LIMITS
    if not all(low <= spacing <= high for spacing in image.GetSpacing()):
        spacing = " x ".join(f"{value:.4g}" for value in image.GetSpacing())
        raise RegistrationError(f"{name} has voxels of {spacing} mm; correct its spacing to {low:g} to {high:g} mm.")
    values = sitk.GetArrayViewFromImage(image)
    _check_finite(image, name)
    if values.min() == values.max():
        raise RegistrationError(f"{name} has the same value {values.flat[0]:g} everywhere; choose another volume.")
    _check_volume(image, name)
    return _named(image, source)


def read_mask(source: Source, image: sitk.Image, role: str) -> sitk.Image:
    """Read the brain mask of an image.

    Args:
        source: a file or an image; every non-zero voxel is brain.
        image: the scan it belongs to. The mask must lie on its grid, or on a grid of a different size whose voxels are
            all voxels of the scan (cropped, or with the axes in another order), as some segmentation tools write.
        role: "fixed" or "moving", for the message.

    Returns:
        uint8 image of zeros and ones on the grid of `image`.

    Raises:
        RegistrationError: where the mask cannot be read, is not finite, is empty, lies on a grid of other voxels, has a
            volume that no brain has, or lies where the image shows nothing.
    """
    name = f"The {role} mask"
    mask = _three_dimensional(_read(source, name, finite=True), name)
    _check_finite(mask, name)
    mask = sitk.Cast(mask != 0, sitk.sitkUInt8)
    mask = _on_grid_of(image, mask, name, role)
    litres = volume_litres(mask)
    if litres == 0:
        raise RegistrationError(f"{name} is empty; mark the brain in it, or leave it out.")
    if not BRAIN_LITRES[0] <= litres <= BRAIN_LITRES[1]:
        raise RegistrationError(
            f"{name} covers {litres:.2g} litres, which is no brain; mark the whole brain and nothing else, "
            f"and check the spacing of the image."
        )
    found = _share_shown(image, mask)
    if found < LEAST_SHOWN:
        raise RegistrationError(
            f"{name} lies where the {role} image shows nothing ({100 * (1 - found):.0f} % of it is as dark as the "
            f"background); check that it belongs to that image."
        )
    return _named(keep_stored_forms(image, mask), source)


def _check_finite(image: sitk.Image, name: str) -> None:
    """Refuse an image with voxels that are no numbers or infinite."""
    values = sitk.GetArrayViewFromImage(image)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise RegistrationError(f"{name} {NOT_FINITE}")


def _share_shown(image: sitk.Image, mask: sitk.Image) -> float:
    """Compute the fraction of a mask where an image is brighter than its background."""
    values = sitk.GetArrayViewFromImage(image)
    low, high = np.percentile(values[::2, ::2, ::2], (1, 99))
    inside = values[sitk.GetArrayViewFromImage(mask) > 0]
    return float((inside > low + SHOWN * (high - low)).mean())


def read_labels(source: Source, image: sitk.Image, role: str) -> sitk.Image:
    """Read the label map of an image.

    Args:
        source: a file or an image of whole numbers. Values of a float type are rounded if they are within
            `LABEL_TOLERANCE` of an integer.
        image: the scan it belongs to. The label map lies on its grid, or on some of its voxels as a mask may.
        role: "fixed" or "moving", for the message.

    Returns:
        The label map on the grid of `image`, of an integer pixel type.

    Raises:
        RegistrationError: where the label map cannot be read, lies on another grid, or has fractional values or labels
            beyond `LARGEST_LABEL`.
    """
    name = f"The {role} label map"
    labels = _three_dimensional(_read(source, name), name)
    return _whole_numbers(_on_grid_of(image, labels, name, role), name)


def read_any_labels(source: Source, name: str) -> sitk.Image:
    """Read any label map, to warp it.

    Args:
        source: a file or an image, as `read_labels` takes it.
        name: its name in the message, such as "The label map".

    Returns:
        The label map, of an integer pixel type.

    Raises:
        RegistrationError: where it is missing, cannot be read, is not 3-D, or has fractional values or labels beyond
            `LARGEST_LABEL`.
    """
    return _whole_numbers(read_any(source, name), name)


def _whole_numbers(labels: sitk.Image, name: str) -> sitk.Image:
    """Convert labels to integers; they may differ from integers by the rounding error of a header's scale factor."""
    values = sitk.GetArrayViewFromImage(labels)
    rounded = np.rint(values) if values.dtype.kind == "f" else values
    if rounded is not values and not np.abs(values - rounded).max() <= LABEL_TOLERANCE:  # so for a NaN too
        raise RegistrationError(f"{name} holds values that are not whole numbers; choose a label map.")
    if max(int(rounded.max()), -int(rounded.min())) > LARGEST_LABEL:
        raise RegistrationError(f"{name} holds labels beyond {LARGEST_LABEL}; give them smaller numbers.")
    if rounded is values:
        return labels
    whole = sitk.GetImageFromArray(rounded.astype(np.int32 if np.abs(rounded).max() < 2**31 else np.int64))
    whole.CopyInformation(labels)
    return whole


def read_any(source: Source, name: str) -> sitk.Image:
    """Read any scalar 3-D image, to warp it or to warp to its grid.

    Args:
        source: a file or an image.
        name: its name in the message, such as "The image".

    Raises:
        RegistrationError: where it is missing, cannot be read, or is not a scalar 3-D image.
    """
    return _three_dimensional(_read(source, name), name)


def write_image(image: sitk.Image, path: str | os.PathLike[str]) -> None:
    """Write a volume, compressed; completely or not at all.

    Raises:
        RegistrationError: for an unknown extension, or where the file cannot be written.
    """
    with whole_or_nothing(check_output_file(path)) as partial:
        write_checked(image, partial)


def _named(image: sitk.Image, source: Source) -> sitk.Image:
    """Note on an image which file or node it was read from."""
    if isinstance(source, sitk.Image):
        for key in (NAME, SHA256):
            if source.HasMetaDataKey(key):
                image.SetMetaData(key, source.GetMetaData(key))
    elif not image.HasMetaDataKey(NAME):  # the files between two processes have it already
        path = Path(source)
        image.SetMetaData(NAME, path.name)
        if path.is_file():  # a folder holds a DICOM series
            with path.open("rb") as file:
                image.SetMetaData(SHA256, hashlib.file_digest(file, "sha256").hexdigest())
    return image


def _read(source: Source, name: str, finite: bool = False) -> sitk.Image:
    """Read a file; an image is returned itself."""
    if isinstance(source, sitk.Image):
        return source
    return read_image(Path(source), name, finite)


def _three_dimensional(image: sitk.Image, name: str) -> sitk.Image:
    """Return a scalar 3-D image with axes at right angles; a fourth dimension of size 1 is dropped.

    Raises:
        RegistrationError: for anything else, and for axes that are far from right angles.
    """
    if image.GetNumberOfComponentsPerPixel() > 1 or "complex" in image.GetPixelIDTypeAsString():
        raise RegistrationError(f"{name} has several values per voxel (colour or vectors); give a grey-scale volume.")
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[:, :, :, 0]
    if image.GetDimension() != 3:
        raise RegistrationError(f"{name} has {image.GetDimension()} dimensions; give one 3-D volume.")
    return straightened(image, name)


def _on_grid_of(image: sitk.Image, mask: sitk.Image, name: str, role: str) -> sitk.Image:
    """Lay a mask or a label map onto the grid of an image, all of whose voxels, or some, are its own.

    Raises:
        RegistrationError: where its voxels are others.
    """
    if _is_cut_out_of(image, mask):
        mask = sitk.Resample(mask, image, sitk.Transform(), sitk.sitkNearestNeighbor)
    _check_same_grid(image, mask, name, role)
    mask = sitk.Image(mask)
    mask.CopyInformation(image)  # which may differ by a tenth of a voxel
    return mask


def _is_cut_out_of(image: sitk.Image, mask: sitk.Image) -> bool:
    """Tell whether all voxels of a mask are voxels of an image, in whatever order of axes."""
    corners = [[0, 0, 0], *(np.eye(3, dtype=int).tolist())]
    places = np.array(
        [image.TransformPhysicalPointToContinuousIndex(mask.TransformIndexToPhysicalPoint(c)) for c in corners]
    )
    last = image.TransformPhysicalPointToContinuousIndex(
        mask.TransformIndexToPhysicalPoint([size - 1 for size in mask.GetSize()])
    )
    steps = np.abs(places[1:] - places[0])
    unit = np.allclose(np.sort(steps, axis=1), [[0, 0, 1]] * 3, atol=0.01)
    on_grid = np.allclose(places[0], np.rint(places[0]), atol=0.1)
    ends = np.array([places[0], last])
    return bool(unit and on_grid and (ends > -0.5).all() and (ends < np.array(image.GetSize()) - 0.5).all())


def _check_same_grid(image: sitk.Image, mask: sitk.Image, name: str, role: str) -> None:
    """Refuse a mask or a label map whose grid differs from that of an image by more than a tenth of a voxel."""
    last = [size - 1 for size in image.GetSize()]
    corners = [(x, y, z) for x in (0, last[0]) for y in (0, last[1]) for z in (0, last[2])]
    apart = [
        np.subtract(mask.TransformIndexToPhysicalPoint(corner), image.TransformIndexToPhysicalPoint(corner))
        for corner in corners
    ]
    if mask.GetSize() != image.GetSize():
        what = f"{_size(mask)} voxels, not {_size(image)}"
    elif np.abs(apart).max() > 0.1 * min(image.GetSpacing()):
        what = f"its corners lie up to {np.linalg.norm(apart, axis=1).max():.3g} mm from those of the image"
    else:
        return
    raise RegistrationError(f"{name} lies on another grid than the {role} image ({what}); resample it to that image.")


def check_brain_volume(image: sitk.Image, role: str, foreground: sitk.Image) -> None:
    """Refuse a stripped scan whose brain is impossibly large, which means that the header's spacing is wrong.

    Args:
        image: a scan that shows the brain alone.
        role: "fixed" or "moving", for the message.
        foreground: the `coarse_foreground` of `image`.

    Raises:
        RegistrationError: where the brain is larger than any.
    """
    litres = volume_litres(foreground)
    if litres > BRAIN_LITRES[1]:
        raise RegistrationError(_impossible(image, f"The {role} image", litres))


def _check_volume(image: sitk.Image, name: str) -> None:
    """Refuse a brain or a head of impossible volume, which means that the header's spacing is wrong."""
    litres = volume_litres(coarse_foreground(image))
    most = BRAIN_LITRES[1]
    if litres > most and (litres <= DOUBTFUL_LITRES or looks_unstripped(image)):
        most = HEAD_LITRES
    if not BRAIN_LITRES[0] <= litres <= most:
        raise RegistrationError(_impossible(image, name, litres))


def _impossible(image: sitk.Image, name: str, litres: float) -> str:
    spacing = " x ".join(f"{value:.4g}" for value in image.GetSpacing())
    return (
        f"{name} shows a brain of {litres:.2g} litres, which is impossible; correct its spacing, which says {spacing} "
        f"mm."
    )


def header_doubts(image: sitk.Image, role: str) -> tuple[str, ...]:
    """Return warnings about a scan's header, one sentence each.

    Args:
        image: as read from its file.
        role: "fixed" or "moving", for the message.
    """
    doubts = []
    codes = [image.GetMetaData(key) if image.HasMetaDataKey(key) else "1" for key in ("qform_code", "sform_code")]
    if codes == ["0", "0"]:
        doubts.append(
            f"The header of the {role} image holds no orientation (qform and sform code 0), so that left and right may "
            f"be exchanged; check the result's sides, or give the file an orientation."
        )
    forms = stored_forms(image)
    if forms is not None and forms.taken and forms.apart_mm > SAME_MM:
        other = "sform" if forms.taken == "qform" else "qform"
        doubts.append(
            f"The header of the {role} image holds two orientations that lie up to {forms.apart_mm:.3g} mm apart "
            f"(qform with code {forms.codes[0]}, sform with code {forms.codes[1]}); the {forms.taken} was taken, so "
            f"that programs that take the {other} show the result elsewhere."
        )
    if image.HasMetaDataKey(STRAIGHTENED):
        doubts.append(
            f"The axes of the {role} image's header are not at right angles, by {image.GetMetaData(STRAIGHTENED)} %; "
            f"the nearest axes that are were taken."
        )
    return tuple(doubts)


def _size(image: sitk.Image) -> str:
    return " x ".join(map(str, image.GetSize()))
