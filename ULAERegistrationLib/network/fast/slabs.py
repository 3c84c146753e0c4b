"""Convolution and normalisation a slab of planes at a time, so that what is in work stays in the cache.

A slab is a run of planes along the first grid axis. A convolution reads its slab with the halo it needs from a source;
the source normalises, upsamples or concatenates just these planes, so none of that is ever held for the whole grid.
Exact: only the order of operations differs from the plain network's. Batch size 1 throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..ulaenet import LEAK

NORM_EPSILON = 1e-5
# Upper bound on a slab's largest tensor, so that a few slabs fit in the last-level cache.
SLAB_BYTES = 12 * 2**20


@dataclass(frozen=True)
class Source:
    """Features that can be had a few planes at a time: their grid, and `planes(start, stop)`, planes start..stop-1."""

    size: torch.Size
    planes: Callable[[int, int], Tensor]


@dataclass(frozen=True)
class Normalised:
    """Instance-normalised, leaky-rectified features, of which only the convolution's output is stored: a source."""

    raw: Tensor
    mean: Tensor
    variance: Tensor

    @property
    def size(self) -> torch.Size:
        """The grid."""
        return self.raw.shape[2:]

    def planes(self, start: int, stop: int) -> Tensor:
        """Planes start..stop-1."""
        x = F.batch_norm(self.raw[:, :, start:stop], self.mean, self.variance, eps=NORM_EPSILON)
        return F.leaky_relu_(x, LEAK)


def empty_tensor(size: Sequence[int], dtype: torch.dtype, device: torch.device, channels_last: bool = False) -> Tensor:
    """An uninitialised tensor of that size; MPS knows the plain layout only."""
    last = channels_last and device.type != "mps"
    order = (0, *range(2, len(size)), 1) if last else tuple(range(len(size)))
    raw = torch.empty([size[axis] for axis in order], dtype=dtype, device=device)
    return raw.permute(*(order.index(axis) for axis in range(len(size))))


def stored(x: Tensor) -> Source:
    """A tensor as a source."""
    return Source(x.shape[2:], lambda start, stop: x[:, :, start:stop])


def joined(*sources: Source | Normalised) -> Source | Normalised:
    """Several sources' channels together."""
    if len(sources) == 1:
        return sources[0]

    def planes(start: int, stop: int) -> Tensor:
        parts = [source.planes(start, stop) for source in sources]
        # Left to itself, torch joins single channels in another layout, and the convolution copies everything again.
        size = (1, sum(part.shape[1] for part in parts), *parts[0].shape[2:])
        return torch.cat(parts, 1, out=empty_tensor(size, parts[0].dtype, parts[0].device, channels_last=True))

    return Source(sources[0].size, planes)


def slabs(size: torch.Size, channels: int, like: Tensor) -> Iterator[tuple[int, int]]:
    """Cut a grid into (start, stop) plane ranges; a GPU takes the grid whole."""
    depth = size[0]
    parts = 1
    if like.device.type == "cpu":
        plane = channels * size[1] * size[2] * like.element_size()
        parts = -(-depth // max(2, SLAB_BYTES // plane))
    thickness = -(-depth // parts)
    for start in range(0, depth, thickness):
        yield start, min(start + thickness, depth)


def normalised(raw: Tensor, filled: Iterable[tuple[int, int]]) -> Normalised:
    """Features that are filled in a slab at a time, with their statistics, taken while a slab is in the cache.

    Args:
        raw: `[1, C, *grid]`.
        filled: (start, stop) of each slab, yielded once its planes are in `raw`.
    """
    parts, thickness = [], []
    for start, stop in filled:
        parts.append(statistics(raw[:, :, start:stop]))
        thickness.append(stop - start)
    return Normalised(raw, *combined(parts, thickness))


def statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel over the grid, float32."""
    # On the CPU ten times var_mean's speed on channels-last tensors, but it adds up voxel by voxel: over one plane that
    # stays precise, over a slab it cost the flows a thousandth of a voxel. torch does not document it.
    update = getattr(torch, "batch_norm_update_stats", None)
    if x.device.type == "cpu" and update is not None:
        unused = torch.zeros(x.shape[1]), torch.ones(x.shape[1])  # the answer comes in the running statistics' type
        planes = [update(plane, *unused, 0.0) for plane in x.split(1, 2)]
        return combined(planes, [1] * len(planes))
    variance, mean = torch.var_mean(x.float(), (0, 2, 3, 4), correction=0)
    return mean, variance


def combined(parts: Sequence[tuple[Tensor, Tensor]], thickness: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Mean and variance of a grid from those of its parts: mean of variances plus variance of means."""
    means, variances = (torch.stack(values) for values in zip(*parts, strict=True))
    share = torch.tensor(thickness, dtype=torch.float32, device=means.device)[:, None] / sum(thickness)
    mean = (share * means).sum(0)
    return mean, (share * (variances + (means - mean) ** 2)).sum(0)
