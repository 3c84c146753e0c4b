"""Refinement of one pair: a residual flow, fitted to the two images, on top of the network's flows or of none.

It is greedy and compositional, as SyN is: at every step the gradients of a measure of similarity and of the warped
image give an update, which is smoothed and composed with the residual flow, from coarse grids to fine ones. The moving
image is always sampled once, through the total map. A composition of small smooth updates hardly folds; remaining folds
are removed at the end.

Smoothness is asked of the residual flow alone. The network learned from labels and knows more than the similarity does,
so its flow stays as it is where the images say little.

It may also be wrong there: between two scans of one person, or a brain and a smooth warp of it, the network's flow
slides along the edges by millimetres, which no similarity shows. So the coarse levels are fitted from the alignment
alone as well. Where that matches as well, the network's flow explains nothing that a smoother one does not, and is left
out. Between two people it does not match as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor

from ..progress import REFINEMENT, Progress, silent
from ..settings import PRESETS, RegistrationSettings
from .composed import ComposedFlows
from .fold_removal import remove_folds
from .similarity import LocalNCC, separable
from .warp import compose, resample_flow, warp

# About how far one step moves a voxel, in voxels of the level's flow grid, at the level's start and at its end. Small
# steps at the end damp oscillations and halve the number of folds.
FIRST_STEP, LAST_STEP = 0.25, 0.025
UPDATE_SIGMA = 1.0  # voxels of the level's flow grid: Gaussian smoothing of the update
DECAY_MEAN, DECAY_SQUARE = 0.9, 0.99
# Added to Adam's denominator: where the gradient is smaller, the step shrinks instead of being scaled up. In NCC of a
# window per voxel of movement; gradients are about ten times as large where brains differ.
FLOOR = 0.02
# A level stops once its last 10 steps gain less than this in NCC; if the whole level gained less, its updates are
# discarded.
PAYS, LAST_STEPS = 1e-4, 10
# A fit from the alignment alone matches as well as one from the network if what it misses of an NCC of 1, on the second
# finest level, is at most this much more. Between two people it is 4 to 5 % more, for smooth warps of a brain less.
AS_WELL = 0.01


@dataclass(frozen=True)
class Level:
    """One level of the pyramid.

    Attributes:
        image, flow: sides of the images' and of the flow's grid, as a fraction of the full grid's.
        steps: number of optimisation steps at this level, of `ITERATIONS` in all.
        window: side of the local NCC's window, voxels of the image's grid.
        stride: distance between windows, voxels of the image's grid.
        smoothness: weight of the smoothness term.
        cost: time of one step relative to one of the finest level.
    """

    image: float
    flow: float
    steps: int
    window: int
    stride: int
    smoothness: float
    cost: float


LEVELS = (
    Level(image=1 / 8, flow=1 / 8, steps=60, window=5, stride=1, smoothness=0.6, cost=0.1),
    Level(image=1 / 4, flow=1 / 4, steps=60, window=7, stride=1, smoothness=0.6, cost=0.2),
    Level(image=1 / 2, flow=1 / 2, steps=40, window=7, stride=2, smoothness=0.6, cost=1),
)
ITERATIONS = sum(level.steps for level in LEVELS)


def refine(
    composed: ComposedFlows,
    *,
    fixed: Tensor,
    moving: Tensor,
    settings: RegistrationSettings,
    progress: Progress = silent,
) -> ComposedFlows:
    """Refine the network's flows on this pair.

    The residual map `T_r` is composed into the last step, `T3' = T3 o T_r`, so that equation 2 still gives the whole
    map. Where a fit from the alignment alone matches as well, the first steps are zero and the last one is that fit.

    Args:
        composed: phi1, phi2, phi3 and their composition; zeros refine the alignment alone.
        fixed, moving: float32 `[1, 1, L, P, S]` in [0, 1], on one grid.
        settings: `preset` ("fast" changes nothing; "smooth" doubles the weight of smoothness and leaves no folded
            voxel), `refinement_iterations` (of all levels together) and `smoothness` (1 keeps the preset's own).
        progress: called before every step with the fraction done and a message; it may raise `Cancelled` to stop.

    Returns:
        As many flows on the same grid and device. The flows given are not changed.
    """
    preset = PRESETS[settings.preset]
    if not preset.refines:
        return composed
    total = composed.total
    device = total.device
    fixed, moving = fixed.to(device), moving.to(device)
    wanted = ITERATIONS if settings.refinement_iterations is None else settings.refinement_iterations
    if wanted:
        weight = preset.smoothness * settings.smoothness
        starts = [torch.zeros_like(total), total] if total.any() else [total]
        with torch.no_grad():
            start, residual = _best_fit(
                fixed, moving, starts, _steps(wanted), weight, lambda part: progress(0.9 * part, REFINEMENT.message)
            )
            *first, last = composed.flows
            if start is total:
                composed = ComposedFlows.of([*first, compose(last, residual)])
            else:
                composed = ComposedFlows([*(torch.zeros_like(flow) for flow in first), residual], residual)
    if wanted or preset.folds_allowed == 0:
        composed = remove_folds(composed, preset.folds_allowed, lambda: progress(0.9, "Removing folds"))
    progress(1.0, REFINEMENT.message)
    return composed


def _steps(wanted: int) -> list[int]:
    """Distribute the wanted number of steps over the levels, in the proportion of their own, the coarsest first."""
    ends = [0]
    for level in LEVELS:
        ends.append(ends[-1] + level.steps)
    ends = [round(end * wanted / ends[-1]) for end in ends]
    return [stop - start for start, stop in pairwise(ends)]


def _best_fit(
    fixed: Tensor,
    moving: Tensor,
    starts: Sequence[Tensor],
    steps: Sequence[int],
    smoothness: float,
    report: Callable[[float], None],
) -> tuple[Tensor, Tensor]:
    """Fit from each start on all levels but the finest, and go on from the first that matches as well as any.

    Args:
        fixed, moving: as `refine` takes them.
        starts: flows, those that are preferred first.
        steps: of each level.
        smoothness: factor on the levels' own.
        report: called before every step with the fraction done.

    Returns:
        The start, and the flow r that makes moving o T_start o T_r match fixed, on the full grid.
    """
    work = [level.cost * count for level, count in zip(LEVELS, steps, strict=True)]
    total = sum(work[:-1]) * len(starts) + work[-1]
    done = 0.0

    def advance(cost: float) -> None:
        nonlocal done
        report(done / total)
        done += cost

    fits = [(0.0, torch.zeros_like(start)) for start in starts]
    for level, count in zip(LEVELS, steps, strict=True):
        if level is LEVELS[-1]:
            missed = [1 - ncc for ncc, _ in fits]
            chosen = next(number for number in range(len(fits)) if missed[number] <= (1 + AS_WELL) * min(missed))
            starts, fits = [starts[chosen]], [fits[chosen]]
        for number, start in enumerate(starts):
            fits[number] = _fit_level(level, count, fixed, moving, start, fits[number][1], smoothness, advance)
    return starts[0], resample_flow(fits[0][1], moving.shape[2:])


def _fit_level(
    level: Level,
    count: int,
    fixed: Tensor,
    moving: Tensor,
    base: Tensor,
    residual: Tensor,
    smoothness: float,
    advance: Callable[[float], None],
) -> tuple[float, Tensor]:
    """Improve a residual flow on one level; return the NCC there and the flow on the level's grid."""
    size = moving.shape[2:]
    image_size, flow_size = _scaled(size, level.image), _scaled(size, level.flow)
    level_moving = shrink_image(moving, image_size)
    similarity = LocalNCC(shrink_image(fixed, image_size), level.window, level.stride)
    level_base = resample_flow(base, flow_size)
    start = residual = resample_flow(residual, flow_size)
    direction = _Direction()
    values = [] if count else [similarity(warp(level_moving, resample_flow(level_base, image_size))).item()]
    for step in torch.linspace(FIRST_STEP, LAST_STEP, count).tolist():
        advance(level.cost)
        flow = compose(level_base, residual)
        value, force = _force(similarity, warp(level_moving, resample_flow(flow, image_size)), flow_size)
        values.append(value)
        if len(values) > LAST_STEPS and value - values[-1 - LAST_STEPS] < PAYS:
            break
        update = step * direction(force - level.smoothness * smoothness * smoothness_gradient(residual))
        residual = compose(residual, update)
    return (values[-1], residual) if values[-1] - values[0] >= PAYS else (values[0], start)


def _force(similarity: LocalNCC, warped: Tensor, size: Sequence[int]) -> tuple[float, Tensor]:
    """Compute the NCC and its gradient for an update v in `warped(p + v(p))`, smoothed, on the flow's grid.

    Args:
        similarity: with the fixed image of this level.
        warped: the moving image warped by the flow so far, `[1, 1, l, p, s]`.
        size: of the flow's grid.
    """
    warped.requires_grad_()
    with torch.enable_grad():
        value = similarity(warped)
        (slope,) = torch.autograd.grad(value, warped)
    force = _image_gradient(warped.detach()).mul_(slope)
    ratios = [(n - 1) / (m - 1) for n, m in zip(force.shape[2:], size, strict=True)]
    matrices = [
        _gaussian(n, m, UPDATE_SIGMA * ratio, force.device)
        for n, m, ratio in zip(force.shape[2:], size, ratios, strict=True)
    ]
    # A displacement of one flow voxel is `ratio` image voxels, and moves all the image voxels around the flow voxel.
    gain = torch.tensor(ratios, device=force.device).view(1, 3, 1, 1, 1) * torch.tensor(ratios).prod().item()
    return value.item(), separable(force, matrices) * gain


def _image_gradient(image: Tensor) -> Tensor:
    """Compute central differences, `[1, 3, L, P, S]`; each is 0 on the two faces across its axis."""
    gradient = image.new_zeros(1, 3, *image.shape[2:])
    for axis in range(3):
        n = image.shape[axis + 2]
        inner = gradient[:, axis : axis + 1].narrow(axis + 2, 1, n - 2)
        torch.sub(image.narrow(axis + 2, 2, n - 2), image.narrow(axis + 2, 0, n - 2), out=inner).mul_(0.5)
    return gradient


def smoothness_gradient(flow: Tensor) -> Tensor:
    """Compute the gradient of the smoothness term: squared forward differences, mean over voxels, channels and axes."""
    gradient = torch.zeros_like(flow)
    for axis in (2, 3, 4):
        steps = flow.diff(dim=axis)
        n = steps.shape[axis]
        gradient.narrow(axis, 0, n).sub_(steps)
        gradient.narrow(axis, 1, n).add_(steps)
    return gradient.mul_(2 / (3 * flow.numel()))


class _Direction:
    """Adam's direction of ascent: the gradient's running mean over the root of its running mean square."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.square = torch.zeros(())

    def __call__(self, gradient: Tensor) -> Tensor:
        if self.count == 0:
            self.mean, self.square = torch.zeros_like(gradient), torch.zeros_like(gradient)
        self.count += 1
        self.mean.lerp_(gradient, 1 - DECAY_MEAN)
        self.square.mul_(DECAY_SQUARE).addcmul_(gradient, gradient, value=1 - DECAY_SQUARE)
        root = (self.square / (1 - DECAY_SQUARE**self.count)).sqrt_().add_(FLOOR / gradient[0, 0].numel())
        return (self.mean / (1 - DECAY_MEAN**self.count)).div_(root)


def shrink_image(image: Tensor, size: Sequence[int]) -> Tensor:
    """Resample an image `[B, C, L, P, S]` to a coarser grid of the same extent, smoothed against aliasing."""
    if tuple(image.shape[2:]) == tuple(size):
        return image
    ratios = [(n - 1) / (m - 1) for n, m in zip(image.shape[2:], size, strict=True)]
    return separable(
        image,
        [
            _gaussian(n, m, 0.45 * ratio, image.device)
            for n, m, ratio in zip(image.shape[2:], size, ratios, strict=True)
        ],
    )


@lru_cache(maxsize=64)
def _gaussian(old: int, new: int, sigma: float, device: torch.device) -> Tensor:
    """Return the matrix `[new, old]` that smooths an axis with a Gaussian (sigma in old voxels) and resamples it.

    The first and the last sample stay at the ends of the axis.
    """
    places = torch.linspace(0, old - 1, new, dtype=torch.float64)
    distances = places[:, None] - torch.arange(old, dtype=torch.float64)[None, :]
    weights = torch.exp(-0.5 * (distances / sigma) ** 2)
    # Weights too small to change a float32 sum are left out: some would be denormal numbers, with which some processors
    # multiply ten times more slowly.
    weights[weights < torch.finfo(torch.float32).eps] = 0
    return (weights / weights.sum(1, keepdim=True)).float().to(device)


def _scaled(size: Sequence[int], fraction: float) -> tuple[int, ...]:
    return tuple(max(round(n * fraction), 4) for n in size)
