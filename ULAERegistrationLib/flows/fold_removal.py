"""Remove folds from flows: the last flow is smoothed, only where their composition folds, until it folds no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .jacobian import smallest_jacobian
from .similarity import window_sum
from .warp import compose_all

# Determinants this small count as folded here, so that float rounding on another machine cannot make them so.
MARGIN = 0.02
# Passes after which the region around what still folds grows with every pass, and takes in all the flows.
PATIENCE = 8


def remove_folds(
    flows: Sequence[Tensor], allowed: float = 0.0, report: Callable[[], None] = lambda: None
) -> list[Tensor]:
    """Make the composition of flows free of folds, changing as little as it takes.

    A folded voxel's neighbourhood is pulled towards its local mean, measured again, and so on until no more voxels of
    the composition than allowed fold at any corner (`jacobian.smallest_jacobian`). The neighbourhood starts small and
    grows where that is not enough, until every flow is smoothed everywhere; repeated smoothing tends to a constant
    flow, which cannot fold, so the loop terminates.

    Args:
        flows: phi1, phi2, ... of equation 2, `[1, 3, L, P, S]` in voxels.
        allowed: share of the voxels that may stay folded.
        report: called before every pass; what it raises ends the work.

    Returns:
        As many flows, whose `compose_all` folds no more than allowed. Those given are left as they were.
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
    """1 within `reach` voxels of what is bad, falling to 0 over two more."""
    near = (window_sum(bad, 2 * reach + 1) > 0.5).float()
    return window_sum(near, 3).div_(27).clamp_max_(1)


def _local_mean(flow: Tensor) -> Tensor:
    return F.avg_pool3d(flow, 3, stride=1, padding=1, count_include_pad=False)
