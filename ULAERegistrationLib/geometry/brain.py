"""Tell whether a scan shows more than the brain, and mask the brain of a stripped scan."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import SimpleITK as sitk

BRAIN_LITRES = (0.25, 2.7)  # from a small infant to the largest adult in MNI space, membranes and fluid included
HEAD_LITRES = 9.0  # upper limit for a whole head
DOUBTFUL_LITRES = 3.2  # up to this volume, a head with constant air may be mistaken for an impossibly large brain
# Stripped scans of adults reach 1.8 litres in native size and 2.1 in MNI space; heads begin at 2.1. Above this limit
# brain extraction decides.
CERTAINLY_STRIPPED_LITRES = 1.85
# A scan shows a head if more than this fraction of its foreground lies further than this distance (mm) from its brain.
# The fraction is up to .06 for stripped scans, .14 where some neck is left, .17 (a thresholded FLAIR) to .5 for heads.
BEYOND_MM, BEYOND_SHARE = 10.0, 0.15
FAR_BELOW = 1.0  # of the range of the brain's intensities; a background this far below them is no dark tissue
SHRUNK = 4.0  # mm, voxel size that suffices to tell a brain from a head
PIECE = 0.02  # of the largest piece of a stripped brain; a cerebellum has .1, an eye that was left .005
# What is darker than the background by more than this share of the contrast is tissue only where it fills more than a
# hundredth of the scan; else it is an overflow, or beside an edge that an interpolation has sharpened.
DARKER, FEW = 0.05, 0.01


def background_value(image: sitk.Image) -> float:
    """Return the background's intensity: the median of the image's six faces."""
    values = sitk.GetArrayViewFromImage(image)
    faces = [values.take(index, axis).ravel() for axis in range(3) for index in (0, -1)]
    return float(np.median(np.concatenate(faces)))


def floor_of(image: sitk.Image, mask: sitk.Image | None) -> float:
    """Return the intensity that counts as nothing in a scan.

    This is the background's, as a rule, and without a mask always. Where the background is brighter than the brain's
    darkest tissue, as in a brain of z-scores, or far darker, as where a brain is padded with -1024, it is 0. Where 0 is
    one of the two as well, it is the intensity of the darkest tissue.

    Args:
        image: the scan.
        mask: of its brain, on its grid, not empty; None where it is taken as it is.
    """
    if mask is None:
        return background_value(image)
    values, inside = sitk.GetArrayViewFromImage(image), sitk.GetArrayViewFromImage(mask) > 0
    # Every second voxel, enough for a percentile, off the edge, where resampling has mixed brain and background.
    inner, centres = inside, tuple(slice(1, 2 * ((size - 1) // 2), 2) for size in inside.shape)
    for axis, centre in enumerate(centres):
        along = np.moveaxis(inner, axis, 0)
        before, after = (slice(centre.start + step, centre.stop + step, 2) for step in (-1, 1))
        inner = np.moveaxis(along[before] & along[centre] & along[after], 0, axis)
    low, high = np.percentile(values[centres][inner] if inner.any() else values[inside], (0.1, 99.9))
    likely = (nothing for nothing in (background_value(image), 0.0) if 0 <= low - nothing <= FAR_BELOW * (high - low))
    return next(likely, float(low))


def darkest_shown(image: sitk.Image) -> float:
    """Return the intensity of the darkest that a scan shows, apart from single voxels and from a far darker filling.

    As a rule this is the background's intensity, less a little. Where a scan is cut off within the head, its faces show
    tissue, and much is darker.
    """
    values = sitk.GetArrayViewFromImage(image)[::2, ::2, ::2]  # enough for percentiles
    background = background_value(image)
    contrast = float(np.percentile(values, 99)) - background
    edge = background - DARKER * abs(contrast)
    if (values < edge).mean() < FEW:
        return max(edge, float(values.min()))
    measured = values[values >= background - FAR_BELOW * contrast] if contrast > 0 else values
    return float(np.percentile(measured, 0.1))


def brain_mask(image: sitk.Image) -> sitk.Image:
    """Mask the brain of a skull-stripped scan: what is not background, without small pieces, holes filled.

    A lost slice or a gap beside the cerebellum may divide a brain into several pieces.

    Returns:
        uint8 image of zeros and ones on the grid of `image`. Of a whole head it masks the head.
    """
    return _foreground(image, share=0.01, least=PIECE)


def looks_unstripped(image: sitk.Image, foreground: sitk.Image | None = None) -> bool:
    """Tell whether a scan seems to show a whole head instead of a brain alone.

    The criteria hardly depend on the voxel size that the header states: the air around a head is noisy, and the dark
    skull lies below bright skin; a stripped brain has a constant background and gets brighter from its surface (fluid
    and cortex) inwards.

    Args:
        image: the scan.
        foreground: its `coarse_foreground`, if it is at hand.
    """
    values = sitk.GetArrayViewFromImage(image)
    background = background_value(image)
    contrast = abs(float(np.percentile(values[::2, ::2, ::2], 99)) - background)
    contrast = contrast or float(np.abs(values - np.float32(background)).max())  # where hardly anything is shown
    if (np.abs(values[::2, ::2, ::2] - np.float32(background)) <= 0.005 * contrast).mean() < 0.3:
        return True
    # Block size in proportion to the brain's size, so that a wrong spacing in the header changes nothing.
    litres = volume_litres(coarse_foreground(image) if foreground is None else foreground)
    coarse = _shrink(image, SHRUNK * (litres / 1.5) ** (1 / 3))
    piece = without_holes(sitk.BinaryMorphologicalClosing(_foreground(coarse, share=0.15), (1, 1, 1)))
    distance = sitk.SignedMaurerDistanceMap(piece, insideIsPositive=True, squaredDistance=False, useImageSpacing=True)
    inside = sitk.GetArrayViewFromImage(piece) > 0
    depth = sitk.GetArrayViewFromImage(distance)[inside]
    depth = depth / np.percentile(depth, 99.5)
    brightness = (sitk.GetArrayViewFromImage(coarse)[inside] - background) / contrast
    surface, below = brightness[depth <= 0.1], brightness[(depth > 0.1) & (depth <= 0.2)]
    if surface.size > 0 and below.size > 0 and surface.mean() > below.mean():
        return True
    # Where the skin is dim, a large dark fraction (the skull) tells a head; large ventricles are as dark, but in a
    # volume that a brain can have.
    return bool(litres > BRAIN_LITRES[1] and (brightness < 0.25).mean() > 0.1)


def find_brain(
    image: sitk.Image, extractor: Callable[[sitk.Image], sitk.Image], foreground: sitk.Image | None = None
) -> sitk.Image | None:
    """Find the brain in a scan that shows more than the brain.

    Args:
        image: any scan of a head or brain.
        extractor: returns the mask of the brain in a scan, uint8 of zeros and ones on its grid. It is called only where
            the scan is not certainly stripped.
        foreground: the `coarse_foreground` of `image`, if it is at hand.

    Returns:
        The mask, uint8 on the grid of `image`; None where the scan shows the brain alone.

    Raises:
        RegistrationError: where the extractor raises it, because it finds no brain.
    """
    foreground = coarse_foreground(image) if foreground is None else foreground
    looks_like_head = looks_unstripped(image, foreground)
    if not looks_like_head and volume_litres(foreground) <= CERTAINLY_STRIPPED_LITRES:
        return None
    mask = extractor(image)
    if not looks_like_head and _share_beyond(foreground, mask) <= BEYOND_SHARE:
        return None
    return mask


def _share_beyond(foreground: sitk.Image, mask: sitk.Image) -> float:
    """Compute the fraction of the foreground that lies further than `BEYOND_MM` from a mask."""
    coarse = sitk.Resample(mask, foreground, sitk.Transform(), sitk.sitkNearestNeighbor)
    distance = sitk.SignedMaurerDistanceMap(coarse, squaredDistance=False, useImageSpacing=True)
    shown = sitk.GetArrayViewFromImage(foreground) > 0
    return float((sitk.GetArrayViewFromImage(distance)[shown] > BEYOND_MM).mean())


def coarse_foreground(image: sitk.Image) -> sitk.Image:
    """Mask the brain or head on a grid of about `SHRUNK` mm, fine enough to measure its volume."""
    return _foreground(_shrink(image, SHRUNK), share=0.15)


def _foreground(image: sitk.Image, share: float, least: float = 1.0) -> sitk.Image:
    """Mask the largest connected components of the foreground, holes filled.

    Args:
        image: the scan.
        share: of the image's contrast, by more than which the foreground differs from the background.
        least: size of the smallest component that is kept, as a fraction of the largest one.
    """
    values = sitk.GetArrayViewFromImage(image)
    background = background_value(image)
    sparse = tuple(slice(None, None, 2 if size > 64 else 1) for size in values.shape)  # enough for a percentile
    threshold = share * abs(float(np.percentile(values[sparse], 99)) - background)
    shown = (values < np.float32(background - threshold)) | (values > np.float32(background + threshold))
    # Only the box around the foreground and its neighbours is searched: most of many scans is air.
    box = box_around(shown, 1)
    foreground = sitk.GetImageFromArray(shown[box].astype(np.uint8))
    relabel = sitk.RelabelComponentImageFilter()  # the largest first
    pieces = relabel.Execute(sitk.ConnectedComponent(foreground))
    sizes = relabel.GetSizeOfObjectsInPixels()
    kept = sum(size >= least * sizes[0] for size in sizes)
    filled = without_holes(sitk.BinaryThreshold(pieces, 1, max(kept, 1)))
    whole = np.zeros(shown.shape, np.uint8)
    whole[box] = sitk.GetArrayViewFromImage(filled)
    mask = sitk.GetImageFromArray(whole)
    mask.CopyInformation(image)
    return mask


def without_holes(mask: sitk.Image) -> sitk.Image:
    """Fill what a mask encloses, as ITK's BinaryFillhole does in more than twice the time.

    Args:
        mask: uint8 of zeros and ones.

    Returns:
        The same with ones where no way through faces of zeros leads out of the image.
    """
    zeros = sitk.ConstantPad(mask, [1] * 3, [1] * 3, 0) == 0  # all that is outside of the image is one component
    outside = sitk.ConnectedComponent(zeros)
    filled = sitk.GetArrayViewFromImage(outside)[1:-1, 1:-1, 1:-1] != outside[0, 0, 0]
    result = sitk.GetImageFromArray(filled.astype(np.uint8))
    result.CopyInformation(mask)
    return result


def box_around(region: np.ndarray, margin: int) -> tuple[slice, ...]:
    """Return the box around the true voxels of a grid and a margin; the whole grid where there are none."""
    found = []
    for axis, length in enumerate(region.shape):
        planes = np.flatnonzero(region.any(axis=tuple(other for other in range(region.ndim) if other != axis)))
        first, last = (planes[0], planes[-1]) if len(planes) else (0, length - 1)
        found.append(slice(max(int(first) - margin, 0), min(int(last) + margin + 1, length)))
    return tuple(found)


def _shrink(image: sitk.Image, spacing: float) -> sitk.Image:
    """Average an image over blocks of voxels to at most about `spacing` mm, float32."""
    factors = [
        int(min(max(spacing // step, 1), max(size // 4, 1)))
        for step, size in zip(image.GetSpacing(), image.GetSize(), strict=True)
    ]
    return sitk.BinShrink(sitk.Cast(image, sitk.sitkFloat32), factors)  # sums of large integers would overflow


def volume_litres(mask: sitk.Image) -> float:
    """Compute the volume of a mask's non-zero voxels, litres."""
    return float(np.count_nonzero(sitk.GetArrayViewFromImage(mask)) * np.prod(mask.GetSpacing()) / 1e6)
