"""Compare a brain in the canonical frame with the template: is it a whole T1 brain, in its place, and not mirrored?

Everything is compared in blocks of BLOCK voxels, in which people, voxel sizes and noise differ less.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, reduce

import numpy as np
import SimpleITK as sitk

from ..shipped import MODELS
from .affine import to_transform
from .affine_search import CorrelationSearch
from .canonical import template, template_mask
from .frame import CANONICAL_SIZE

BLOCK = 4  # voxels (mm)
BRAIN = 0.1  # of the 99th percentile: brighter blocks are brain
PASSES = 12  # of the search that aligns a brain with the symmetric template


@dataclass(frozen=True)
class Likeness:
    """How much a brain is like the template.

    Attributes:
        correlation: of the intensities, over both brains, -1 to 1.
        overlap: Dice coefficient of the two brains, 0 to 1.
        handedness: correlation of the differences between the left and the right half with those that tell brains from
            their mirror images (`training.handedness`), -1 to 1. Most brains reach further on the right in front and on
            the left behind. A mirrored brain has the same value with the other sign.
        voxel_mm: cube root of the volume of the scan's voxels, mm. The coarser a scan, the more any brain correlates
            with the template, which is smooth.
    """

    correlation: float
    overlap: float
    handedness: float
    voxel_mm: float = 1.0


def likeness(image: np.ndarray, voxel_mm: float = 1.0) -> Likeness:
    """Compare a brain with the template.

    Args:
        image: on the canonical grid, float32 [L, P, S], 0 outside the brain.
        voxel_mm: cube root of the volume of the scan's own voxels, mm.

    Returns:
        The measures; a correlation with an image of one value counts as 0.

    Raises:
        ValueError: for an image on another grid.
    """
    if image.shape != CANONICAL_SIZE:
        raise ValueError(f"The image has {image.shape} voxels instead of {CANONICAL_SIZE}.")
    average, its_brain = _template()
    values = block_means(image)
    brain = values > BRAIN * np.percentile(values, 99)
    either = brain | its_brain
    return Likeness(
        correlation=_correlation(values, average, either),
        overlap=float(2 * (brain & its_brain).sum() / max(brain.sum() + its_brain.sum(), 1)),
        handedness=_handedness(values),
        voxel_mm=voxel_mm,
    )


def mean_voxel_mm(scan: sitk.Image) -> float:
    """Compute the cube root of the volume of a scan's voxels, mm."""
    return float(np.cbrt(np.prod(scan.GetSpacing())))


def _handedness(values: np.ndarray) -> float:
    """Compute the handedness of a brain from its blocks."""
    differences, inside = half_differences(values)
    return _correlation(differences, _handed_differences(), inside)


def half_differences(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Subtract from a brain's blocks those of the other half.

    The brain is first aligned with the mean of the template and its mirror image. An alignment with the template itself
    would shear a mirrored brain until its halves differ less.

    Args:
        values: of the blocks of the canonical grid, [L, P, S].

    Returns:
        The differences, [L, P, S], whose halves are negatives of each other, and which blocks are brain in the template
        or its mirror image.
    """
    average, its_brain = _template()
    either = its_brain | its_brain[::-1]
    near = sitk.BinaryDilate(sitk.GetImageFromArray(either.astype(np.uint8).transpose(2, 1, 0)), (2, 2, 2))
    even, image = _image((average + average[::-1]) / 2), _image(values)
    search = CorrelationSearch(even, image, sitk.GetArrayFromImage(near) > 0)
    found, _ = search.maximise(np.eye(4), "affine", PASSES)
    aligned = sitk.GetArrayFromImage(sitk.Resample(image, even, to_transform(found))).transpose(2, 1, 0)
    return aligned - aligned[::-1], either


def _image(blocks: np.ndarray) -> sitk.Image:
    """Convert blocks to an image in mm, with the origin in its middle."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(blocks.transpose(2, 1, 0), dtype=np.float32))
    image.SetSpacing([float(BLOCK)] * 3)
    image.SetOrigin([-(size - 1) / 2 * BLOCK for size in image.GetSize()])
    return image


@cache
def _template() -> tuple[np.ndarray, np.ndarray]:
    """Return the blocks of the template, and which of them are brain."""
    average, mask = (sitk.GetArrayViewFromImage(image).transpose(2, 1, 0) for image in (template(), template_mask()))
    return block_means(average), block_means(mask) > 0.5


@cache
def _handed_differences() -> np.ndarray:
    """Return the differences between the halves by which a brain is told from its mirror image, [L, P, S]."""
    right = np.load(MODELS / "handedness.npy").astype(np.float32)
    return np.concatenate([right, -right[::-1]])


def block_means(values: np.ndarray) -> np.ndarray:
    """Compute the mean of each block, float32, of an array whose sides are multiples of `BLOCK`."""
    if any(size % BLOCK for size in values.shape):
        raise ValueError(f"An array of {values.shape} is not made of blocks of {BLOCK} voxels.")
    values = values.astype(np.float32, copy=False)
    for axis in range(values.ndim):
        # Whole planes are added, because numpy is slow at sums along short axes.
        planes = np.moveaxis(values, axis, 0)
        values = np.moveaxis(reduce(np.add, [planes[first::BLOCK] for first in range(BLOCK)]), 0, axis)
    return values / np.float32(BLOCK**values.ndim)


def _correlation(first: np.ndarray, second: np.ndarray, where: np.ndarray) -> float:
    first, second = first[where], second[where]
    if first.size == 0 or first.min() == first.max() or second.min() == second.max():
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])
