"""Training images of brain extraction: heads synthesised from label maps in random contrasts, and a few real scans.

`paint` gives a label map intensities on its own grid of 2 mm. `augment` samples it, or a real scan, on the network's
grid in a random pose, with random blur, slice thickness, shading, noise and field of view. Axes are L, P, S throughout,
and everything runs on the CPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..network.brain_net import SIZE, SPACING, normalise
from ..tensors import tensor_of
from .contrasts import draw_contrast

GRID = 2.0  # mm, voxel size of the packed heads
# Fraction of the painted heads that get what the label maps lack: a layer of membranes and their vessels between the
# outer fluid and the skull, thinner than a voxel, which in T1 scans is brighter than both.
MEMBRANES = 0.7


@dataclass(frozen=True)
class Head:
    """A training head on its own grid of 2 mm.

    Attributes:
        brain: fraction of brain in each voxel, float32 `[L, P, S]` in [0, 1].
        image: a real scan, float32 `[L, P, S]` in [0, 1]; None for a label map.
        first, second: the two most frequent labels of each voxel, as rows of the label list, int32 `[L, P, S]`; None
            for a real scan.
        share: fraction of `first` against `second`, float32 `[L, P, S]`; None for a real scan.
    """

    brain: Tensor
    image: Tensor | None = None
    first: Tensor | None = None
    second: Tensor | None = None
    share: Tensor | None = None


def paint(head: Head, labels: np.ndarray, classes: dict[str, np.ndarray], random: torch.Generator) -> Tensor:
    """Synthesise an image of a label map in a random contrast.

    Args:
        head: a head with labels.
        labels: FreeSurfer's number of every row of the label list.
        classes: as `contrasts.draw_contrast` takes them.
        random: generator; no other is used.

    Returns:
        float32 `[L, P, S]`, about in [0, 1]; air is about 0.

    Raises:
        ValueError: for a head without labels.
    """
    if head.first is None or head.second is None or head.share is None:
        raise ValueError("a head without labels cannot be painted")
    means, spreads = draw_contrast(labels, classes, random)
    shape = head.first.shape
    first, second = head.first.flatten(), head.second.flatten()
    painted = means[second].lerp_(means[first], head.share.flatten())
    painted += spreads[first] * torch.randn(len(first), generator=random)
    painted = painted.view(shape)
    if _uniform(random) < 0.6:  # muscle, fat and marrow vary in intensity within their labels
        outside = tensor_of(labels >= 500)[head.first]
        coarse = torch.randn(1, 1, *(n // 4 for n in shape), generator=random)
        uneven = F.interpolate(coarse, size=shape, mode="trilinear", align_corners=True)[0, 0]
        painted += outside * uneven * _between(random, 0.0, 0.4)
        painted.clamp_(min=0)
    if _uniform(random) < MEMBRANES:
        inside = tensor_of((labels > 0) & (labels < 500))[head.first].float()
        membranes = F.max_pool3d(inside[None, None], 3, stride=1, padding=1)[0, 0] - inside
        intensity, thickness = _between(random, 0.1, 0.7), _between(random, 0.3, 1.0)
        painted.lerp_(torch.full_like(painted, intensity), thickness * membranes)
    chance = _uniform(random)
    if chance < 0.10:  # skull-stripped by the brain mask
        painted *= head.brain > 0.5
    elif chance < 0.14:  # skull-stripped to the labels of brain and fluid
        outside = tensor_of((labels >= 500) | (labels == 0))
        painted *= ~outside[head.first]
    elif chance < 0.28:
        painted = _defaced(painted, head.brain, random)
    return painted


def augment(image: Tensor, brain: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sample an image on the network's grid in a random pose, with random properties of the scan.

    Args:
        image: `[L, P, S]` on a grid of 2 mm.
        brain: fraction of brain, the same shape.
        random: generator; no other is used.

    Returns:
        The network's input in [0, 1], and the fraction of brain, each `[1, 1, L, P, S]` with 96 voxels a side.
    """
    background = image[0, 0, 0].clone()
    grid = _pose(brain, random)
    both = torch.stack([image - background, brain])[None]
    sampled = F.grid_sample(both, grid, align_corners=True)
    picture, target = sampled[:, :1] + background, sampled[:, 1:].clamp(0, 1)
    picture = _blurred(picture, random)
    picture = _thick_slices(picture, random)
    picture = picture * _bias(random, _between(random, 0.0, 0.45))
    noise = torch.randn(picture.shape, generator=random) * _between(random, 0.0, 0.25) ** 2
    if _uniform(random) < 0.4:  # air, or what was removed, has no noise
        noise *= picture > 0.02
    picture = (picture + noise).abs()
    seen = _field_of_view(target, random)
    if seen is not None:
        picture, target = torch.where(seen, picture, picture.new_zeros(())), target * seen
    picture = normalise(picture)
    return picture ** math.exp(_normal(random) * 0.3), target


