"""Convolutions of the fast network, computed a slab of planes at a time, and the blocks made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .slabs import Normalised, PlaneSource, empty_tensor, normalised, slabs, stored

PlaneMaker = Callable[[int, int], Tensor]  # computes output planes start..stop-1, given start and stop


@dataclass(frozen=True)
class Kernel:
    """A convolution whose kernel has sides of 3, padded by the dilation, or of 1, without padding."""

    weight: Tensor
    bias: Tensor | None = None
    stride: tuple[int, int, int] = (1, 1, 1)
    dilation: tuple[int, int, int] = (1, 1, 1)

    def planes(self, source: PlaneSource | Normalised, start: int, stop: int) -> Tensor:
        """Compute output planes start..stop-1; the source counts as zero outside its grid."""
        reach, *padding = [d if width > 1 else 0 for d, width in zip(self.dilation, self.weight.shape[2:], strict=True)]
        step, depth = self.stride[0], source.size[0]
        first, last = step * start - reach, step * (stop - 1) + reach + 1
        planes = source.planes(max(first, 0), min(last, depth))
        if step * (stop - start) == depth:
            padding = [reach, *padding]
        else:
            padding = [0, *padding]
            if first < 0 or last > depth:
                planes = F.pad(planes, (0, 0, 0, 0, max(-first, 0), max(last - depth, 0)))
        return convolve(planes, self.weight, self.bias, self.stride, padding, self.dilation)

    def whole(self, source: PlaneSource | Normalised) -> Tensor:
        """Compute all output planes of a convolution without stride, on the source's grid."""
        out = empty_tensor(
            (1, len(self.weight), *source.size), self.weight.dtype, self.weight.device, channels_last=True
        )
        for start, stop in slabs(source.size, max(self.weight.shape[:2]), self.weight):
            out[:, :, start:stop] = self.planes(source, start, stop)
        return out


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    """Convolve in two or three dimensions with the fastest kernel that torch has; the result has the weight's type."""
    # Called by name, because F.conv3d passes small float32 inputs to a slow kernel. torch does not document it.
    onednn = getattr(torch, "mkldnn_convolution", None)
    if onednn is not None and x.device.type == "cpu" and torch.backends.mkldnn.is_available():
        # On one channel, oneDNN's dilated convolutions in bfloat16 take up to thirty times as long as in float32.
        dtype = torch.float32 if weight.shape[1] == 1 else weight.dtype
        bias = bias if bias is None else bias.to(dtype)
        return onednn(x.to(dtype), weight.to(dtype), bias, padding, stride, dilation, 1).to(weight.dtype)
    x = x.to(weight.dtype)
    return torch.convolution(x, weight, bias, stride, padding, dilation, False, [0] * len(padding), 1)


def normalised_block(produce: PlaneMaker, size: torch.Size, weight: Tensor, reads: int = 1) -> Normalised:
    """Compute a block (convolution, instance normalisation, leaky ReLU), given its convolution.

    Args:
        produce: computes the convolution's output planes start..stop-1.
        size: of the output grid.
        weight: of the convolution; it gives number type, device and numbers of channels.
        reads: input voxels for each output voxel, 8 where the convolution halves the grid.
    """
    raw = empty_tensor((1, len(weight), *size), weight.dtype, weight.device, channels_last=True)

    def filled() -> Iterator[tuple[int, int]]:
        for start, stop in slabs(size, max(len(weight), reads * weight.shape[1]), weight):
            raw[:, :, start:stop] = produce(start, stop)
            yield start, stop

    return normalised(raw, filled())


def convolved(source: PlaneSource | Normalised, weight: Tensor) -> Normalised:
    """Compute a block (convolution, instance normalisation, leaky ReLU) on a source's grid."""
    kernel = Kernel(weight)
    return normalised_block(lambda start, stop: kernel.planes(source, start, stop), source.size, weight)


def fusion_block(moving: Tensor, fixed_half: Tensor, weight: Tensor) -> Normalised:
    """Compute a fusion block, given the fixed features' half of its convolution."""
    kernel, source = Kernel(weight), stored(moving)
    return normalised_block(
        lambda start, stop: kernel.planes(source, start, stop).add_(fixed_half[:, :, start:stop]), source.size, weight
    )


def halved(source: PlaneSource | Normalised, weight: Tensor, dilation: int, bias: Tensor | None = None) -> PlaneMaker:
    """Return what computes the output planes of a 3x3x3 convolution with stride 2, padded by its dilation."""
    kernel = Kernel(weight, bias, (2, 2, 2), (dilation,) * 3)
    return lambda start, stop: kernel.planes(source, start, stop)


def head_flow(x: Normalised, weight: Tensor, bias: Tensor) -> Tensor:
    """Compute a flow head's flow, `[1, 3, *grid]` float32, a slab at a time.

    Args:
        x: the head's input.
        weight: `[3, channels, 3, 3, 3]`.
        bias: `[3]` float32, added in float32 so that half precision does not round it.
    """
    kernel = Kernel(weight)
    flow = empty_tensor((1, 3, *x.size), torch.float32, weight.device)
    for start, stop in slabs(x.size, x.raw.shape[1], x.raw):
        flow[:, :, start:stop] = kernel.planes(x, start, stop).float()
    return flow.add_(bias.view(1, 3, 1, 1, 1))
