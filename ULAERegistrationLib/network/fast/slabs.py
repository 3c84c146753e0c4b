"""Normalisation and concatenation a slab of planes at a time, so that intermediate results stay in the cache.

A slab is a run of planes along the first grid axis. A convolution reads a slab, and the planes beside it that its
kernel reaches, from a source; the source normalises, upsamples or concatenates only these planes, so that the results
are never stored for the whole grid. Only the order of operations differs from the plain network's. The batch size is 1
throughout.
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
class PlaneSource:
    """Features that are computed a few planes at a time.

    Attributes:
        size: of the grid.
        planes: computes planes start..stop-1, `[1, C, stop - start, P, S]`, given start and stop.
    """

    size: torch.Size
    planes: Callable[[int, int], Tensor]


@dataclass(frozen=True)
class Normalised:
    """Features after instance normalisation and leaky ReLU, which are applied whenever planes are read.

    Attributes:
        raw: the convolution's output, `[1, C, *grid]`.
        mean, variance: of each channel of `raw`, `[C]` float32.
    """

    raw: Tensor
    mean: Tensor
    variance: Tensor

    @property
    def size(self) -> torch.Size:
        """The size of the grid."""
        return self.raw.shape[2:]

    def planes(self, start: int, stop: int) -> Tensor:
        """Compute planes start..stop-1."""
        x = F.batch_norm(self.raw[:, :, start:stop], self.mean, self.variance, eps=NORM_EPSILON)
        return F.leaky_relu_(x, LEAK)


def empty_tensor(size: Sequence[int], dtype: torch.dtype, device: torch.device, channels_last: bool = False) -> Tensor:
    """Create an uninitialised tensor; on MPS, which has no channels-last layout, always in the plain layout."""
    last = channels_last and device.type != "mps"
    order = (0, *range(2, len(size)), 1) if last else tuple(range(len(size)))
    raw = torch.empty([size[axis] for axis in order], dtype=dtype, device=device)
    return raw.permute(*(order.index(axis) for axis in range(len(size))))


def stored(x: Tensor) -> PlaneSource:
    """Wrap a tensor `[1, C, *grid]` as a source."""
    return PlaneSource(x.shape[2:], lambda start, stop: x[:, :, start:stop])


def joined(*sources: PlaneSource | Normalised) -> PlaneSource | Normalised:
    """Concatenate the channels of several sources."""
    if len(sources) == 1:
        return sources[0]

    def planes(start: int, stop: int) -> Tensor:
        parts = [source.planes(start, stop) for source in sources]
        # By default torch concatenates single channels in another layout, which the convolution would have to copy.
        size = (1, sum(part.shape[1] for part in parts), *parts[0].shape[2:])
        return torch.cat(parts, 1, out=empty_tensor(size, parts[0].dtype, parts[0].device, channels_last=True))

    return PlaneSource(sources[0].size, planes)


def slabs(size: torch.Size, channels: int, like: Tensor) -> Iterator[tuple[int, int]]:
    """Divide a grid into slabs (start, stop) whose tensors have at most about `SLAB_BYTES`; a GPU takes it whole.

    Args:
        size: of the grid.
        channels: of the largest tensor.
        like: a tensor with the number type and device of that tensor.
    """
    depth = size[0]
    parts = 1
    if like.device.type == "cpu":
        plane = channels * size[1] * size[2] * like.element_size()
        parts = -(-depth // max(2, SLAB_BYTES // plane))
    thickness = -(-depth // parts)
    for start in range(0, depth, thickness):
        yield start, min(start + thickness, depth)


def normalised(raw: Tensor, filled: Iterable[tuple[int, int]]) -> Normalised:
    """Fill in a convolution's output a slab at a time, and compute its statistics while each slab is in the cache.

    Args:
        raw: the convolution's output, `[1, C, *grid]`.
        filled: yields (start, stop) of each slab once its planes are in `raw`.
    """
    parts, thickness = [], []
    for start, stop in filled:
        parts.append(statistics(raw[:, :, start:stop]))
        thickness.append(stop - start)
    return Normalised(raw, *combined(parts, thickness))


def statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the mean and variance of each channel over the grid, float32."""
    # On the CPU this undocumented operator is ten times as fast as var_mean on channels-last tensors, but it sums voxel
    # by voxel. That is precise over one plane; over a whole slab it changed the flows by a thousandth of a voxel.
    update = getattr(torch, "batch_norm_update_stats", None)
    if x.device.type == "cpu" and update is not None:
        unused = torch.zeros(x.shape[1]), torch.ones(x.shape[1])  # the result has the running statistics' type
        planes = [update(plane, *unused, 0.0) for plane in x.split(1, 2)]
        return combined(planes, [1] * len(planes))
    variance, mean = torch.var_mean(x.float(), (0, 2, 3, 4), correction=0)
    return mean, variance


def combined(parts: Sequence[tuple[Tensor, Tensor]], thickness: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Combine the means and variances of a grid's parts: its variance is their mean plus the variance of the means.

    Args:
        parts: mean and variance of each part, `[C]` each.
        thickness: number of planes of each part.
    """
    means, variances = (torch.stack(values) for values in zip(*parts, strict=True))
    share = torch.tensor(thickness, dtype=torch.float32, device=means.device)[:, None] / sum(thickness)
    mean = (share * means).sum(0)
    return mean, (share * (variances + (means - mean) ** 2)).sum(0)
