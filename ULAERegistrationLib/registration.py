"""Register two brain MR scans: all stages from two volumes to one transform, in the order of execution."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from .both import for_both
from .canonical_flows import flows_of_placed
from .files.transforms import read_transform
from .files.volumes import Source, read_mask, read_volume
from .geometry.alignment import initial_matrix
from .geometry.canonical import template_brain
from .geometry.flow_warping import warp_through_flow
from .geometry.transforms import total_transform
from .network.brain_extraction import load_brain_network
from .network.devices import choose_device, choose_precision
from .network.weights import load_network
from .placement import place
from .progress import ALIGNMENT, BRAIN, FIELD, QUALITY, Progress, StageClock, silent
from .provenance import provenance_of
from .quality_measures import measure
from .result import Registration, Step
from .scan_brain import brain_likeness, cut_doubts, find_both_brains
from .settings import RegistrationSettings
from .tensors import array_sharing


def register(
    fixed: Source,
    moving: Source,
    settings: RegistrationSettings | None = None,
    fixed_mask: Source | None = None,
    moving_mask: Source | None = None,
    initial_transform: sitk.Transform | str | Path | None = None,
    progress: Progress = silent,
    **overrides: Any,
) -> Registration:
    """Register a moving brain scan to a fixed one.

    Args:
        fixed, moving: MR scans of a head or a brain: SimpleITK images or files; any orientation and spacing. The
            network is trained on T1; scans of different contrasts are given its intensities first.
        settings: how to register; None takes the defaults.
        fixed_mask, moving_mask: the brain in each scan, on that scan's grid. Where none is given and the scan shows
            more than the brain, the brain is extracted (see `RegistrationSettings.brain`).
        initial_transform: linear transform from which the alignment starts, fixed world to moving world (LPS mm).
        progress: called with the fraction done, 0 to 1, and what is being done; it may raise `Cancelled` to stop.
        **overrides: fields of `settings`, by name.

    Returns:
        The registration; nothing is written.

    Raises:
        RegistrationError: where the input cannot be registered. Settings, files, masks, the weights and the device are
            checked before anything is computed. A brain that is not found or has no mask where the settings require
            one, a scan that is nowhere brighter than its background, and too little memory are noticed later.
        Cancelled: where `progress` raises it.

    >>> registration = register("fixed.nii.gz", "moving.nii.gz", preset="fast")  # doctest: +SKIP
    >>> registration.save("result")  # doctest: +SKIP
    """
    settings = replace(settings or RegistrationSettings(), **overrides)
    fixed, moving = for_both(read_volume, (fixed, "fixed"), (moving, "moving"))
    fixed_mask = None if fixed_mask is None else read_mask(fixed_mask, fixed, "fixed")
    moving_mask = None if moving_mask is None else read_mask(moving_mask, moving, "moving")
    if isinstance(initial_transform, (str, Path)):
        initial_transform = read_transform(initial_transform)
    if initial_transform is not None:
        initial_matrix(initial_transform)  # which refuses what the alignment cannot start from
    given = {"fixed": fixed, "moving": moving, "fixed_mask": fixed_mask, "moving_mask": moving_mask}
    network, card = load_network(settings.model)
    if settings.brain != "skip" and (fixed_mask is None or moving_mask is None):
        load_brain_network()  # which keeps it for `extract_brain`
    choose_precision(choose_device(settings.device), settings.precision)
    clock = StageClock(progress)

    clock.begin(BRAIN)
    fixed_brain, moving_brain = find_both_brains((fixed, moving), (fixed_mask, moving_mask), settings)

    clock.begin(ALIGNMENT)
    masks = (fixed_brain.shown, moving_brain.shown)
    placed = place((fixed, moving), masks, settings, initial_transform, clock.within)
    settings = replace(settings, contrast=placed.contrast)

    found = flows_of_placed(placed, network, card, settings, clock)

    clock.begin(QUALITY)
    alignment, brain = placed.alignment, placed.fixed > 0
    flows, total = tuple(array_sharing(flow[0]) for flow in found.flows), array_sharing(found.total[0])
    fixed_cuts, moving_cuts = for_both(
        cut_doubts,
        (fixed_brain, alignment.fixed_to_canonical, "fixed"),
        (moving_brain, alignment.moving_to_canonical, "moving"),
    )
    doubts = (*fixed_brain.doubts, *moving_brain.doubts, *fixed_cuts, *moving_cuts)
    likenesses = for_both(
        brain_likeness,
        (placed.fixed, fixed_brain, alignment.fixed_to_canonical),
        (placed.moving, moving_brain, alignment.moving_to_canonical),
    )
    quality = measure(
        placed.fixed_seen,
        placed.moving_seen,
        total,
        brain,
        alignment,
        warnings=doubts + alignment.warnings + found.warnings,
        likenesses=likenesses,
        hints=found.hints,
        expected=template_brain(),
        moving_brain=placed.moving > 0,
    )
    quality = replace(quality, steps_left_out=found.steps_left_out, rigid_alone=found.rigid_alone)

    clock.begin(FIELD)
    warped = warp_through_flow(moving, fixed, total, alignment)
    clock.within(0.7, "Composing the transform")
    transform = total_transform(total, alignment)
    steps = tuple(Step(flows[:count], alignment, fixed, moving) for count in range(1, len(flows)))
    last = Step(flows, alignment, fixed, moving, total, warped)
    clock.end()
    quality = replace(quality, seconds=clock.seconds)
    return Registration(
        fixed=fixed,
        moving=moving,
        fixed_mask=fixed_brain.mask,
        moving_mask=moving_brain.mask,
        moving_brain=moving_brain.shown,
        alignment=alignment,
        steps=(*steps, last),
        flow=total,
        fixed_canonical=placed.fixed,
        moving_canonical=placed.moving,
        brain=brain,
        transform=transform,
        warped=warped,
        quality=quality,
        settings=settings,
        card=card,
        provenance=provenance_of(given, initial_transform, settings, card, found.device, found.precision),
    )
