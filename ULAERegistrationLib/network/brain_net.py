"""The network of brain extraction: a small U-Net on a cubic grid along the body's axes.

Blocks of 2 x 2 x 2 voxels of 2.4 mm are rearranged into eight channels of 4.8 mm at its input, and back at its output,
so that most of the computation runs on the coarser grid. It needs torch alone, as its training does.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..shipped import MODELS
from .fast.convolution import convolve

ARCHITECTURE = "BrainNet"
BRAIN_WEIGHTS = MODELS / "ulae-brain.safetensors"
SPACING = 2.4  # mm, of the grid the network was trained on
SIZE = 96  # voxels a side: 230 mm


class _Convolution(nn.Conv3d):
    """A convolution by the fastest kernel, which torch does not take by itself where it has one thread."""

    def forward(self, x: Tensor) -> Tensor:
        padding = [width // 2 for width in self.kernel_size]
        return convolve(x, self.weight, self.bias, self.stride, padding, self.dilation)


class BrainNet(nn.Module):
    """A U-Net of four levels with added skip connections: 411,000 parameters.

    Args:
        channels: number of channels at each of the four levels, from 4.8 mm to 38 mm.
    """

    def __init__(self, channels: tuple[int, int, int, int] = (16, 32, 56, 64)) -> None:
        super().__init__()
        inputs = (8, *channels[:2])
        self.encoders = nn.ModuleList(
            nn.Sequential(_block(i, o), _block(o, o)) for i, o in zip(inputs, channels[:3], strict=True)
        )
        self.bottom = _block(channels[2], channels[3])
        self.narrowings = nn.ModuleList(
            _Convolution(i, o, 1) for i, o in zip(channels[:0:-1], channels[2::-1], strict=True)
        )
        self.decoders = nn.ModuleList(_block(o, o) for o in channels[2::-1])
        self.head = _Convolution(channels[0], 8, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Compute the logits of brain.

        Args:
            image: `[batch, 1, L, P, S]` in [0, 1], each side a multiple of 16.

        Returns:
            `[batch, 1, L, P, S]`.
        """
        features, skipped = _fold(image).contiguous(memory_format=torch.channels_last_3d), []
        for encoder in self.encoders:
            features = encoder(features)
            skipped.append(features)
            features = F.max_pool3d(features, 2)
        features = self.bottom(features)
        for narrowing, decoder in zip(self.narrowings, self.decoders, strict=True):
            features = decoder(skipped.pop() + F.interpolate(narrowing(features), scale_factor=2, mode="nearest"))
        return _unfold(self.head(features))


def _block(inputs: int, outputs: int) -> nn.Sequential:
    # With one group per channel this is instance normalisation, but faster than torch's own.
    return nn.Sequential(
        _Convolution(inputs, outputs, 3, padding=1, bias=False),
        nn.GroupNorm(outputs, outputs),
        nn.LeakyReLU(0.1, inplace=True),
    )


def _fold(image: Tensor) -> Tensor:
    """Rearrange blocks of 2 x 2 x 2 voxels to channels: `[batch, 1, L, P, S]` to `[batch, 8, L/2, P/2, S/2]`."""
    batch, _, *size = image.shape
    left, posterior, superior = (n // 2 for n in size)
    blocks = image.reshape(batch, left, 2, posterior, 2, superior, 2)
    return blocks.permute(0, 2, 4, 6, 1, 3, 5).reshape(batch, 8, left, posterior, superior)


def _unfold(channels: Tensor) -> Tensor:
    """Apply the inverse of `_fold`."""
    batch, _, *size = channels.shape
    blocks = channels.reshape(batch, 2, 2, 2, *size).permute(0, 4, 1, 5, 2, 6, 3)
    return blocks.reshape(batch, 1, *(2 * n for n in size))


def normalise(values: Tensor) -> Tensor:
    """Scale intensities to [0, 1] in a way that hardly depends on how much air the scan shows.

    0 is the first percentile of all values, 1 the 98th percentile of those above the mean.

    Args:
        values: `[batch, 1, L, P, S]` of one scan, finite.
    """
    few = values[..., ::2, ::2, ::2].flatten()
    bright = few[few > few.mean()]
    if len(bright) == 0:
        return torch.zeros_like(values)
    low, high = _percentile(few, 0.01), _percentile(bright, 0.98)
    least = max(1e-6 * abs(high.item()), torch.finfo(values.dtype).tiny)
    return ((values - low) / (high - low).clamp(min=least)).clamp(0, 1)


def _percentile(values: Tensor, share: float) -> Tensor:
    return values.kthvalue(1 + round(share * (len(values) - 1))).values
