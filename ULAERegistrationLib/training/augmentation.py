"""Random variants of a training pair, made on the device that trains.

Each image is sampled once, through one map that holds everything spatial. The pair shares a flip and an affine (brains
come in all poses); the moving image gets a further small affine (the alignment before the network is not perfect) and
each image a smooth elastic deformation and an intensity change of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """How far each change goes; lengths in fractions of the half grid, so that they fit every resolution.

    Attributes:
        identical: share of pairs that are one image twice, whose answer is no motion.
        shared_*, residual_*: rotation (degrees), scale (fraction) and shift of both images, and of the moving one.
        elastic: standard deviation of the elastic displacement; control points every 1/6 of the grid.
        gamma, bias, noise: spread of the logarithm of gamma, of the bias field's logarithm, and of white noise.
    """

    identical: float = 0.05
    shared_rotation: float = 8.0
    shared_scale: float = 0.06
    shared_shift: float = 0.03
    residual_rotation: float = 2.5
    residual_scale: float = 0.03
    residual_shift: float = 0.015
    elastic: float = 0.006
    gamma: float = 0.15
    bias: float = 0.1
    noise: float = 0.01

    def __call__(self, moving: Tensor, fixed: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """A variant of one pair, `[1, 1, L, P, S]` each.

        Args:
            random: the only source of chance, on the CPU, so that a run can be resumed to the same state.
        """
        if _uniform(random, ()).item() < self.identical:
            moving = fixed
        shared = _affine(random, self.shared_rotation, self.shared_scale, self.shared_shift)
        if _uniform(random, ()).item() < 0.5:
            shared[0] *= -1  # first axis: left-right
        residual = _affine(random, self.residual_rotation, self.residual_scale, self.residual_shift)
        moving = self._sample(moving, residual @ shared, random)
        fixed = self._sample(fixed, shared, random)
        return self._intensity(moving, random), self._intensity(fixed, random)

    def _sample(self, image: Tensor, matrix: Tensor, random: torch.Generator) -> Tensor:
        # affine_grid counts axes from the last one back.
        theta = matrix[[2, 1, 0]][:, [2, 1, 0, 3]][None].to(image.device)
        grid = F.affine_grid(theta, list(image.shape), align_corners=True)
        if self.elastic > 0:
            control = torch.randn(1, 3, 7, 7, 7, generator=random) * self.elastic
            smooth = F.interpolate(control.to(image.device), size=image.shape[2:], mode="trilinear", align_corners=True)
            grid = grid + smooth.permute(0, 2, 3, 4, 1)
        return F.grid_sample(image, grid, align_corners=True)

    def _intensity(self, image: Tensor, random: torch.Generator) -> Tensor:
        gamma = torch.exp(torch.randn((), generator=random) * self.gamma).item()
        control = torch.randn(1, 1, 4, 4, 4, generator=random).to(image.device) * self.bias
        bias = F.interpolate(control, size=image.shape[2:], mode="trilinear", align_corners=True).exp()
        noise = torch.randn(image.shape, generator=random).to(image.device) * self.noise
        return ((image.clamp(0, 1) ** gamma) * bias + noise * (image > 0)).clamp(0, 1)


def _uniform(random: torch.Generator, shape: tuple[int, ...]) -> Tensor:
    return torch.rand(shape, generator=random)


def _affine(random: torch.Generator, rotation: float, scale: float, shift: float) -> Tensor:
    """A random homogeneous `[4, 4]` matrix in normalised coordinates."""
    angles = (2 * _uniform(random, (3,)) - 1) * torch.pi / 180 * rotation
    matrix = torch.eye(3)
    for axis, angle in enumerate(angles):
        i, j = [k for k in range(3) if k != axis]
        turn = torch.eye(3)
        turn[i, i] = turn[j, j] = torch.cos(angle)
        turn[i, j], turn[j, i] = -torch.sin(angle), torch.sin(angle)
        matrix = turn @ matrix
    affine = torch.eye(4)
    affine[:3, :3] = matrix * (1 + (2 * _uniform(random, (3,)) - 1) * scale)
    affine[:3, 3] = (2 * _uniform(random, (3,)) - 1) * shift
    return affine
