"""Local normalised cross-correlation: what the network is trained on, refinement climbs, and quality reports.

The paper's NCC (section 2.4) is the squared local correlation of two images, averaged over all voxels. Its window sums
run as products with banded 0/1 matrices, one per axis: on CPUs and GPUs alike that is many times faster than pooling or
convolving with a box, and it loses nothing to running sums. The gradient is written out for the same reason: it needs
three window sums where automatic differentiation needs ten.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


@lru_cache(maxsize=64)
def _band(size: int, window: int, stride: int, device: torch.device) -> Tensor:
    """0/1 matrix [centres, size]: which voxels of an axis each window holds."""
    index = torch.arange(size, device=device)
    centres = index[stride // 2 :: stride]
    return ((centres[:, None] - index[None, :]).abs() <= window // 2).float()


def separable(image: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Apply one matrix `[out, in]` to each spatial axis of `[B, C, L, P, S]`, the axes that shrink first."""
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
    """Sum over a cube of `window` voxels (odd) around each voxel; outside the image counts as zero.

    Args:
        image: float32 `[B, C, L, P, S]`.
        stride: only around each voxel this far from the last, along each axis.
    """
    return separable(image, [_band(n, window, stride, image.device) for n in image.shape[2:]])


def _window_spread(image: Tensor, window: int, stride: int, size: Sequence[int]) -> Tensor:
    """The transpose of `window_sum`: every window's value given to all its voxels."""
    return separable(image, [_band(n, window, stride, image.device).t() for n in size])


class LocalNCC:
    """Squared local correlation with one fixed image, whose window sums are computed once.

    Args:
        fixed: `[B, 1, L, P, S]`, float32.
        window: side of the window in voxels, odd.
        stride: windows stand this many voxels apart. 2 costs a third and differs little, as windows overlap.
        epsilon: keeps the ratio finite where an image is constant; sums, not means, run over the window.

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
        """The mean over all windows, in [0, 1]; differentiable in `moving`."""
        return _MeanLocalNCC.apply(moving, self)

    def map(self, moving: Tensor) -> Tensor:
        """The squared local correlation in every window, `[B, 1, L, P, S]` (fewer voxels with a stride)."""
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
    """d cc(p) / d M(q) = a(p) (F(q) - F_mean(p)) - b(p) (M(q) - M_mean(p)) for q in the window of p."""

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


def local_ncc(fixed: Tensor, moving: Tensor, window: int = 9) -> Tensor:
    """Mean squared local correlation of two images, `[B, 1, L, P, S]`; differentiable in `moving`."""
    return LocalNCC(fixed, window)(moving)
