"""Volumes in and out of files: read, checked, named in messages, and written whole or not at all.

Everything is checked here before anything is computed. The world is LPS millimetres (ITK).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from .errors import RegistrationError
from .nifti import NOT_FINITE, check_nifti

IMAGE_EXTENSIONS = (".nii.gz", ".nii", ".nrrd", ".mha")
SPACING_LIMITS = (0.1, 10.0)  # mm; the network's own grid is 1 mm
FEWEST_VOXELS = 8  # along an axis: nothing of a brain can be aligned in fewer
BRAIN_LITRES = (0.25, 2.7)  # from a small infant to the largest adult in MNI space, membranes and fluid included
HEAD_LITRES = 9.0
SHRUNK = 4.0  # mm, fine enough to see where brain and head lie

Source = str | os.PathLike | sitk.Image


def read_volume(source: Source, role: str) -> sitk.Image:
    """Read one scan and refuse what cannot be a brain volume.

    Args:
        source: a file that SimpleITK reads, or an image (returned as it is, never copied or changed).
        role: "fixed" or "moving", for the message.

    Returns:
        The scalar 3-D image with its own pixel type and geometry.

    Raises:
        RegistrationError: missing or unreadable file, not 3-D, colour or vector, constant, not finite, too thin, or of
            an impossible spacing or brain volume.
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
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise RegistrationError(f"{name} {NOT_FINITE}")
    if values.min() == values.max():
        raise RegistrationError(f"{name} has the same value {values.flat[0]:g} everywhere; choose another volume.")
    _check_volume(image, name)
    return image


def read_mask(source: Source, image: sitk.Image, role: str) -> sitk.Image:
    """Read the brain mask of an image.

    Args:
        source: a file or an image; every non-zero voxel is brain.
        image: the scan it belongs to; the mask must lie on its grid.
        role: "fixed" or "moving", for the message.

    Returns:
        uint8 image of zeros and ones on the grid of `image`.

    Raises:
        RegistrationError: unreadable, empty, of another geometry, or a mask of an impossible volume for a brain.
    """
    name = f"The {role} mask"
    mask = _three_dimensional(_read(source, name), name)
    _check_same_grid(mask, image, name, role)
    mask = sitk.Cast(mask != 0, sitk.sitkUInt8)
    litres = np.count_nonzero(sitk.GetArrayViewFromImage(mask)) * _voxel_litres(mask)
    if litres == 0:
        raise RegistrationError(f"{name} is empty; mark the brain in it, or leave it out.")
    if not BRAIN_LITRES[0] <= litres <= BRAIN_LITRES[1]:
        raise RegistrationError(
            f"{name} covers {litres:.2g} litres, which is no brain; mark the whole brain and nothing else, "
            f"and check the spacing of the image."
        )
    return mask


def read_labels(source: Source, image: sitk.Image, role: str) -> sitk.Image:
    """Read the label map of an image.

    Args:
        source: a file or an image of whole numbers (a float file that holds only whole numbers is taken as int32).
        image: the scan it belongs to; the labels must lie on its grid.
        role: "fixed" or "moving", for the message.

    Returns:
        The label map, of an integer pixel type.

    Raises:
        RegistrationError: unreadable, of another geometry, or not whole numbers.
    """
    name = f"The {role} label map"
    labels = _three_dimensional(_read(source, name), name)
    _check_same_grid(labels, image, name, role)
    values = sitk.GetArrayViewFromImage(labels)
    if values.dtype.kind == "f":
        if not np.array_equal(values, np.rint(values)):
            raise RegistrationError(f"{name} holds values that are not whole numbers; choose a label map.")
        labels = sitk.Cast(labels, sitk.sitkInt32)
    return labels


def read_any(source: Source, name: str) -> sitk.Image:
    """Read any scalar 3-D image, as something to be warped or a grid to warp to.

    Args:
        source: a file or an image.
        name: what the message calls it, such as "The image".

    Raises:
        RegistrationError: missing, unreadable, or not a scalar 3-D image.
    """
    return _three_dimensional(_read(source, name), name)


def background_value(image: sitk.Image) -> float:
    """What surrounds the brain: the median of the image's six faces."""
    values = sitk.GetArrayViewFromImage(image)
    faces = [values.take(index, axis).ravel() for axis in range(3) for index in (0, -1)]
    return float(np.median(np.concatenate(faces)))


