"""Random training pairs, made on the device of the training.

Each image is sampled once, through a map that combines all spatial changes: a flip and an affine map that the pair
shares, and a smooth deformation of the image's own. The moving image's deformation includes a small affine map, because
the alignment before the network is not perfect. A fraction of the pairs shows one brain twice, of which only the fixed
image is deformed, so that the true flow is known.

So that the network knows scans of other contrasts, `contrasts` of the images are recoloured as another contrast shows
the tissues, and given the intensities of T1 again, as a registration does. Only what the network sees changes: the loss
compares the T1 images, which show where each tissue is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..t1_intensities import give_t1_intensities
from .contrasts import recolour
from .field_types import check_fields

# Least and most noise of another contrast, as a multiple of that of a T1 image, which the shipped recipe sets to .006.
# In white matter, real T2 and FLAIR scans have noise of .007 to .020 of full scale.
NOISIER = (1.0, 4.0)


@dataclass(frozen=True)
class Pair:
    """The input of one training step.

    Attributes:
        fixed, moving: the images that the loss compares, `[1, 1, L, P, S]` in [0, 1].
        seen_fixed, seen_moving: what the network sees of them, the same or in another contrast.
        flow: the true flow from fixed to moving, `[1, 3, L, P, S]` in voxels; None where it is not known.
        fixed_labels, moving_labels: label maps of one protocol, `[1, 1, L, P, S]`; None where there are none.
    """

    fixed: Tensor
    moving: Tensor
    seen_fixed: Tensor
    seen_moving: Tensor
    flow: Tensor | None = None
    fixed_labels: Tensor | None = None
    moving_labels: Tensor | None = None


@dataclass(frozen=True)
class Augmentation:
    """The strength of each random change; lengths are fractions of half the grid, so that they fit every resolution.

    Attributes:
        identical: fraction of plain pairs that are one image twice; the true flow is zero. Plain are those that neither
            `TrainingSettings.one_protocol` nor `TrainingSettings.painted_pairs` takes.
        known: fraction of plain pairs that are one image and its deformation, which is the true flow.
        synthetic: fraction of the brains of plain pairs that are synthesised from label maps, where the packed data has
            some.
        shared_*: largest rotation (degrees), scaling (fraction) and shift of both images together.
        residual_*: the same of the moving image relative to the fixed one.
        elastic: standard deviation of the elastic displacement; control points lie 1/6 of the grid apart.
        gamma, bias, noise: standard deviation of the logarithm of gamma, of the bias field's logarithm, and of white
            noise.
        blur: largest weight of the mean over 3 x 3 x 3 voxels that an image is mixed with.
        contrasts: fraction of images that the network sees as another contrast, given the intensities of T1; none of
            `TrainingSettings.painted_pairs`, whose intensities are random already.
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
    contrasts: float = 0.0

    def __post_init__(self) -> None:
        """Raise a ValueError for a strength that is no number, or negative."""
        check_fields(self)

    def __call__(
        self,
        *,
        fixed: Tensor,
        moving: Tensor,
        random: torch.Generator,
        labels: tuple[Tensor, Tensor] | None = None,
        average: Tensor | None = None,
    ) -> Pair:
        """Make a random pair from two images, or from one.

        Args:
            fixed, moving: `[1, 1, L, P, S]` in [0, 1]; the same object twice for a pair with a known flow.
            random: generator on the CPU; no other is used, so that a run can be resumed exactly.
            labels: label maps of fixed and moving, `[1, 1, L, P, S]`, to be deformed with them.
            average: an average T1 brain, from which `contrasts` take its intensities; not needed where that is 0.
        """
        shared = _affine(random, self.shared_rotation, self.shared_scale, self.shared_shift)
        if torch.rand((), generator=random) < 0.5:
            shared[0] *= -1  # the first axis is left-right
        size, device = moving.shape[2:], moving.device
        still = torch.zeros(1, *size, 3, device=device)
        one_brain = moving is fixed
        residual = self._residual(size, random, device)
        # Of one brain only the fixed image is deformed, so that the map that samples it is the true flow.
        if one_brain:
            own_fixed, own_moving = still if self._is_identical(random) else residual, still
        else:
            own_fixed, own_moving = self._elastic(size, random, device), residual
        pair = [
            self._intensity(_sample(image, shared, own), random)
            for image, own in ((fixed, own_fixed), (moving, own_moving))
        ]
        label_maps = [
            _sample(label_map, shared, own, "nearest")
            for label_map, own in zip(labels or (), (own_fixed, own_moving), strict=False)
        ]
        fixed_labels, moving_labels = label_maps or (None, None)
        average = None if average is None else _sample(average, shared, still)
        seen = [self._as_seen(image, average, random) for image in pair]
        return Pair(
            fixed=pair[0],
            moving=pair[1],
            seen_fixed=seen[0],
            seen_moving=seen[1],
            flow=_in_voxels(own_fixed) if one_brain else None,
            fixed_labels=fixed_labels,
            moving_labels=moving_labels,
        )

    @property
    def one_brain(self) -> float:
        """The fraction of plain pairs that are made from one image."""
        return self.identical + self.known

    def _is_identical(self, random: torch.Generator) -> bool:
        return bool(torch.rand((), generator=random) * self.one_brain < self.identical)

    def _elastic(self, size: torch.Size, random: torch.Generator, device: torch.device) -> Tensor:
        """Draw a smooth displacement `[1, L, P, S, 3]` in normalised coordinates, torch's axis order."""
        control = torch.randn(1, 3, 7, 7, 7, generator=random).to(device) * self.elastic
        smooth = F.interpolate(control, size=size, mode="trilinear", align_corners=True)
        return smooth.permute(0, 2, 3, 4, 1)

    def _residual(self, size: torch.Size, random: torch.Generator, device: torch.device) -> Tensor:
        matrix = _affine(random, self.residual_rotation, self.residual_scale, self.residual_shift).to(device)
        still = torch.eye(4, device=device)
        return _grid(matrix, size) - _grid(still, size) + self._elastic(size, random, device)

    def _intensity(self, image: Tensor, random: torch.Generator) -> Tensor:
        gamma = torch.exp(torch.randn((), generator=random) * self.gamma).item()
        control = torch.randn(1, 1, 4, 4, 4, generator=random).to(image.device) * self.bias
        bias = F.interpolate(control, size=image.shape[2:], mode="trilinear", align_corners=True).exp()
        noise = _noise(image, random) * self.noise
        share = torch.rand((), generator=random).item() * self.blur
        image = image.lerp(F.avg_pool3d(image, 3, stride=1, padding=1), share)
        return ((image.clamp(0, 1) ** gamma) * bias + noise * (image > 0)).clamp(0, 1)

    def _as_seen(self, image: Tensor, average: Tensor | None, random: torch.Generator) -> Tensor:
        """Recolour a fraction of the images, with a scanner's shading and noise of its own, and show them as T1."""
        if average is None or torch.rand((), generator=random) >= self.contrasts:
            return image
        least, most = NOISIER
        noisier = least + (most - least) * torch.rand((), generator=random).item()
        scanner = replace(self, noise=noisier * self.noise)
        recoloured = scanner._intensity(recolour(image, random), random)
        return give_t1_intensities(recoloured[0, 0], average[0, 0])[None, None]


