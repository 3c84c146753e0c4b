"""Local normalised cross-correlation, used by the training loss, the refinement and the quality measures.

The paper's NCC (section 2.4) is the squared local correlation of two images, averaged over all voxels. Its window sums
are computed as products with banded 0/1 matrices, one per axis. On CPUs and GPUs alike that is many times faster than
pooling or convolving with a box, and it avoids the rounding errors of running sums. The gradient is written out, also
for speed: it needs three window sums where automatic differentiation needs ten.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

SLAB = 16  # planes along L whose correlations are computed at a time


@lru_cache(maxsize=64)
def _band(size: int, window: int, stride: int, device: torch.device) -> Tensor:
    """Return the 0/1 matrix `[centres, size]` that says which voxels of an axis each window contains."""
    index = torch.arange(size, device=device)
    centres = index[stride // 2 :: stride]
    return ((centres[:, None] - index[None, :]).abs() <= window // 2).float()


def separable(image: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Apply one matrix `[out, in]` to each spatial axis of `[B, C, L, P, S]`.

    The last axis is multiplied first if its matrix shortens it, and last otherwise.
    """
    order = (2, 1, 0) if matrices[2].shape[0] <= matrices[2].shape[1] else (0, 1, 2)
    for axis in order:
        if axis == 2:
            image = torch.matmul(image, matrices[2].t())
        elif axis == 1:
            image = torch.matmul(matrices[1], image)
        else:
            shape = image.shape
            image = torch.matmul(matrices[0], image.reshape(*shape[:3], -1)).view(*shape[:2], -1, *shape[3:])
    return image


def window_sum(image: Tensor, window: int, stride: int = 1) -> Tensor:
    """Sum over a cube of `window` voxels a side (odd) around each voxel; outside the image counts as zero.

    Args:
        image: float32 `[B, C, L, P, S]`.
        window: side of the cube in voxels.
        stride: distance between the centres of the cubes along each axis, in voxels.
    """
    return separable(image, [_band(n, window, stride, image.device) for n in image.shape[2:]])


def _window_spread(image: Tensor, window: int, stride: int, size: Sequence[int]) -> Tensor:
    """Apply the transpose of `window_sum`: add every window's value to all voxels of the window."""
    return separable(image, [_band(n, window, stride, image.device).t() for n in size])


class LocalNCC:
    """Squared local correlation with one fixed image, whose window sums are computed once.

    Args:
        fixed: `[B, 1, L, P, S]`, float32.
        window: side of the window in voxels, odd.
        stride: distance between windows in voxels. 2 takes a third of the time and differs little, as windows overlap.
        epsilon: added to the product of the two windows' sums of squared deviations, so that the ratio stays finite
            where an image is constant.

    Gradients flow to the moving image only.
    """

    def __init__(self, fixed: Tensor, window: int = 9, stride: int = 1, epsilon: float = 1e-5) -> None:
        if window % 2 == 0:
            raise ValueError(f"the window must be odd, got {window}")
        self.fixed = fixed.detach().float()
        self.window = window
        self.stride = stride
        self.epsilon = epsilon
        self.count = float(window**3)
        fixed_sum, fixed_squares = window_sum(torch.cat([self.fixed, self.fixed**2], 1), window, stride).split(1, 1)
        self.fixed_mean = fixed_sum / self.count
        self.fixed_variance = (fixed_squares - self.fixed_mean * fixed_sum).clamp_min(0)

    def __call__(self, moving: Tensor) -> Tensor:
        """Compute the mean over all windows, in [0, 1]; differentiable in `moving`, `[B, 1, L, P, S]`."""
        return _MeanLocalNCC.apply(moving, self)

    def map(self, moving: Tensor) -> Tensor:
        """Compute the squared local correlation in every window, `[B, 1, L, P, S]` (smaller with a stride)."""
        cross, _, denominator = self._terms(moving.float())
        return cross**2 / denominator

    def _terms(self, moving: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        stack = torch.cat([moving, moving**2, moving * self.fixed], 1)
        moving_sum, squares, products = window_sum(stack, self.window, self.stride).split(1, 1)
        moving_mean = moving_sum / self.count
        cross = products - self.fixed_mean * moving_sum
        variance = (squares - moving_mean * moving_sum).clamp_min(0)
        return cross, moving_mean, self.fixed_variance * variance + self.epsilon


class _MeanLocalNCC(torch.autograd.Function):
    """The mean of the local NCC with its gradient written out.

    d cc(p) / d M(q) = a(p) (F(q) - F_mean(p)) - b(p) (M(q) - M_mean(p)) for q in the window of p.
    """

    @staticmethod
    def forward(ctx: Any, moving: Tensor, ncc: LocalNCC) -> Tensor:
        moving = moving.float()
        cross, moving_mean, denominator = ncc._terms(moving)
        ctx.ncc = ncc
        ctx.save_for_backward(moving, cross, moving_mean, denominator)
        return (cross**2 / denominator).mean()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ncc = ctx.ncc
        moving, cross, moving_mean, denominator = ctx.saved_tensors
        a = 2 * cross / denominator
        b = a * cross * ncc.fixed_variance / denominator
        stack = torch.cat([a, b, b * moving_mean - a * ncc.fixed_mean], 1)
        a_sum, b_sum, rest = _window_spread(stack, ncc.window, ncc.stride, moving.shape[2:]).split(1, 1)
        return gradient / cross.numel() * (ncc.fixed * a_sum - moving * b_sum + rest), None


def ncc_maps(fixed: Tensor, *moving: Tensor, window: int = 9) -> list[Tensor]:
    """Compute the squared local correlation of one image with others at every voxel, each `[1, 1, L, P, S]`.

    It is computed a slab of planes at a time, each with the planes that its windows reach into, in a fraction of the
    memory.
    """
    length, reach = fixed.shape[2], window // 2
    maps = [torch.empty_like(image) for image in moving]
    for start in range(0, length, SLAB):
        stop = min(start + SLAB, length)
        first, last = max(start - reach, 0), min(stop + reach, length)
        ncc = LocalNCC(fixed[:, :, first:last], window)
        for image, whole in zip(moving, maps, strict=True):
            whole[:, :, start:stop] = ncc.map(image[:, :, first:last])[:, :, start - first : stop - first]
    return maps


def local_ncc(fixed: Tensor, moving: Tensor, window: int = 9) -> Tensor:
    """Compute the mean squared local correlation of two images `[B, 1, L, P, S]`; differentiable in `moving`."""
    return LocalNCC(fixed, window)(moving)