def brain_mask(image: sitk.Image) -> sitk.Image:
    """Which voxels of a skull-stripped scan are brain: the largest piece that is not background, holes filled.

    Returns:
        uint8 image of zeros and ones on the grid of `image`. For a whole head it is the head.
    """
    return _largest_piece(image, share=0.01)


def looks_unstripped(image: sitk.Image) -> bool:
    """Whether a scan seems to show a whole head instead of a brain alone.

    Seen without trusting the scale: the air around a head is noisy, and below its bright skin lies the dark skull;
    a stripped brain lies on an even background and grows brighter from its surface (fluid and cortex) to its inside.
    """
    values = sitk.GetArrayViewFromImage(image)
    background = background_value(image)
    contrast = abs(float(np.percentile(values[::2, ::2, ::2], 99)) - background)
    if (np.abs(values[::2, ::2, ::2] - np.float32(background)) <= 0.005 * contrast).mean() < 0.3:
        return True
    # Blocks of one thirtieth of the brain, whatever its size in millimetres is said to be.
    litres = _litres(_coarse_foreground(image))
    coarse = _shrink(image, SHRUNK * (litres / 1.5) ** (1 / 3))
    piece = sitk.BinaryFillhole(sitk.BinaryMorphologicalClosing(_largest_piece(coarse, share=0.15), (1, 1, 1)))
    distance = sitk.SignedMaurerDistanceMap(piece, insideIsPositive=True, squaredDistance=False, useImageSpacing=True)
    inside = sitk.GetArrayViewFromImage(piece) > 0
    depth = sitk.GetArrayViewFromImage(distance)[inside]
    depth = depth / np.percentile(depth, 99.5)
    brightness = (sitk.GetArrayViewFromImage(coarse)[inside] - background) / contrast
    surface, below = brightness[depth <= 0.1], brightness[(depth > 0.1) & (depth <= 0.2)]
    if surface.size > 0 and surface.mean() > below.mean():
        return True
    # A head with a dim skin is told by the dark share of its skull; large ventricles have that too, in a smaller brain.
    return bool(litres > BRAIN_LITRES[1] and (brightness < 0.25).mean() > 0.1)


def check_output_folder(folder: str | os.PathLike) -> Path:
    """Make sure that results can be written to a folder, without leaving anything in it.

    Args:
        folder: an existing folder, or one that can be made.

    Returns:
        The folder as a path; it may not exist yet.

    Raises:
        RegistrationError: it is a file, or cannot be written to.
    """
    folder = Path(folder)
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            return folder
    except OSError as error:
        reason = "it is not a folder" if existing.is_file() else error.strerror.lower()
        raise RegistrationError(f"Nothing can be written to {folder} ({reason}); choose another folder.") from None


def check_output_file(path: str | os.PathLike, extensions: tuple[str, ...] = IMAGE_EXTENSIONS) -> Path:
    """Make sure that a file can be written: its folder is writable and its extension is one that we write.

    Raises:
        RegistrationError: if not.
    """
    path = Path(path)
    if not path.name.lower().endswith(extensions):
        raise RegistrationError(f"{path.name} cannot be written; end its name with {' or '.join(extensions)}.")
    if path.is_dir():
        raise RegistrationError(f"{path} is a folder; give the name of a file.")
    check_output_folder(path.parent)
    return path


