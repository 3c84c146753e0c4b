"""Remove folds: the last flow is smoothed around the folds of the composition until it folds no more than allowed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from .composed import ComposedFlows
from .jacobian import smallest_jacobian, smallest_jacobian_at
from .warp import compose_all_at, values_at

# Determinants of at most this count as folded here, so that rounding on another machine does not bring folds back.
MARGIN = 0.02
# Passes that smooth the last flow alone, next to its folds; after these the smoothed region grows with every pass, in
# all the flows.
PATIENCE = 17


def remove_folds(
    composed: ComposedFlows, allowed: float = 0.0, report: Callable[[], None] = lambda: None
) -> ComposedFlows:
    """Make the composition of flows free of folds by smoothing as little of them as is needed.

    In each pass the flow around folded voxels is replaced by its local mean, until no more voxels of the composition
    than allowed fold at any corner (`jacobian.smallest_jacobian`). The smoothed region starts small and grows where
    that is not enough, until every flow is smoothed everywhere; repeated smoothing tends to a constant flow, which
    cannot fold, so the loop terminates.

    Args:
        composed: the flows and their composition.
        allowed: fraction of the voxels that may stay folded.
        report: called before every pass; it may raise to stop.

    Returns:
        As many flows, whose composition folds no more than allowed. The flows given are not changed.
    """
    composed, smallest = _with_last_flow_smoothed(composed, allowed, report)
    reach = 1
    while True:
        bad = smallest <= MARGIN
        if bad.sum() <= allowed * bad.numel():
            return composed
        report()
        reach += 1
        share = _around(bad, reach)
        composed = ComposedFlows.of([torch.lerp(flow, _local_mean(flow), share) for flow in composed.flows])
        smallest = smallest_jacobian(composed.total)[:, None]


def _with_last_flow_smoothed(
    composed: ComposedFlows, allowed: float, report: Callable[[], None]
) -> tuple[ComposedFlows, Tensor]:
    """Smooth the last flow beside folds, in `PATIENCE` passes at most.

    Only the last flow changes, so that the composition changes at the same voxels, and the determinants there and
    beside them: a few per cent of the grid.

    Returns:
        The flows, and the smallest corner determinant of their composition, `[1, 1, L, P, S]`.
    """
    flows, total = list(composed.flows), composed.total.clone()
    smallest = smallest_jacobian(total)[:, None]
    for _ in range(PATIENCE):
        bad = smallest <= MARGIN
        if bad.sum() <= allowed * bad.numel():
            break
        report()
        share = _around(bad, 1)
        voxels = _places(share > 0)
        flows[-1] = _smoothed(flows[-1], voxels, share)
        total[:, :, *voxels] = compose_all_at(flows, voxels)
        beside = _places(_dilated(share > 0))
        smallest[0, 0, *beside] = smallest_jacobian_at(total, beside)
    return ComposedFlows(flows, total), smallest


def _around(bad: Tensor, reach: int) -> Tensor:
    """Compute weights around the true voxels of `bad`: 1 less than `reach` away, 0 from `reach + 2` on."""
    for _ in range(reach):
        bad = _dilated(bad)
    return _box_sum(bad.float()).div_(27)


def _dilated(mask: Tensor) -> Tensor:
    """Add the neighbours of the true voxels, those across edges and corners too."""
    return _box_sum(mask.byte()) > 0


def _box_sum(values: Tensor) -> Tensor:
    """Sum over 3 x 3 x 3 voxels, those outside as zeros."""
    for axis in (2, 3, 4):
        inner, total = values.shape[axis] - 1, values.clone()
        total.narrow(axis, 1, inner).add_(values.narrow(axis, 0, inner))
        total.narrow(axis, 0, inner).add_(values.narrow(axis, 1, inner))
        values = total
    return values


def _places(mask: Tensor) -> Tensor:
    """Return the voxels where a mask `[1, 1, L, P, S]` is true, `[3, N]`."""
    return mask[0, 0].nonzero().t().contiguous()


def _smoothed(flow: Tensor, voxels: Tensor, share: Tensor) -> Tensor:
    """Return the flow with a share of the mean over 3 x 3 x 3 voxels at some voxels `[3, N]`."""
    last = torch.tensor(flow.shape[2:], device=flow.device)[:, None] - 1
    own = values_at(flow, voxels)
    mean = torch.zeros_like(own)
    for offset in product((-1, 0, 1), repeat=3):
        near = voxels + torch.tensor(offset, device=flow.device)[:, None]
        mean += values_at(flow, near.clamp_min_(0).minimum(last)) / 27
    smoothed = flow.clone()
    smoothed[:, :, *voxels] = own.lerp(mean, values_at(share, voxels))
    return smoothed


def _local_mean(flow: Tensor) -> Tensor:
    return F.avg_pool3d(flow, 3, stride=1, padding=1, count_include_pad=False)
