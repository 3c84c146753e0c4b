"""Remove folds: the last flow is smoothed around the folds of the composition until it folds no more than allowed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .jacobian import smallest_jacobian
from .similarity import window_sum
from .warp import compose_all

# Determinants of at most this count as folded here, so that rounding on another machine does not bring folds back.
MARGIN = 0.02
# Passes after which the smoothed region around the remaining folds grows with every pass, in all the flows.
PATIENCE = 8


def remove_folds(
    flows: Sequence[Tensor], allowed: float = 0.0, report: Callable[[], None] = lambda: None
) -> list[Tensor]:
    """Make the composition of flows free of folds by smoothing as little of them as is needed.

    In each pass the flow around folded voxels is replaced by its local mean, until no more voxels of the composition
    than allowed fold at any corner (`jacobian.smallest_jacobian`). The smoothed region starts small and grows where
    that is not enough, until every flow is smoothed everywhere; repeated smoothing tends to a constant flow, which
    cannot fold, so the loop terminates.

    Args:
        flows: phi1, phi2, ... of equation 2, `[1, 3, L, P, S]` in voxels.
        allowed: fraction of the voxels that may stay folded.
        report: called before every pass; it may raise to stop.

    Returns:
        As many flows, whose `compose_all` folds no more than allowed. The flows given are not changed.
    """
    flows = list(flows)
    passes = 0
    while True:
        report()
        bad = smallest_jacobian(compose_all(flows))[:, None] <= MARGIN
        if bad.sum() <= allowed * bad.numel():
            return flows
        reach = 1 + max(passes - PATIENCE, 0)
        chosen = range(len(flows)) if passes > PATIENCE else [len(flows) - 1]
        share = _around(bad.float(), reach)
        for index in chosen:
            flows[index] = torch.lerp(flows[index], _local_mean(flows[index]), share)
        passes += 1


def _around(bad: Tensor, reach: int) -> Tensor:
    """Compute weights around the voxels that are 1 in `bad`: 1 less than `reach` away, 0 from `reach + 2` on."""
    near = (window_sum(bad, 2 * reach + 1) > 0.5).float()
    return window_sum(near, 3).div_(27).clamp_max_(1)


def _local_mean(flow: Tensor) -> Tensor:
    return F.avg_pool3d(flow, 3, stride=1, padding=1, count_include_pad=False)
