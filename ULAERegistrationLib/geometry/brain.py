"""Where the brain is in a scan, and whether the scan shows more than the brain, or less than all of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import SimpleITK as sitk

BRAIN_LITRES = (0.25, 2.7)  # from a small infant to the largest adult in MNI space, membranes and fluid included
HEAD_LITRES = 9.0
DOUBTFUL_LITRES = 3.2  # up to here, a head whose air is even may look like a brain that is too large
# Stripped scans of adults reach 1.8 litres in the body's size and 2.1 stretched to MNI space; heads begin at 2.1. Above
# this, brain extraction is asked.
CERTAINLY_STRIPPED_LITRES = 1.85
# A scan is a head where more than this share of what it shows lies further than the distance (mm) from its brain:
# stripped scans have up to .06 there, .14 with a rest of neck, heads .17 (a thresholded FLAIR) to .5.
BEYOND_MM, BEYOND_SHARE = 10.0, 0.15
# A brain is cut where it reaches a side of the scan with this share of its widest section or more.
CUT_SHARE = 0.15
SHRUNK = 4.0  # mm, fine enough to see where brain and head lie


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
    litres = volume_litres(coarse_foreground(image))
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


def find_brain(image: sitk.Image, extractor: Callable[[sitk.Image], sitk.Image]) -> sitk.Image | None:
    """The brain's mask in a scan that shows more than the brain.

    Args:
        image: any scan of a head or brain.
        extractor: finds the brain in a scan: uint8 mask of zeros and ones on its grid. Asked only where the scan is not
            certainly stripped.

    Returns:
        The mask, uint8 on the grid of `image`; None where the scan shows the brain alone.

    Raises:
        RegistrationError: what the extractor raises, where the scan shows more than a brain and none is found.
    """
    foreground = coarse_foreground(image)
    looks_like_head = looks_unstripped(image)
    if not looks_like_head and volume_litres(foreground) <= CERTAINLY_STRIPPED_LITRES:
        return None
    mask = extractor(image)
    if not looks_like_head and _share_beyond(foreground, mask) <= BEYOND_SHARE:
        return None
    return mask


def _share_beyond(foreground: sitk.Image, mask: sitk.Image) -> float:
    """Which share of the foreground lies further than `BEYOND_MM` from a mask."""
    coarse = sitk.Resample(mask, foreground, sitk.Transform(), sitk.sitkNearestNeighbor)
    distance = sitk.SignedMaurerDistanceMap(coarse, squaredDistance=False, useImageSpacing=True)
    shown = sitk.GetArrayViewFromImage(foreground) > 0
    return float((sitk.GetArrayViewFromImage(distance)[shown] > BEYOND_MM).mean())


def cut_sides(mask: sitk.Image) -> list[str]:
    """The sides on which a brain goes on beyond the scan's field of view.

    Args:
        mask: of the brain, zeros and ones.

    Returns:
        Of "left", "right", "front", "back", "bottom", "top", those where the brain's section with the outermost plane
        of voxels is `CUT_SHARE` of its widest section or more.
    """
    values = sitk.GetArrayViewFromImage(mask) > 0
    names = (("right", "left"), ("front", "back"), ("bottom", "top"))  # towards smaller and larger LPS coordinates
    direction = np.reshape(mask.GetDirection(), (3, 3))
    found = []
    for axis in range(3):
        sections = values.sum(axis=tuple(other for other in range(3) if other != 2 - axis))
        body = int(np.abs(direction[:, axis]).argmax())
        first, last = names[body] if direction[body, axis] > 0 else names[body][::-1]
        widest = sections.max()
        found += [side for side, area in ((first, sections[0]), (last, sections[-1])) if area >= CUT_SHARE * widest > 0]
    return found


def coarse_foreground(image: sitk.Image) -> sitk.Image:
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


def volume_litres(mask: sitk.Image) -> float:
    """Volume of the ones of a mask, litres."""
    return float(np.count_nonzero(sitk.GetArrayViewFromImage(mask)) * voxel_litres(mask))


def voxel_litres(image: sitk.Image) -> float:
    return float(np.prod(image.GetSpacing())) / 1e6
