"""Synthesise T1-like brains with random contrast from label maps.

The label maps show heads in FreeSurfer's numbers. `tissues` keeps the parts that a skull-stripped scan shows and aligns
them to the canonical frame (with SimpleITK, once, when the data is packed). `synthesise` makes an image of them (with
torch, at every step).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    import SimpleITK as sitk


# Mean intensity in T1 (fraction of the 99.9th percentile) of each tissue, measured in the labelled training scan
# oasis-1101 where its protocol has the tissue, and the FreeSurfer labels of the tissue. Tissue 0 is everything else.
TISSUES: tuple[tuple[float, tuple[int, ...]], ...] = (
    (0.85, (2, 41, 77, 85, 251, 252, 253, 254, 255)),  # white matter
    (0.54, (3, 42)),  # cortex
    (0.28, (4, 5, 14, 15, 43, 44, 72)),  # ventricles
    (0.15, (24,)),  # fluid around the brain
    (0.80, (7, 46)),  # cerebellar white matter
    (0.56, (8, 47)),  # cerebellar cortex
    (0.70, (10, 49, 28, 60)),  # thalamus and below
    (0.59, (11, 50, 26, 58, 136, 137, 163, 164)),  # caudate, accumbens
    (0.65, (12, 51)),  # putamen
    (0.77, (13, 52)),  # pallidum
    (0.55, (17, 18, 53, 54)),  # hippocampus, amygdala
    (0.73, (16,)),  # brain stem
    (0.40, (25, 30, 57, 62)),  # lesions, vessels
)
MEAN_SPREAD = 0.04  # standard deviation of a tissue's mean from image to image
TEXTURE = 0.04  # standard deviation inside a tissue, before blurring
FLUID_KEPT = 0.5  # fraction of the images that show the fluid around the brain, as skull stripping may keep it


def tissues(head: sitk.Image) -> np.ndarray:
    """Convert a head's label map to tissue numbers on the canonical grid.

    Args:
        head: FreeSurfer's numbers, on any grid.

    Returns:
        uint8 `[L, P, S]`: 0 for all that a skull-stripped scan does not show, else the position in `TISSUES`, counted
        from 1.
    """
    import SimpleITK as sitk

    from ..geometry.alignment import align
    from ..geometry.canonical import canonical_grid

    labels = sitk.GetArrayFromImage(head).astype(np.int32)
    numbers = np.zeros(int(labels.max()) + 1, np.uint8)
    for tissue, (_, members) in enumerate(TISSUES, start=1):
        numbers[[label for label in members if label < len(numbers)]] = tissue
    mapped = sitk.GetImageFromArray(numbers[labels])
    mapped.CopyInformation(head)
    # The alignment registers a simple image of the brain to the template; the outer fluid would make it too large.
    means = np.array([0.0, *(mean for mean, _ in TISSUES)], np.float32)
    means[_tissue_of(24)] = 0
    picture = sitk.GetImageFromArray(means[numbers[labels]])
    picture.CopyInformation(head)
    to_canonical = align(picture, picture, "none").fixed_to_canonical
    placed = sitk.Resample(mapped, canonical_grid(), to_canonical.GetInverse(), sitk.sitkNearestNeighbor)
    return sitk.GetArrayFromImage(placed).transpose(2, 1, 0)


def synthesise(tissue: Tensor, random: torch.Generator) -> Tensor:
    """Synthesise an image of a tissue map, with a random mean and texture for every tissue, slightly blurred.

    Args:
        tissue: uint8 `[L, P, S]`, as `tissues` returns it.
        random: generator on the CPU; no other is used.

    Returns:
        float32 `[1, 1, L, P, S]` in [0, 1].
    """
    means = torch.tensor([0.0, *(mean for mean, _ in TISSUES)])
    means[1:] += MEAN_SPREAD * torch.randn(len(TISSUES), generator=random)
    if torch.rand((), generator=random) > FLUID_KEPT:
        means[_tissue_of(24)] = 0
    # Noise on a grid of half the size, because a scanner's resolution removes finer texture.
    coarse = torch.randn(1, 1, *(n // 2 for n in tissue.shape), generator=random).to(tissue.device)
    texture = TEXTURE * F.interpolate(coarse, size=tissue.shape, mode="nearest")
    painted = means.to(tissue.device)[tissue.long()][None, None]
    painted = torch.where(painted > 0, painted + texture, 0.0)
    return F.avg_pool3d(painted, 3, stride=1, padding=1).lerp_(painted, 0.5).clamp_(0, 1)


def _tissue_of(label: int) -> int:
    return next(number for number, (_, members) in enumerate(TISSUES, start=1) if label in members)
