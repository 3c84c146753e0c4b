"""Measure a registration on the canonical grid: similarity, folding, displacement, and what one brain lacks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .errors import RegistrationError
from .flows.jacobian import jacobian_and_smallest
from .flows.similarity import ncc_maps
from .flows.warp import warp
from .geometry.alignment import Alignment
from .geometry.gaps import unshared_parts
from .geometry.likeness import Likeness
from .quality import Quality
from .tensors import array_of, tensor_of, tensor_sharing

# Window of the reported local correlation: the middle one of the three the network is trained with (equation 3).
NCC_WINDOW = 9
# Share of brain, or intensity of 1, below which a voxel of the warped brain counts as empty: half a grey level of an
# 8-bit image.
EMPTY = 0.002


def measure(
    fixed: np.ndarray,
    moving: np.ndarray,
    flow: np.ndarray,
    fixed_brain: np.ndarray,
    alignment: Alignment | None = None,
    warnings: Sequence[str] = (),
    likenesses: tuple[Likeness, Likeness] | tuple[None, None] = (None, None),
    hints: Sequence[str] = (),
    expected: np.ndarray | None = None,
    moving_brain: np.ndarray | None = None,
) -> Quality:
    """Measure the quality of a flow.

    Args:
        fixed, moving: the images on the canonical grid, float32 [L, P, S] in [0, 1]; moving linearly aligned.
        flow: the composed flow, float32 [3, L, P, S], voxels (1 mm) of that grid.
        fixed_brain: the fixed brain, bool [L, P, S].
        alignment: converts displacements to the fixed image's millimetres; None leaves them in the canonical grid's.
        warnings: of earlier stages, one sentence each.
        likenesses: of the fixed and of the moving brain to the template; None where they were not measured.
        hints: what the user should know besides, one sentence each.
        expected: the template's brain, bool [L, P, S]. What either image shows beyond it, as a neck that was left in
            stripping, needs no counterpart; None asks for one everywhere.
        moving_brain: the moving brain, bool [L, P, S], linearly aligned; None takes what `moving` shows.

    Raises:
        RegistrationError: for a flow with values that are not finite, or an empty `fixed_brain`.
    """
    if not np.isfinite(flow).all():
        raise RegistrationError("The flow holds values that are not numbers; register again with precision float32.")
    if not fixed_brain.any():
        raise RegistrationError("The fixed image shows no brain on the network's grid; check its mask and alignment.")
    fixed_, moving_, flow_ = _tensor(fixed)[None], _tensor(moving)[None], _tensor(flow)
    inside = tensor_of(fixed_brain)
    with torch.inference_mode():
        moving_brain_ = moving_ if moving_brain is None else _tensor(moving_brain)[None]
        warped_, shown = warp(torch.cat([moving_, moving_brain_], 1), flow_).split(1, 1)
        before, after = (found[0, 0] for found in ncc_maps(fixed_, moving_, warped_, window=NCC_WINDOW))
        determinant, smallest = (found[0] for found in jacobian_and_smallest(flow_))
        folds = smallest <= 0
        in_brain = determinant[inside]
        share = inside / inside.sum()  # of the brain, what one voxel is
        displacement = displacement_mm(flow[:, fixed_brain], alignment)
        missing, beyond = _unshared_percent(fixed_brain, array_of(shown[0, 0]) >= EMPTY, expected)
        return Quality(
            ncc_before=(before * share).sum().item(),
            ncc_after=(after * share).sum().item(),
            ncc_all_before=before.mean().item(),
            ncc_all_after=after.mean().item(),
            mse_before=(moving_ - fixed_).square().mean().item(),
            mse_after=(warped_ - fixed_).square().mean().item(),
            folded_voxels=int(folds.sum()),
            folded_percent=_percent(folds),
            folded_percent_brain=100 * (folds * share).sum().item(),
            jacobian_min=determinant.min().item(),
            jacobian_max=determinant.max().item(),
            log_jacobian_sd=in_brain[in_brain > 0].log().std().item(),
            displacement_mean_mm=displacement.mean().item(),
            displacement_max_mm=displacement.max().item(),
            missing_percent=missing,
            beyond_percent=beyond,
            fixed_likeness=likenesses[0],
            moving_likeness=likenesses[1],
            warnings=tuple(warnings),
            hints=tuple(hints),
        )


def displacement_mm(flow: np.ndarray, alignment: Alignment | None = None) -> np.ndarray:
    """Compute the lengths of a flow's displacements.

    Args:
        flow: float32 [3, ...], voxels (1 mm) of the canonical grid.
        alignment: converts them to the fixed image's millimetres; None leaves them in the canonical grid's.

    Returns:
        float32 [...], mm.
    """
    if alignment is not None:
        back = alignment.fixed_to_canonical.GetInverse()
        columns = [back.TransformVector(axis, (0.0, 0.0, 0.0)) for axis in np.eye(3).tolist()]
        flow = np.tensordot(np.array(columns, np.float32).T, flow, axes=1)
    return np.linalg.norm(flow, axis=0)


def _unshared_percent(
    fixed_brain: np.ndarray, warped_brain: np.ndarray, expected: np.ndarray | None
) -> tuple[float, float]:
    """Compute the percentage of either brain in parts that the other lacks, at every second voxel."""
    first, second = fixed_brain[::2, ::2, ::2], warped_brain[::2, ::2, ::2]
    within = None if expected is None else expected[::2, ::2, ::2]
    missing, beyond = (int(part.sum()) for part in unshared_parts(first, second, voxel_mm=2.0, within=within))
    return 100 * missing / max(int(first.sum()), 1), 100 * beyond / max(int(second.sum()), 1)


def _percent(mask: Tensor) -> float:
    return 100 * mask.float().mean().item()


def _tensor(array: np.ndarray) -> Tensor:
    return tensor_sharing(np.require(array, np.float32, ["C_CONTIGUOUS", "WRITEABLE"]))[None]