def without_brain(image: Tensor, brain: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Make an image without brain: noise of random coarseness, or the part of a head on one side of its brain.

    Args:
        image, brain, random: as for `augment`.

    Returns:
        As `augment`; the fraction of brain is 0.
    """
    nothing = torch.zeros(1, 1, SIZE, SIZE, SIZE)
    if _uniform(random) < 0.5:
        side = int(_between(random, 3, SIZE))
        noise = torch.randn(1, 1, side, side, side, generator=random)
        noise = F.interpolate(noise, size=[SIZE] * 3, mode="trilinear", align_corners=True)
        noise = noise.abs() if _uniform(random) < 0.5 else noise
        edge = int(_between(random, 0, SIZE // 3))
        return normalise(F.pad(noise[..., edge : SIZE - edge, edge : SIZE - edge, :], [0, 0, *[edge] * 4])), nothing
    picture, target = augment(image, brain, random)
    axis = int(_between(random, 0, 3))
    shown = torch.ones(SIZE)
    occupied = target[0, 0].amax([k for k in range(3) if k != axis]).nonzero().flatten()
    if len(occupied):
        shown[int(occupied[0]) :] = 0
    picture = picture * shown.view([-1 if k == axis else 1 for k in range(3)])
    return normalise(picture) if picture.any() else normalise(torch.rand(nothing.shape, generator=random)), nothing


def _pose(brain: Tensor, random: torch.Generator) -> Tensor:
    """Draw a pose: the place in the head of every voxel of the network's grid.

    Returns:
        Normalised coordinates `[1, L, P, S, 3]` in torch's axis order.
    """
    kind = _uniform(random)
    angles = [_normal(random) * 9.0 for _ in range(3)]
    if kind < 0.08:  # about multiples of 90 degrees
        angles = [a / 2 + 90.0 * int(_between(random, 0, 4)) for a in angles]
    elif kind < 0.20:
        angles = [_between(random, -180, 180) for _ in range(3)]
    matrix = torch.eye(3)
    for axis, angle in enumerate(angles):
        i, j = [k for k in range(3) if k != axis]
        turn = torch.eye(3)
        turn[i, i] = turn[j, j] = math.cos(math.radians(angle))
        turn[i, j], turn[j, i] = -math.sin(math.radians(angle)), math.sin(math.radians(angle))
        matrix = turn @ matrix
    size = math.exp(_normal(random) * 0.10 + (-0.2 if _uniform(random) < 0.1 else 0.0))
    scales = torch.tensor([size * math.exp(_normal(random) * 0.05) for _ in range(3)])
    matrix = torch.diag(1 / scales) @ matrix
    if _uniform(random) < 0.5:
        matrix[0] *= -1
    # Interpolation from a coarse grid reproduces an affine map exactly, and makes the random displacements smooth.
    coarse = 8
    half = SPACING * (SIZE - 1) / 2
    line = torch.linspace(-half, half, coarse)
    points = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), dim=-1)
    shift = torch.tensor([_normal(random) * 14.0 for _ in range(3)])
    points = (points + shift) @ matrix.t()
    points += torch.randn(points.shape, generator=random) * _between(random, 0.0, 4.5)
    shape = torch.tensor(brain.shape)
    points = points + _centre(brain) * GRID
    points = points / GRID / (shape - 1) * 2 - 1
    fine = F.interpolate(points.permute(3, 0, 1, 2)[None], size=[SIZE] * 3, mode="trilinear", align_corners=True)
    return fine.permute(0, 2, 3, 4, 1).flip(-1)


def _centre(brain: Tensor) -> Tensor:
    """Compute the centre of mass in voxels."""
    sums = [brain.sum([k for k in range(3) if k != axis]) for axis in range(3)]
    return torch.stack([(s * torch.arange(len(s))).sum() / s.sum() for s in sums])


def _defaced(painted: Tensor, brain: Tensor, random: torch.Generator) -> Tensor:
    """Set voxels outside the brain to 0 in a region at the front and bottom of the head, as in anonymised scans."""
    inside = brain.amax((0, 2)).nonzero()
    front = int(inside[0])
    levels = brain.amax((0, 1)).nonzero()
    low, high = int(levels[0]), int(levels[-1])
    depth = front + int(_between(random, 0.0, 0.35) * (int(inside[-1]) - front))
    height = low + int(_between(random, 0.15, 0.6) * (high - low))
    painted = painted.clone()
    painted[:, :depth, :height] *= brain[:, :depth, :height] > 0
    return painted


def _blurred(picture: Tensor, random: torch.Generator) -> Tensor:
    share = _between(random, 0.0, 1.0)
    return picture.lerp(F.avg_pool3d(picture, 3, stride=1, padding=1), share) if share > 0.3 else picture


def _thick_slices(picture: Tensor, random: torch.Generator) -> Tensor:
    """Resample to slices of up to 8 mm along one axis, in most cases axial ones, and back."""
    if _uniform(random) > 0.45:
        return picture
    axis = 2 if _uniform(random) < 0.6 else int(_between(random, 0, 3))
    thickness = _between(random, 2.6, 8.0)
    if thickness > 4.5:
        kernel = [3 if k == axis else 1 for k in range(3)]
        picture = F.avg_pool3d(picture, kernel, stride=1, padding=[n // 2 for n in kernel], count_include_pad=False)
    size = [round(SIZE * SPACING / thickness) if k == axis else SIZE for k in range(3)]
    thick = F.interpolate(picture, size=size, mode="trilinear", align_corners=False)
    return F.interpolate(thick, size=[SIZE] * 3, mode="trilinear", align_corners=False)


def _bias(random: torch.Generator, strength: float) -> Tensor:
    control = torch.randn(1, 1, 4, 4, 4, generator=random) * strength
    return F.interpolate(control.exp(), size=[SIZE] * 3, mode="trilinear", align_corners=True)


def _field_of_view(target: Tensor, random: torch.Generator) -> Tensor | None:
    """Draw the field of view, bool `[1, 1, L, P, S]`, or None for the whole grid.

    It is bounded by planes, each of which cuts off at most about 45 % of the brain's extent.
    """
    chance = _uniform(random)
    if chance < 0.3 or target.max() < 0.5:
        return None
    line = torch.linspace(-1, 1, SIZE)
    seen = torch.ones(1, 1, SIZE, SIZE, SIZE, dtype=torch.bool)
    faces = [(axis, side) for axis in range(3) for side in (-1, 1) if _uniform(random) < 0.35]
    depths = [_between(random, -0.35, 0.45 if _uniform(random) < 0.6 else 0.05) for _ in faces]
    if chance < 0.45:  # the top is missing, which changes the shape of the visible brain most
        faces, depths = [*faces, (2, 1)], [*depths, _between(random, 0.05, 0.45)]
    if chance > 0.92:  # a slab, cut at both ends of one axis
        axis = int(_between(random, 0, 3))
        faces, depths = [(axis, -1), (axis, 1)], [_between(random, 0.05, 0.45) for _ in range(2)]
    for (axis, side), depth in zip(faces, depths, strict=True):
        extent = target[0, 0].amax([k for k in range(3) if k != axis]) > 0.5
        indices = extent.nonzero().flatten()
        low, high = int(indices[0]), int(indices[-1])
        place = low + depth * (high - low) if side < 0 else high - depth * (high - low)
        normal = [_normal(random) * 0.08 for _ in range(3)]
        normal[axis] = 1.0
        plane = sum(n * line.view([-1 if k == axis_ else 1 for k in range(3)]) for axis_, n in enumerate(normal))
        level = 2 * place / (SIZE - 1) - 1
        seen &= plane > level if side < 0 else plane < level
    return seen


def _uniform(random: torch.Generator) -> float:
    return torch.rand((), generator=random).item()


def _between(random: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * _uniform(random)


def _normal(random: torch.Generator) -> float:
    return torch.randn((), generator=random).item()