def _noise(image: Tensor, random: torch.Generator) -> Tensor:
    """Draw white noise of an image's shape on its device, from a seed that `random` draws."""
    seed = int(torch.randint(2**31, (), generator=random))
    own = torch.Generator(image.device).manual_seed(seed)
    return torch.randn(image.shape, generator=own, device=image.device)


def _grid(matrix: Tensor, size: torch.Size) -> Tensor:
    """Map a grid's voxels by an affine map (`[4, 4]`, axes L, P, S, normalised): `[1, L, P, S, 3]` for grid_sample."""
    # affine_grid takes the axes in the order from the last one to the first.
    return F.affine_grid(matrix[[2, 1, 0]][:, [2, 1, 0, 3]][None], [1, 1, *size], align_corners=True)


def _sample(image: Tensor, shared: Tensor, own: Tensor, mode: str = "bilinear") -> Tensor:
    """Sample `image(shared(p + own(p)))`, with `own` as `[1, L, P, S, 3]` in normalised coordinates."""
    size = image.shape[2:]
    points = _grid(torch.eye(4, device=own.device), size) + own
    matrix = shared[[2, 1, 0]][:, [2, 1, 0, 3]].to(own.device)
    return F.grid_sample(image, points @ matrix[:, :3].t() + matrix[:, 3], mode=mode, align_corners=True)


def _in_voxels(own: Tensor) -> Tensor:
    """Convert a displacement `[1, L, P, S, 3]` in normalised coordinates to a flow `[1, 3, L, P, S]` in voxels."""
    flow = own.permute(0, 4, 1, 2, 3).flip(1)
    half = torch.tensor([(n - 1) / 2 for n in flow.shape[2:]], device=own.device)
    return flow * half.view(1, 3, 1, 1, 1)


def _affine(random: torch.Generator, rotation: float, scale: float, shift: float) -> Tensor:
    """Draw a homogeneous `[4, 4]` matrix in normalised coordinates, axes L, P, S."""
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
