"""The canonical frame as an image: its grid, the template that lies in it, and scans sampled on it.

The world is LPS millimetres.
"""

from __future__ import annotations

import gzip
import math
import struct
from functools import cache

import numpy as np
import SimpleITK as sitk

from ..shipped import MODELS
from .brain import brain_mask, floor_of, looks_unstripped
from .frame import CANONICAL_ORIGIN, CANONICAL_SIZE

TEMPLATE = MODELS / "template.nii.gz"
# The 99.9th percentile of a brain's intensities, measured from nothing, as a multiple of the 98th: up to 1.3 in scans
# of T1, T2 and FLAIR, up to 2.3 after a contrast agent.
BRIGHTEST = 1.4
# Of the template's brightness: white matter is brighter, and cortex, mixed with fluid, lies between the other two.
WHITE, GREY = 0.8, (0.35, 0.6)
INSIDE = 2  # of every second voxel, from the edge of the template's brain, where the tools for stripping differ


def canonical_grid() -> sitk.Image:
    """Return the canonical grid as an empty uint8 image: 160 x 192 x 160 voxels of 1 mm, axes to L, P, S."""
    grid = sitk.Image(CANONICAL_SIZE, sitk.sitkUInt8)
    grid.SetOrigin(CANONICAL_ORIGIN)
    return grid


@cache
def template() -> sitk.Image:
    """Return the average training brain on the canonical grid, uint8."""
    return _shipped(TEMPLATE.name)


@cache
def template_mask() -> sitk.Image:
    """Return the mask of where most training brains have brain, on the canonical grid, uint8 of zeros and ones."""
    return _shipped("template_mask.nii.gz")


@cache
def template_values() -> np.ndarray:
    """Return the template, float32 [L, P, S] in [0, 255]; it must not be changed."""
    return sitk.GetArrayViewFromImage(template()).transpose(2, 1, 0).astype(np.float32)


@cache
def template_average() -> np.ndarray:
    """Return the template, float32 [L, P, S], about in [0, 1]; it must not be changed."""
    values = template_values()
    return values / np.percentile(values[values > 0], 99.9)


@cache
def template_tissues() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the inside of the template's brain, its white matter and its cortex: bool [L, P, S], each second voxel."""
    brain = sitk.GetImageFromArray(template_brain()[::2, ::2, ::2].astype(np.uint8))
    inside = sitk.GetArrayFromImage(sitk.BinaryErode(brain, [INSIDE] * 3)) > 0
    average = template_average()[::2, ::2, ::2]
    low, high = GREY
    return inside, inside & (average > WHITE), inside & (average > low) & (average < high)


def template_brain() -> np.ndarray:
    """Return the voxels of `template_mask`, bool [L, P, S]."""
    return sitk.GetArrayViewFromImage(template_mask()).transpose(2, 1, 0) > 0


def _shipped(name: str) -> sitk.Image:
    """Read a uint8 NIfTI file of `models/` on the canonical grid.

    It is read without ITK, which on Windows cannot open a path with non-ASCII letters, such as those of a user's name.
    """
    data = gzip.decompress((MODELS / name).read_bytes())
    start = int(struct.unpack_from("<f", data, 108)[0])  # vox_offset of the NIfTI-1 header
    values = np.frombuffer(data, np.uint8, math.prod(CANONICAL_SIZE), start).reshape(CANONICAL_SIZE[::-1])
    image = sitk.GetImageFromArray(values)
    image.CopyInformation(canonical_grid())
    return image


def mask_on_canonical(mask: sitk.Image, to_canonical: sitk.AffineTransform) -> np.ndarray:
    """Resample a mask to the canonical grid, bool [L, P, S].

    Args:
        mask: zeros and ones.
        to_canonical: from its world to the canonical world (LPS mm).
    """
    there = sitk.Resample(mask, canonical_grid(), to_canonical.GetInverse(), sitk.sitkNearestNeighbor)
    return sitk.GetArrayViewFromImage(there).transpose(2, 1, 0) > 0


def sample_on_canonical(
    image: sitk.Image, to_canonical: sitk.AffineTransform, mask: sitk.Image | None = None
) -> np.ndarray:
    """Sample an image once on the canonical grid, normalised as the network's training images were.

    Voxels of half a millimetre or less are averaged to at most one millimetre first.

    The intensity that counts as nothing (`floor_of`) becomes 0 and the brain's 99.9th percentile 1; what lies beyond is
    clipped, and voxels outside the brain become 0. A few voxels far brighter than all tissue, as at a clip or in a
    fresh bleeding, are clipped too, so that they leave the tissue its contrast.

    Args:
        image: the original scan.
        to_canonical: from its world to the canonical world (LPS mm).
        mask: its brain, on its grid; None takes all that is not background, and of a whole head all within the
            template's mask.

    Returns:
        float32 [L, P, S] in [0, 1]; zeros where the brain lies outside, or shows nothing.
    """
    if mask is None and looks_unstripped(image):
        brain = template_brain()
    else:
        mask = brain_mask(image) if mask is None else mask
        brain = mask_on_canonical(mask, to_canonical)
    low = floor_of(image, mask)
    factors = [int(max(1 // step, 1)) for step in image.GetSpacing()]
    if max(factors) > 1:  # or most of the scan would not be looked at, and its noise would not be averaged
        image = sitk.BinShrink(sitk.Cast(image, sitk.sitkFloat32), factors)
    pull = to_canonical.GetInverse()
    sampled = sitk.Resample(image, canonical_grid(), pull, sitk.sitkLinear, low, sitk.sitkFloat32)
    values = sitk.GetArrayFromImage(sampled).transpose(2, 1, 0)
    if not brain.any():
        return np.zeros(CANONICAL_SIZE, np.float32)
    bright, highest = np.percentile(values[brain], (98, 99.9))
    high = float(min(highest, low + BRIGHTEST * (bright - low)))
    if high <= low:
        return np.zeros(CANONICAL_SIZE, np.float32)
    values = np.clip((values - low) / (high - low), 0, 1) * brain
    return np.ascontiguousarray(values, dtype=np.float32)
