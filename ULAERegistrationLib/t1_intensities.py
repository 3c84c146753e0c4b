"""Give a scan of any contrast the intensities of T1, which the network knows.

Written in torch, because the training shows the network on a GPU what a registration shows it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .tensors import array_of, tensor_of

INTENSITIES = 64  # of which `t1_curve` looks for the one in T1
SPREAD = 2.0  # intensities, sigma over which neighbouring ones are averaged
DARK = 0.05  # of the brightest: darker voxels count as background in the template, and are not made darker in a scan
EDGE = 0.08  # darker voxels of a scan fade to background


def give_t1_intensities(scan: Tensor, average: Tensor) -> Tensor:
    """Give a scan the intensities of T1: each becomes the mean of an average T1 brain where the scan shows it.

    This is the curve of the correlation ratio (Roche et al., MICCAI 1998). The average lies in place only by an affine
    alignment, which draws all means towards their average; so the result is stretched to the average brain's mean and
    spread. A voxel at the edge of a tissue shows a mixture of its neighbours, and does not become brighter than
    that: between fluid and cortex FLAIR has the intensity of white matter.

    Args:
        scan: float32 [L, P, S] in [0, 1], 0 outside the brain.
        average: an average T1 brain, in the same form, to which the scan is aligned.

    Returns:
        The same shape and range; the scan itself where it does not overlap the average, or has one intensity.
    """
    curve = t1_curve(scan, average)
    if curve is None:
        return scan
    # The background is no tissue; it must not be a voxel's darkest neighbour.
    darkest = torch.minimum(_neighbours(torch.where(scan > DARK, scan, 2.0), torch.minimum), scan)
    brightest = _neighbours(scan, torch.maximum)
    mapped = along(curve, scan)
    share = (scan - darkest) / (brightest - darkest).clamp_min_(1e-3)
    mapped = torch.minimum(mapped, torch.lerp(along(curve, darkest), along(curve, brightest), share))
    both = (scan > DARK / 2) & (average > DARK)
    inside, target = mapped[both], average[both]
    stretch = target.std() / inside.std().clamp_min(1e-6)
    mapped.sub_(inside.mean()).mul_(stretch).add_(target.mean())
    return mapped.clamp_(DARK, 1) * (scan / EDGE).clamp_max_(1)


def t1_curve(scan: Tensor, average: Tensor) -> Tensor | None:
    """Compute the mean of an average T1 brain at each of `INTENSITIES` of a scan.

    Args:
        scan, average: as `give_t1_intensities` takes them.

    Returns:
        The T1 intensity at equal steps of the scan's from 0 to 1; None where the two do not overlap, or the scan has
        one intensity.
    """
    both = (scan > DARK / 2) & (average > DARK)
    numbers = (scan[both] * (INTENSITIES - 1)).round_().long()
    counts = array_of(torch.bincount(numbers, minlength=INTENSITIES)).astype(float)
    sums = array_of(torch.bincount(numbers, weights=average[both].double(), minlength=INTENSITIES))
    if (counts > 0).sum() < 2:
        return None
    bell = np.exp(-0.5 * (np.arange(-3 * SPREAD, 3 * SPREAD + 1) / SPREAD) ** 2)
    counts, sums = np.convolve(counts, bell, "same"), np.convolve(sums, bell, "same")
    shown = np.flatnonzero(counts >= 1)
    curve = np.interp(np.arange(INTENSITIES), shown, sums[shown] / counts[shown])
    return tensor_of(curve.astype(np.float32)).to(scan.device)


def along(curve: Tensor, intensities: Tensor) -> Tensor:
    """Look intensities in [0, 1] up in a curve at equal steps, linearly between them; float32."""
    places = intensities.clamp(0, 1) * (len(curve) - 1)
    below = places.long().clamp_max_(len(curve) - 2)
    return torch.lerp(curve[below], curve[below + 1], places - below)


def _neighbours(image: Tensor, extreme: Callable[..., Tensor]) -> Tensor:
    """Return the least or the largest of each voxel and its six neighbours."""
    found = image.clone()
    for axis, size in enumerate(image.shape):
        first, last = image.narrow(axis, 0, size - 1), image.narrow(axis, 1, size - 1)
        for part, other in ((found.narrow(axis, 0, size - 1), last), (found.narrow(axis, 1, size - 1), first)):
            extreme(part, other, out=part)
    return found
