"""Random contrasts: for heads painted from label maps, and for T1 images that are to look like another contrast.

`draw_contrast` draws the mean and the standard deviation of every label's intensity, `recolour` maps the intensities of
a stripped T1 image by a random curve.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..tensors import tensor_of

# FreeSurfer labels by tissue.
WHITE = (2, 7, 16, 41, 46, 77, 85, 251, 252, 253, 254, 255)
GREY = (3, 8, 10, 11, 12, 17, 18, 26, 28, 42, 47, 49, 50, 51, 53, 54, 58, 60, 136, 137, 163, 164)
PALLIDUM = (13, 52)
FLUID = (4, 5, 14, 15, 24, 30, 43, 44, 62, 72)
LESION = (25, 57)

# Mean intensities of white matter, grey matter, fluid and lesions in common contrasts of clinical scans, as fractions
# of full scale; they are drawn with a standard deviation of .08.
CONTRASTS = {
    "T2": (0.35, 0.50, 0.90, 0.60),
    "T2 of a long echo": (0.20, 0.27, 0.95, 0.50),
    "FLAIR": (0.50, 0.65, 0.15, 0.90),
    "PD": (0.60, 0.75, 0.70, 0.80),
    "T1": (0.80, 0.55, 0.20, 0.50),
}

# Intensity of fluid, grey matter and white matter in a stripped T1 image, as a fraction of its 99.9th percentile.
T1_LEVELS = (0.20, 0.54, 0.85)
# Largest standard deviation of each tissue's intensity over the brain, in the same order, of full scale: what T1 shows
# as one intensity, another contrast shows as several, most of all where fluid flows and in vessels.
VARIATION = (0.35, 0.12, 0.08)
PATCHES = 13  # control points of that variation along each axis: patches of about 13 mm
LEAST_DIFFERENCE = 0.4  # of white from grey matter, of that of `CONTRASTS`
EDGE = 0.08  # T1 intensity below which a voxel fades to background, which is 0 in every contrast


def recolour(image: Tensor, random: torch.Generator) -> Tensor:
    """Map the intensities of a stripped T1 image by a random curve, so that it looks like another contrast.

    T1 orders fluid, grey and white matter by intensity, so a curve through three points gives each its intensity in
    T2, FLAIR, PD or T1 (four of five images), or any other. The curve varies from place to place, as tissues do that
    look alike in T1. Half of the images get thick slices.

    Args:
        image: `[1, 1, L, P, S]` in [0, 1], background 0.
        random: generator on the CPU; no other is used.

    Returns:
        The same shape, in [0, 1].
    """
    values = torch.rand(3, generator=random)
    if torch.rand((), generator=random) < 0.8:
        names = list(CONTRASTS)
        white, grey, fluid, _ = CONTRASTS[names[int(torch.randint(len(names), (), generator=random))]]
        nearer = 1 - (1 - LEAST_DIFFERENCE) * torch.rand((), generator=random).item()
        values = torch.tensor([fluid, grey, grey + nearer * (white - grey)]) + 0.04 * torch.randn(3, generator=random)
    levels = torch.tensor(T1_LEVELS) + 0.04 * torch.randn(3, generator=random)
    # The brightest tissue lies near the 99.9th percentile, by which images are divided.
    brightest = 0.8 + 0.2 * torch.rand((), generator=random)
    values = values.clamp_min(0.05)
    fields = _varied(values / values.max() * brightest, image, random)
    low, middle, high = levels.tolist()
    # The curve is flat below the fluid and above white matter.
    mapped = torch.lerp(fields[:, 0:1], fields[:, 1:2], ((image - low) / (middle - low)).clamp(0, 1))
    mapped = mapped.lerp(fields[:, 2:3], ((image - middle) / (high - middle)).clamp(0, 1))
    mapped = mapped * (image / EDGE).clamp(max=1)
    return _thick_slices(mapped, random) if torch.rand((), generator=random) < 0.5 else mapped


def _varied(values: Tensor, image: Tensor, random: torch.Generator) -> Tensor:
    """Let the intensities of the tissues vary smoothly over an image, each by itself: `[1, 3, L, P, S]`."""
    strength = torch.rand((), generator=random) * torch.tensor(VARIATION)
    control = torch.randn(1, 3, PATCHES, PATCHES, PATCHES, generator=random) * strength.view(1, 3, 1, 1, 1)
    control = (control + values.view(1, 3, 1, 1, 1)).clamp(0.05, 1).to(image.device)
    return F.interpolate(control, size=image.shape[2:], mode="trilinear", align_corners=True)


def _thick_slices(image: Tensor, random: torch.Generator) -> Tensor:
    """Average over slices of 2 to 5 voxels along one axis, in most cases axial ones, and interpolate between them."""
    thickness = int(torch.randint(2, 6, (), generator=random))
    axis = 2 if torch.rand((), generator=random) < 0.6 else int(torch.randint(3, (), generator=random))
    return mean_slices(image, thickness, axis)


def mean_slices(image: Tensor, thickness: int, axis: int) -> Tensor:
    """Average an image `[1, C, L, P, S]` over slices of so many voxels along an axis, and interpolate between them."""
    kernel = [thickness if k == axis else 1 for k in range(3)]
    size = image.shape[2 + axis]
    # Up to a whole number of slices, so that each is interpolated where it was averaged.
    padding = [0] * 6
    padding[2 * (2 - axis) + 1] = -size % thickness
    whole = F.pad(image, padding, mode="replicate")
    between = F.interpolate(F.avg_pool3d(whole, kernel), size=whole.shape[2:], mode="trilinear", align_corners=False)
    return between.narrow(2 + axis, 0, size)


def draw_contrast(
    labels: np.ndarray, classes: dict[str, np.ndarray], random: torch.Generator, kind: str | None = None
) -> tuple[Tensor, Tensor]:
    """Draw the mean and the standard deviation of every label's intensity.

    35 % of the contrasts ("t1") follow SynthSeg's T1 priors; 35 % ("scan") have tissues as in T2, FLAIR, PD or T1 and
    random intensities elsewhere; 30 % ("random") are random throughout. Air is always dark.

    Args:
        labels: FreeSurfer's number of every row of the label list.
        classes: `random` and `t1`: the class of every row; `t1_means`, `t1_stds`: mean and standard deviation
            `[2, classes]`, on a scale to 255, of the mean and of the standard deviation of each class of `t1`.
        random: generator; no other is used.
        kind: "t1", "scan" or "random"; None draws one.

    Returns:
        Mean and standard deviation of every row, float32 in about [0, 1].
    """
    chance = torch.rand((), generator=random).item()
    kind = kind or ("t1" if chance < 0.35 else "scan" if chance < 0.70 else "random")
    if kind == "t1":
        means, spreads = _like_t1(classes, random)
    else:
        means, spreads = _at_random(classes, random)
        if kind == "scan":
            means = _like_a_scan(means, labels, random)
    air = 0.03 * torch.rand((), generator=random)
    means[labels == 0] = air
    spreads[labels == 0] = air / 2
    return means.clamp_(min=0), spreads


def _like_t1(classes: dict[str, np.ndarray], random: torch.Generator) -> tuple[Tensor, Tensor]:
    rows = tensor_of(classes["t1"])
    values = []
    for prior in (classes["t1_means"], classes["t1_stds"]):
        mean, spread = tensor_of(prior).float() / 255
        values.append((mean + 1.5 * spread * torch.randn(len(mean), generator=random))[rows])
    return values[0], values[1].clamp(0.005, 0.25) * torch.rand((), generator=random)


def _at_random(classes: dict[str, np.ndarray], random: torch.Generator) -> tuple[Tensor, Tensor]:
    rows = tensor_of(classes["random"])
    number = int(rows.max()) + 1
    means = torch.rand(number, generator=random)
    spreads = 0.10 * torch.rand(number, generator=random)
    return means[rows], spreads[rows]


def _like_a_scan(means: Tensor, labels: np.ndarray, random: torch.Generator) -> Tensor:
    """Replace the means of the brain's tissues by those of a common contrast, drawn at random."""
    names = list(CONTRASTS)
    white, grey, fluid, lesion = CONTRASTS[names[int(torch.randint(len(names), (), generator=random))]]
    level = {**dict.fromkeys(WHITE, white), **dict.fromkeys(GREY, grey), **dict.fromkeys(FLUID, fluid)}
    level |= {**dict.fromkeys(PALLIDUM, (white + grey) / 2), **dict.fromkeys(LESION, lesion)}
    together = {value: 0.08 * torch.randn((), generator=random).item() for value in sorted(set(level.values()))}
    own = 0.03 * torch.randn(len(labels), generator=random)
    for row, label in enumerate(labels.tolist()):
        if label in level:
            means[row] = level[label] + together[level[label]] + own[row]
    return means
