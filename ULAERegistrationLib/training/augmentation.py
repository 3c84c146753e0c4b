"""Random training pairs, made on the device that trains.

Each image is sampled once, through one map that holds everything spatial: a flip and an affine shared by the pair
(brains come in all poses), after a smooth deformation of the image's own. The moving image's deformation holds a small
affine too, as the alignment before the network is not perfect. A share of the pairs is one brain twice, deformed in the
fixed image alone: its true flow is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Pair:
    """What one step trains on.

    Attributes:
        fixed, moving: `[1, 1, L, P, S]` in [0, 1].
        flow: the flow from fixed to moving where it is known, `[1, 3, L, P, S]` in voxels, else None.
        fixed_labels, moving_labels: label maps of both where they have comparable ones, `[1, 1, L, P, S]`, else None.
    """

    fixed: Tensor
    moving: Tensor
    flow: Tensor | None = None
    fixed_labels: Tensor | None = None
    moving_labels: Tensor | None = None


@dataclass(frozen=True)
class Augmentation:
    """How far each change goes; lengths in fractions of half the grid, so that they fit every resolution.

    Attributes:
        identical: share of pairs that are one image twice, whose answer is no motion.
        known: share of pairs that are one image and its deformation, whose answer is that deformation.
        synthetic: share of brains painted from label maps, where the packed data holds some.
        shared_*, residual_*: rotation (degrees), scale (fraction) and shift of both images, and of the moving one.
        elastic: standard deviation of the elastic displacement; control points every 1/6 of the grid.
        gamma, bias, noise: spread of the logarithm of gamma, of the bias field's logarithm, and of white noise.
        blur: the most of a mean over 3 voxels a side that is mixed into an image.
    """

    identical: float = 0.05
    known: float = 0.05
    synthetic: float = 0.05
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
    blur: float = 0.3

    def __call__(
        self, *, fixed: Tensor, moving: Tensor, random: torch.Generator, labels: tuple[Tensor, Tensor] | None = None
    ) -> Pair:
        """A variant of a pair, or of one image and itself.

        Args:
            fixed, moving: `[1, 1, L, P, S]` in [0, 1]; the same object twice for a pair whose flow shall be known.
            random: the only source of chance, on the CPU, so that a run can be resumed to the same state.
            labels: label maps of fixed and moving, `[1, 1, L, P, S]`, to be moved with them.
        """
        shared = _affine(random, self.shared_rotation, self.shared_scale, self.shared_shift)
        if torch.rand((), generator=random) < 0.5:
            shared[0] *= -1  # first axis: left-right
        size, device = moving.shape[2:], moving.device
        still = torch.zeros(1, *size, 3, device=device)
        one_brain = moving is fixed
        residual = self._residual(size, random).to(device)
        # One brain: its true flow is what samples the fixed image, so the moving one keeps still.
        if one_brain:
            own_fixed, own_moving = still if self._is_identical(random) else residual, still
        else:
            own_fixed, own_moving = self._elastic(size, random).to(device), residual
        pair = [
            self._intensity(_sample(image, shared, own), random)
            for image, own in ((fixed, own_fixed), (moving, own_moving))
        ]
        label_maps = [
            _sample(label_map, shared, own, "nearest")
            for label_map, own in zip(labels or (), (own_fixed, own_moving), strict=False)
        ]
        fixed_labels, moving_labels = label_maps or (None, None)
        return Pair(
            fixed=pair[0],
            moving=pair[1],
            flow=_in_voxels(own_fixed) if one_brain else None,
            fixed_labels=fixed_labels,
            moving_labels=moving_labels,
        )

    @property
    def one_brain(self) -> float:
        """Share of pairs that are to be one image twice."""
        return self.identical + self.known

    def _is_identical(self, random: torch.Generator) -> bool:
        return bool(torch.rand((), generator=random) * self.one_brain < self.identical)

    def _elastic(self, size: torch.Size, random: torch.Generator) -> Tensor:
        """A smooth displacement `[1, L, P, S, 3]` in normalised coordinates, torch's axis order."""
        control = torch.randn(1, 3, 7, 7, 7, generator=random) * self.elastic
        smooth = F.interpolate(control, size=size, mode="trilinear", align_corners=True)
        return smooth.permute(0, 2, 3, 4, 1)

    def _residual(self, size: torch.Size, random: torch.Generator) -> Tensor:
        matrix = _affine(random, self.residual_rotation, self.residual_scale, self.residual_shift)
        return _grid(matrix, size) - _grid(torch.eye(4), size) + self._elastic(size, random)

    def _intensity(self, image: Tensor, random: torch.Generator) -> Tensor:
        gamma = torch.exp(torch.randn((), generator=random) * self.gamma).item()
        control = torch.randn(1, 1, 4, 4, 4, generator=random).to(image.device) * self.bias
        bias = F.interpolate(control, size=image.shape[2:], mode="trilinear", align_corners=True).exp()
        noise = torch.randn(image.shape, generator=random).to(image.device) * self.noise
        share = torch.rand((), generator=random).item() * self.blur
        image = image.lerp(F.avg_pool3d(image, 3, stride=1, padding=1), share)
        return ((image.clamp(0, 1) ** gamma) * bias + noise * (image > 0)).clamp(0, 1)


def _grid(matrix: Tensor, size: torch.Size) -> Tensor:
    """Where an affine map (`[4, 4]`, axes L, P, S, normalised) sends a grid's voxels: `[1, L, P, S, 3]` for torch."""
    # affine_grid counts axes from the last one back.
    return F.affine_grid(matrix[[2, 1, 0]][:, [2, 1, 0, 3]][None], [1, 1, *size], align_corners=True)


def _sample(image: Tensor, shared: Tensor, own: Tensor, mode: str = "bilinear") -> Tensor:
    """`image(shared(p + own(p)))`, `own` as `[1, L, P, S, 3]` in normalised coordinates."""
    size = image.shape[2:]
    points = _grid(torch.eye(4), size).to(own.device) + own
    matrix = shared[[2, 1, 0]][:, [2, 1, 0, 3]].to(own.device)
    return F.grid_sample(image, points @ matrix[:, :3].t() + matrix[:, 3], mode=mode, align_corners=True)


def _in_voxels(own: Tensor) -> Tensor:
    """A displacement `[1, L, P, S, 3]` in normalised coordinates as a flow `[1, 3, L, P, S]` in voxels."""
    flow = own.permute(0, 4, 1, 2, 3).flip(1)
    half = torch.tensor([(n - 1) / 2 for n in flow.shape[2:]], device=own.device)
    return flow * half.view(1, 3, 1, 1, 1)


def _affine(random: torch.Generator, rotation: float, scale: float, shift: float) -> Tensor:
    """A random homogeneous `[4, 4]` matrix in normalised coordinates, axes L, P, S."""
    angles = (2 * torch.rand(3, generator=random) - 1) * torch.pi / 180 * rotation
    matrix = torch.eye(3)
    for axis, angle in enumerate(angles):
        i, j = [k for k in range(3) if k != axis]
        turn = torch.eye(3)
        turn[i, i] = turn[j, j] = torch.cos(angle)
        turn[i, j], turn[j, i] = -torch.sin(angle), torch.sin(angle)
        matrix = turn @ matrix
    affine = torch.eye(4)
    affine[:3, :3] = matrix * (1 + (2 * torch.rand(3, generator=random) - 1) * scale)
    affine[:3, 3] = (2 * torch.rand(3, generator=random) - 1) * shift
    return affine