@contextmanager
def whole_or_nothing(path: str | os.PathLike) -> Iterator[Path]:
    """A name to write to; the file appears under its own name when the block ends well, and not at all otherwise.

    Raises:
        RegistrationError: when the file cannot be written (disk full, folder gone, no permission).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The full name stays at the end, because the writers choose the format by it.
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:
        raise RegistrationError(f"{path} could not be written ({_last_line(error)}); choose another place.") from error
    finally:
        partial.unlink(missing_ok=True)


def write_image(image: sitk.Image, path: str | os.PathLike) -> None:
    """Write a volume, compressed, whole or not at all.

    Raises:
        RegistrationError: unknown extension, or it cannot be written.
    """
    with whole_or_nothing(check_output_file(path)) as partial:
        sitk.WriteImage(image, str(partial), useCompression=True)


def _read(source: Source, name: str, finite: bool = False) -> sitk.Image:
    """The image behind a path, refused where its file is cut short, or not finite; an image comes back as it is."""
    if isinstance(source, sitk.Image):
        return source
    path = Path(source)
    if not path.is_file():
        raise RegistrationError(f"{name} {path} does not exist; give the path of a file.")
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise RegistrationError(
            f"{name} {path} cannot be read ({_last_line(error)}); give a volume such as .nii.gz, .nrrd or .mha."
        ) from None
    check_nifti(path, name, finite)
    return image


def _three_dimensional(image: sitk.Image, name: str) -> sitk.Image:
    """A scalar 3-D image; a fourth side of one is dropped, anything else is refused."""
    if image.GetNumberOfComponentsPerPixel() > 1 or "complex" in image.GetPixelIDTypeAsString():
        raise RegistrationError(f"{name} has several values per voxel (colour or vectors); give a grey-scale volume.")
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[:, :, :, 0]
    if image.GetDimension() != 3:
        raise RegistrationError(f"{name} has {image.GetDimension()} dimensions; give one 3-D volume.")
    return image


def _check_same_grid(image: sitk.Image, like: sitk.Image, name: str, role: str) -> None:
    """Refuse an image whose voxels lie elsewhere than those of `like` (by more than a tenth of a voxel)."""
    last = [size - 1 for size in like.GetSize()]
    corners = [(x, y, z) for x in (0, last[0]) for y in (0, last[1]) for z in (0, last[2])]
    apart = [
        np.subtract(image.TransformIndexToPhysicalPoint(corner), like.TransformIndexToPhysicalPoint(corner))
        for corner in corners
    ]
    if image.GetSize() != like.GetSize() or np.abs(apart).max() > 0.1 * min(like.GetSpacing()):
        raise RegistrationError(
            f"{name} lies on another grid ({_size(image)} voxels) than the {role} image ({_size(like)} voxels); "
            f"resample it to that image."
        )


def _check_volume(image: sitk.Image, name: str) -> None:
    """Refuse a brain or a head of impossible size, which means a spacing that lies; a whole head may be larger."""
    litres = _litres(_coarse_foreground(image))
    most = BRAIN_LITRES[1]
    if litres > most and looks_unstripped(image):
        most = HEAD_LITRES
    if not BRAIN_LITRES[0] <= litres <= most:
        raise RegistrationError(
            f"{name} shows a brain of {litres:.2g} litres, which is impossible; correct its spacing, which says "
            f"{' x '.join(f'{value:.4g}' for value in image.GetSpacing())} mm."
        )


def _coarse_foreground(image: sitk.Image) -> sitk.Image:
    """Where brain or head is, on a grid just fine enough to measure its volume."""
    return _largest_piece(_shrink(image, SHRUNK), share=0.15)


def _largest_piece(image: sitk.Image, share: float) -> sitk.Image:
    """The largest connected piece that differs from the background by `share` of the bright values, holes filled."""
    values = sitk.GetArrayViewFromImage(image)
    background = background_value(image)
    threshold = share * abs(float(np.percentile(values, 99)) - background)
    foreground = sitk.GetImageFromArray((np.abs(values - np.float32(background)) > threshold).astype(np.uint8))
    foreground.CopyInformation(image)
    pieces = sitk.RelabelComponent(sitk.ConnectedComponent(foreground), sortByObjectSize=True)
    return sitk.BinaryFillhole(sitk.Cast(pieces == 1, sitk.sitkUInt8))


def _shrink(image: sitk.Image, spacing: float) -> sitk.Image:
    """The image averaged over blocks of voxels to about `spacing` mm, float32."""
    factors = [
        int(min(max(spacing // step, 1), max(size // 4, 1)))
        for step, size in zip(image.GetSpacing(), image.GetSize(), strict=True)
    ]
    return sitk.Cast(sitk.BinShrink(image, factors), sitk.sitkFloat32)


def _litres(mask: sitk.Image) -> float:
    """Volume of the ones of a mask, litres."""
    return float(np.count_nonzero(sitk.GetArrayViewFromImage(mask)) * _voxel_litres(mask))


def _voxel_litres(image: sitk.Image) -> float:
    return float(np.prod(image.GetSpacing())) / 1e6


def _size(image: sitk.Image) -> str:
    return " x ".join(map(str, image.GetSize()))


def _last_line(error: Exception) -> str:
    """What an exception of ITK's says after its source lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
