"""Compare a brain in the canonical frame with the template: is it a whole T1 brain, in its place, and not mirrored?

Everything is compared in blocks of BLOCK voxels, in which people, voxel sizes and noise differ less.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import SimpleITK as sitk

from .canonical import template, template_mask
from .frame import CANONICAL_SIZE

BLOCK = 4  # voxels (mm)
BRAIN = 0.1  # of the 99th percentile: brighter blocks are brain


@dataclass(frozen=True)
class Likeness:
    """How much a brain is like the template.

    Attributes:
        correlation: of the intensities, over both brains, -1 to 1.
        overlap: Dice coefficient of the two brains, 0 to 1.
        handedness: correlation of the differences between the left and the right half, -1 to 1. Most brains are longer
            on the right in front and on the left behind, and the template shows it; of a mirrored brain it is negative.
    """

    correlation: float
    overlap: float
    handedness: float


def likeness(image: np.ndarray) -> Likeness:
    """Compare a brain with the template.

    Args:
        image: on the canonical grid, float32 [L, P, S], 0 outside the brain.

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
        handedness=_correlation(values - values[::-1], average - average[::-1], either | either[::-1]),
    )


@cache
def _template() -> tuple[np.ndarray, np.ndarray]:
    """Return the blocks of the template, and which of them are brain."""
    average, mask = (sitk.GetArrayViewFromImage(image).transpose(2, 1, 0) for image in (template(), template_mask()))
    return block_means(average), block_means(mask) > 0.5


def block_means(values: np.ndarray) -> np.ndarray:
    """Compute the mean of each block, float32."""
    parts = [part for size in values.shape for part in (size // BLOCK, BLOCK)]
    return values.astype(np.float32, copy=False).reshape(parts).mean((1, 3, 5))


def _correlation(first: np.ndarray, second: np.ndarray, where: np.ndarray) -> float:
    first, second = first[where], second[where]
    if first.size == 0 or first.min() == first.max() or second.min() == second.max():
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])
