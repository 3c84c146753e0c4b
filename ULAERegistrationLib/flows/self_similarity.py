"""MIND-SSC, the self-similarity context: descriptors of an image that hardly depend on its contrast.

Heinrich et al., Towards realtime multimodal fusion for image-guided interventions using self-similarities, MICCAI 2013.
Each channel says how alike the patches around two of a voxel's six neighbours are; of the fifteen pairs of neighbours
the twelve count that do not lie opposite each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from .similarity import window_sum

DISTANCE = 1  # voxels between a voxel and its neighbours; at 2 mm, 2 voxels match tissues less well
PATCH = 3  # voxels, side of the patches that are compared
NOISE_LIMITS = (1e-3, 1e3)  # of the local variance, as a multiple of its mean over the image
NEIGHBOURS = ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))
PAIRS = tuple(
    (first, second)
    for first, second in combinations(range(6), 2)
    if any(a + b for a, b in zip(NEIGHBOURS[first], NEIGHBOURS[second], strict=True))
)


def self_similarity(image: Tensor) -> Tensor:
    """Compute the descriptors of an image.

    Args:
        image: `[1, 1, L, P, S]`, float32.

    Returns:
        `[1, 12, L, P, S]` in (0, 1]; the largest of a voxel's twelve values is 1.
    """
    padded = F.pad(image, [DISTANCE] * 6, mode="replicate")
    size = image.shape[2:]
    seen = [
        padded[
            :,
            :,
            DISTANCE * (1 + a) : DISTANCE * (1 + a) + size[0],
            DISTANCE * (1 + b) : DISTANCE * (1 + b) + size[1],
            DISTANCE * (1 + c) : DISTANCE * (1 + c) + size[2],
        ]
        for a, b, c in NEIGHBOURS
    ]
    distance = torch.cat([(seen[first] - seen[second]).square_() for first, second in PAIRS], 1)
    distance = window_sum(distance, PATCH).div_(PATCH**3)
    distance -= distance.amin(1, keepdim=True)
    variance = distance.mean(1, keepdim=True)
    mean = variance.mean().item()
    variance.clamp_(max(NOISE_LIMITS[0] * mean, 1e-12), max(NOISE_LIMITS[1] * mean, 1e-12))
    return distance.div_(variance).neg_().exp_()


def self_similarity_distance(first: Tensor, second: Tensor) -> float:
    """Compute the mean square difference of two images' descriptors on half their grid, 0 for equal ones.

    Args:
        first, second: `[1, 1, L, P, S]`, float32, on one grid; of any two contrasts.
    """
    descriptors = [self_similarity(F.avg_pool3d(image, 2)) for image in (first, second)]
    return (descriptors[0] - descriptors[1]).square().mean().item()


def distances_within(*brains: Tensor) -> Tensor:
    """Compute the mean square difference of the descriptors of each two of some brains, where all of them lie.

    Args:
        brains: each `[1, 1, L, P, S]`, float32, 0 outside the brain.

    Returns:
        The distances, a symmetric matrix; nan where no voxel lies in all.
    """
    shown = _shown_by_all(brains)[0, 0]
    descriptors = [self_similarity(F.avg_pool3d(brain, 2))[0, :, shown] for brain in brains]
    distances = torch.zeros(len(brains), len(brains))
    for i, j in combinations(range(len(brains)), 2):
        distances[i, j] = distances[j, i] = (descriptors[i] - descriptors[j]).square_().mean()
    return distances


def largest_distance_of_a_part(first: Tensor, second: Tensor, others: Sequence[Tensor], side: int) -> float:
    """Find the part of two brains in which they differ most.

    Args:
        first, second: as `distances_within` takes them.
        others: brains in which the voxels must lie too.
        side: of the cubes that are compared, voxels of half the grid, odd. At least half of each lies in all brains.

    Returns:
        The mean distance within that cube, as a multiple of the one over all voxels that count; 0 where no cube does.
    """
    shown = _shown_by_all((first, second, *others)).float()
    one, other = (self_similarity(F.avg_pool3d(brain, 2)) for brain in (first, second))
    distance = (one - other).square_().mean(1, keepdim=True).mul_(shown)
    counts, sums = window_sum(shown, side), window_sum(distance, side)
    parts = (sums / counts.clamp_min(1))[counts > side**3 / 2]
    if not len(parts):
        return 0.0
    return (parts.max() / (distance.sum() / shown.sum()).clamp_min(1e-9)).item()


def _shown_by_all(brains: Sequence[Tensor]) -> Tensor:
    """Return the voxels of half the grid that lie in all brains, bool `[1, 1, L, P, S]`."""
    return torch.stack([F.avg_pool3d((brain > 0).float(), 2) == 1 for brain in brains]).all(0)
