"""Trilinear upsampling (align_corners), a few planes at a time, alone or inside the block that convolves the result."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from .convolution import Kernel, convolve, convolved
from .slabs import Normalised, PlaneSource, empty_tensor, joined, normalised, slabs

# Earlier coarse planes still needed when a new one arrives: output plane z reads fine planes z-1 to z+1, which span
# three coarse planes.
EARLIER = 2
# Output planes that are summed by one matrix product: each needs three or four of the coarse planes. For the first
# product of a shape of more rows, or of rows that do not follow each other in memory, oneDNN takes 10 to 60 ms.
SUMMED = 4


def upsampled(source: PlaneSource | Normalised, size: torch.Size) -> PlaneSource:
    """Return a source of the features on a finer grid."""
    coarse = source.size[0]
    ratio = (coarse - 1) / (size[0] - 1)

    def planes(start: int, stop: int) -> Tensor:
        below = [min(int(n * ratio), coarse - 2) for n in range(start, stop)]
        base = below[0]
        planes = source.planes(base, below[-1] + 2)
        if planes.device.type != "cpu":  # a GPU takes the whole grid at a time (see `slabs`)
            return F.interpolate(planes, size=tuple(size), mode="trilinear", align_corners=True)
        # Within planes first, because there are fewer coarse planes; then between them.
        planes = upsampled_in_plane(planes, size)
        channels_last = planes.is_contiguous(memory_format=torch.channels_last)
        out = empty_tensor((1, planes.shape[1], stop - start, *size[1:]), planes.dtype, planes.device, channels_last)
        for n, low in enumerate(below):
            torch.lerp(planes[low - base], planes[low - base + 1], (start + n) * ratio - low, out=out[0, :, n])
        return out

    return PlaneSource(size, planes)


def upsampled_in_plane(planes: Tensor, size: torch.Size) -> Tensor:
    """Upsample planes `[1, C, n, h, w]` within themselves to a batch of finer ones, `[n, C, H, W]`."""
    return F.interpolate(planes[0].transpose(0, 1), size=tuple(size[1:]), mode="bilinear", align_corners=True)


def convolved_finer(coarse: Normalised, *fine: PlaneSource | Normalised, weight: Tensor) -> Normalised:
    """Compute a block of the decoder: on coarse features, upsampled, concatenated with fine features.

    Interpolation between planes and convolution within planes commute. So each of the kernel's three planes is applied
    to the coarse planes, of which there are half as many, and every output plane is a weighted sum of the results.

    Args:
        coarse: features on half the grid.
        fine: the other features, on the full grid.
        weight: `[out, coarse channels + fine channels, 3, 3, 3]`.
    """
    size, depth, outputs, channels = fine[0].size, coarse.size[0], len(weight), coarse.raw.shape[1]
    if weight.device.type != "cpu":
        return convolved(joined(upsampled(coarse, size), *fine), weight)
    within = [weight[:, :channels, n].contiguous(memory_format=torch.channels_last) for n in range(3)]
    kernel = Kernel(weight[:, channels:].contiguous(memory_format=torch.channels_last_3d))
    source = joined(*fine)
    shares = plane_shares(depth, size[0])
    needed = [share.nonzero()[:, 0].tolist() for share in shares]  # coarse planes of each output plane, in their order
    shares = shares.to(weight.dtype)
    raw = empty_tensor((1, outputs, *size), weight.dtype, weight.device, channels_last=True)

    def filled() -> Iterator[tuple[int, int]]:
        chunks = list(slabs(torch.Size((depth, *size[1:])), 3 * outputs, weight))
        # Results of each of the kernel's planes for the coarse planes of a chunk and the `EARLIER` before it.
        window = empty_tensor((EARLIER + chunks[0][1], 3, *size[1:], outputs), weight.dtype, weight.device)
        done = 0
        for start, stop in chunks:
            if start:
                window[:EARLIER] = window[-EARLIER:].clone()
            new = upsampled_in_plane(coarse.planes(start, stop), size)
            for n, plane_weight in enumerate(within):
                planes = convolve(new, plane_weight, None, (1, 1), (1, 1), (1, 1))
                window[EARLIER : EARLIER + stop - start, n] = planes.permute(0, 2, 3, 1)
            ready = sum(planes[-1] < stop for planes in needed)
            from_fine = by_plane(kernel.planes(source, done, ready))
            for plane in range(done, ready, SUMMED):
                end = min(plane + SUMMED, ready)
                first, last = needed[plane][0], needed[end - 1][-1] + 1
                held = window[EARLIER + first - start : EARLIER + last - start]
                torch.addmm(
                    from_fine[plane - done : end - done],
                    shares[plane:end, first:last].flatten(1).contiguous(),
                    held.view(3 * (last - first), -1),
                    out=by_plane(raw)[plane:end],
                )
            yield done, ready
            done = ready

    return normalised(raw, filled())


def plane_shares(coarse: int, fine: int) -> Tensor:
    """Compute the weights `[z, c, k]`: contribution to output plane z of kernel plane k applied to coarse plane c."""
    between = F.interpolate(torch.eye(coarse)[None], size=fine, mode="linear", align_corners=True)[0].T
    beyond = F.pad(between, (0, 0, 1, 1))  # planes outside the grid count as zero
    return torch.stack([beyond[n : n + fine] for n in range(3)], -1)


def by_plane(x: Tensor) -> Tensor:
    """View a channels-last tensor `[1, C, D, H, W]` as a matrix with one row per plane, `[D, H * W * C]`."""
    return x.permute(0, 2, 3, 4, 1).reshape(x.shape[2], -1)
