"""The flows of a pair on the canonical grid: the network's, refined, and left out where they do harm."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .flows.composed import ComposedFlows
from .flows.fold_removal import remove_folds
from .flows.refinement import refine
from .flows.self_similarity import self_similarity_distance
from .flows.similarity import LocalNCC
from .flows.warp import downsample_image, upsample_flow, warp
from .geometry.contrast import shows_tissue_as_t1
from .geometry.frame import CANONICAL_SIZE
from .geometry.gaps import gaps
from .network.devices import with_fallback
from .network.predict import predict_flows
from .network.ulaenet import ULAENet
from .network.weights import Card
from .one_person import (
    CHANGED,
    CHANGED_IN_PART,
    RIGID_ALONE,
    SHAPE_NOT_COMPARED,
    TRY_RIGID,
    differ_in_one_part,
    has_changed_shape,
)
from .placement import Placement
from .progress import NETWORK, REFINEMENT, StageClock
from .quality_measures import NCC_WINDOW
from .settings import PRESETS, RegistrationSettings
from .tensors import array_of, tensor_of

DIFFERENT_CONTRASTS = (
    "The two scans differ in contrast; they were given the intensities of T1, for which the network was trained, and "
    "the match was not refined; look at the result before you use it."
)


@dataclass(frozen=True, eq=False)
class CanonicalFlows:
    """The flows of a pair, and how they were computed.

    Attributes:
        flows: phi1, phi2, phi3 of equation 2, float32 `[1, 3, L, P, S]` in voxels of the canonical grid, on the CPU.
        total: their composition, in the same form.
        warnings: what the user should know, one sentence each.
        device, precision: where and in which type the network's convolutions ran; empty where it was not needed.
        hints, steps_left_out, rigid_alone: as `Quality` has them.
    """

    flows: list[Tensor]
    total: Tensor
    warnings: tuple[str, ...]
    device: str
    precision: str
    hints: tuple[str, ...] = ()
    steps_left_out: bool = False
    rigid_alone: bool = False


def flows_of_placed(
    placed: Placement, network: ULAENet, card: Card, settings: RegistrationSettings, clock: StageClock
) -> CanonicalFlows:
    """Compute the flows of two scans on the canonical grid, or zeros where the rigid alignment is the result.

    Args:
        placed: the two scans.
        network, card, settings, clock: as `canonical_flows` takes them.
    """
    if placed.is_result:
        return _rigid_alone((*_contrast_doubts(placed), SHAPE_NOT_COMPARED))
    found = canonical_flows(
        fixed=_tensor(placed.fixed_seen),
        moving=_tensor(placed.moving_seen),
        network=network,
        card=card,
        settings=settings,
        clock=clock,
    )
    if settings.contrast == "different":
        found = _across_contrasts(found, settings, fixed=_tensor(placed.fixed), moving=_tensor(placed.moving))
    found = replace(found, warnings=found.warnings + _contrast_doubts(placed))
    return _of_one_person(found, placed) if placed.one_person else found


def canonical_flows(
    *,
    fixed: Tensor,
    moving: Tensor,
    network: ULAENet,
    card: Card,
    settings: RegistrationSettings,
    clock: StageClock | None = None,
) -> CanonicalFlows:
    """Compute the flows of a pair by the network and, if the preset has one, by the refinement.

    Scans of different contrasts are not refined: the intensities of T1 that they were given differ from those of a T1
    scan by more than noise, which the network has learned to bear and the local NCC has not. Flows that lower the NCC
    of the two images are replaced by zeros.

    Args:
        fixed, moving: float32 `[1, 1, L, P, S]` in [0, 1] on one grid of 1 mm voxels, moving linearly aligned; with
            the intensities of T1.
        network, card: as `load_network` returns them.
        settings: preset, contrast, device, precision and the refinement's settings.
        clock: receives the progress and measures the stages; its callback may raise `Cancelled`.
    """
    clock = clock or StageClock()
    clock.begin(NETWORK)
    fixed, moving = _without_gaps(fixed=fixed, moving=moving)
    prediction = predict_flows(
        network,
        fixed=downsample_image(fixed, card.voxel_mm),
        moving=downsample_image(moving, card.voxel_mm),
        device=settings.device,
        precision=settings.precision,
        progress=clock.within,
    )
    size = fixed.shape[2:]
    predicted = ComposedFlows.of([upsample_flow(flow, card.voxel_mm, size) for flow in prediction.flows])
    kept = _unless_harmful(predicted, fixed=fixed, moving=moving)
    left_out = not kept.total.any()
    if PRESETS[settings.preset].refines and settings.contrast != "different":
        clock.begin(REFINEMENT)
        refined = _refined(kept, fixed, moving, settings, prediction.device, clock)
        kept = _unless_harmful(refined, fixed=fixed, moving=moving)
        left_out = left_out or not kept.total.any()
    return CanonicalFlows(kept.flows, kept.total, (), prediction.device, prediction.precision, steps_left_out=left_out)


def _refined(
    composed: ComposedFlows,
    fixed: Tensor,
    moving: Tensor,
    settings: RegistrationSettings,
    device: str,
    clock: StageClock,
) -> ComposedFlows:
    """Refine on CUDA where the network ran there, else on the CPU, whose operations MPS lacks in part."""

    def run(place: torch.device, _: torch.dtype) -> ComposedFlows:
        refined = refine(composed.to(place), fixed=fixed, moving=moving, settings=settings, progress=clock.within)
        return refined.to(torch.device("cpu"))

    place = torch.device("cuda" if device == "cuda" else "cpu")
    return with_fallback(run, place, None, lambda message: clock.within(0.0, message))


def _without_gaps(*, fixed: Tensor, moving: Tensor) -> tuple[Tensor, Tensor]:
    """Empty both brains where one of them lacks a part, which would be filled with what lies beside it otherwise.

    Gaps are large, so that they are looked for at every second voxel.
    """
    first, second = (array_of(image[0, 0, ::2, ::2, ::2] > 0) for image in (fixed, moving))
    lacking = gaps(first, second, voxel_mm=2.0)
    if not lacking.any():
        return fixed, moving
    for axis, size in enumerate(fixed.shape[2:]):
        lacking = lacking.repeat(2, axis).take(range(size), axis)
    shown = tensor_of(~lacking)
    return fixed * shown, moving * shown


def _unless_harmful(composed: ComposedFlows, *, fixed: Tensor, moving: Tensor) -> ComposedFlows:
    """Return the flows, or zeros if warping by their composition lowers the NCC.

    The window is that of the quality report, at every second voxel. Two scans of one person, or an image and itself,
    may match best without any flow.
    """
    ncc = LocalNCC(fixed, NCC_WINDOW, stride=2)
    return composed.zeros() if ncc(warp(moving, composed.total)) < ncc(moving) else composed


def _across_contrasts(
    found: CanonicalFlows, settings: RegistrationSettings, *, fixed: Tensor, moving: Tensor
) -> CanonicalFlows:
    """Remove folds of flows between scans of different contrasts; keep the flows only where they make the scans alike.

    They were computed on intensities that come from the template, so they are judged by a measure that has seen neither
    the template nor the network: the self-similarity of the two scans as they are.
    """
    allowed = min(PRESETS[preset].folds_allowed for preset in ("accurate", settings.preset))
    kept = remove_folds(ComposedFlows(found.flows, found.total), allowed)
    left_out = found.steps_left_out
    if self_similarity_distance(fixed, warp(moving, kept.total)) > self_similarity_distance(fixed, moving):
        kept, left_out = kept.zeros(), True
    warnings = (*found.warnings, DIFFERENT_CONTRASTS)
    return replace(found, flows=kept.flows, total=kept.total, warnings=warnings, steps_left_out=left_out)


def _of_one_person(found: CanonicalFlows, placed: Placement) -> CanonicalFlows:
    """Leave the flows out after a rigid alignment, unless the brain has changed in shape; and say what was done.

    The network has learned that two scans are two people, and moves one person's scans for differences in distortion
    too.
    """
    if placed.alignment.method != "rigid":
        return replace(found, hints=(TRY_RIGID,))
    warped = array_of(warp(_tensor(placed.moving), found.total)[0, 0])
    if has_changed_shape(placed.fixed, placed.moving, warped):
        return replace(found, hints=(CHANGED,), steps_left_out=False)
    in_part = (CHANGED_IN_PART,) if differ_in_one_part(placed.fixed, placed.moving) else ()
    return _rigid_alone(found.warnings + in_part, found.device, found.precision)


def _rigid_alone(warnings: tuple[str, ...], device: str = "", precision: str = "") -> CanonicalFlows:
    """Return flows of zeros, where a rigid alignment is the whole result."""
    nothing = torch.zeros(1, 3, *CANONICAL_SIZE)
    return CanonicalFlows([nothing] * 3, nothing, warnings, device, precision, (RIGID_ALONE,), rigid_alone=True)


def _contrast_doubts(placed: Placement) -> tuple[str, ...]:
    """Say which of two scans, taken to have one contrast, shows tissue otherwise than the network's T1."""
    if placed.both_t1 or placed.contrast == "different":
        return ()
    return tuple(
        f"The {role} image shows grey and white matter less apart than T1 scans do, so it may have another contrast, "
        f"in which less is found."
        for role, image in (("fixed", placed.fixed), ("moving", placed.moving))
        if not shows_tissue_as_t1(image)
    )


def _tensor(image: np.ndarray) -> Tensor:
    """Convert an array `[L, P, S]` to a tensor `[1, 1, L, P, S]`."""
    return tensor_of(image)[None, None]
