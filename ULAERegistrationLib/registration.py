"""Register two brain MR scans: the whole way from two volumes to one transform, in the order it is gone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from .files.transforms import read_transform
from .files.volumes import Source, read_mask, read_volume
from .flows.refinement import refine
from .flows.similarity import LocalNCC
from .flows.warp import compose_all, grown, shrunk, warp
from .geometry.alignment import align
from .geometry.canonical import sample_on_canonical
from .geometry.resampling import resample
from .geometry.transforms import chain_transform, displacement_field
from .network.predict import predict_flows
from .network.ulaenet import ULAENet
from .network.weights import Card, load_network
from .progress import Progress, Stages
from .quality import NCC_WINDOW, measure
from .result import Registration, Step
from .settings import RegistrationSettings


def register(
    fixed: Source,
    moving: Source,
    settings: RegistrationSettings | None = None,
    fixed_mask: Source | None = None,
    moving_mask: Source | None = None,
    initial_transform: sitk.Transform | str | Path | None = None,
    progress: Progress | None = None,
    **overrides: Any,
) -> Registration:
    """Register a moving brain scan to a fixed one.

    Args:
        fixed, moving: T1 brain scans, best skull-stripped: SimpleITK images or files; any orientation and spacing.
        settings: how; None takes the defaults.
        fixed_mask, moving_mask: the brain in each, on the same grid; needed where the skull is still there.
        initial_transform: where the alignment starts, fixed world to moving world (LPS mm).
        progress: called with the fraction done, 0 to 1, and what is being done; raising `Cancelled` in it stops.
        **overrides: fields of `settings`, by name.

    Returns:
        The registration; nothing is written.

    Raises:
        RegistrationError: where the input cannot be registered, before anything is computed.

    >>> registration = register("fixed.nii.gz", "moving.nii.gz", preset="fast")  # doctest: +SKIP
    >>> registration.save("result")  # doctest: +SKIP
    """
    settings = dataclasses.replace(settings or RegistrationSettings(), **overrides)
    fixed, moving = read_volume(fixed, "fixed"), read_volume(moving, "moving")
    fixed_mask = None if fixed_mask is None else read_mask(fixed_mask, fixed, "fixed")
    moving_mask = None if moving_mask is None else read_mask(moving_mask, moving, "moving")
    if isinstance(initial_transform, (str, Path)):
        initial_transform = read_transform(initial_transform)
    network, card = load_network(settings.model)
    stages = Stages(progress)

    stages.begin("alignment", 0.0, "Aligning the brains")
    alignment = align(
        fixed, moving, settings.alignment, fixed_mask, moving_mask, initial_transform, stages.within(0.0, 0.2)
    )
    fixed_canonical = sample_on_canonical(fixed, alignment.fixed_to_canonical, fixed_mask)
    moving_canonical = sample_on_canonical(moving, alignment.moving_to_canonical, moving_mask)
    brain = fixed_canonical > 0

    flows, left_out = canonical_flows(
        _tensor(moving_canonical), _tensor(fixed_canonical), network, card, settings, stages
    )
    warnings = alignment.warnings + left_out

    stages.begin("field", 0.85, "Composing the transform")
    arrays = [flow[0].numpy() for flow in flows]
    transform = displacement_field(chain_transform(arrays, alignment), fixed, settings.field_spacing)
    stages.report(0.9, "Warping the moving image")
    warped = resample(moving, fixed, transform)

    stages.begin("quality", 0.95, "Measuring the result")
    flow = compose_all(flows)[0].numpy()
    quality = measure(fixed_canonical, moving_canonical, flow, brain, alignment, stages.seconds, warnings)
    steps = tuple(
        Step(f"phi{i}", arrays[i - 1], tuple(arrays[:i]), alignment, fixed, moving) for i in range(1, len(arrays) + 1)
    )
    stages.end()
    quality = dataclasses.replace(quality, seconds=stages.seconds)
    return Registration(
        fixed=fixed,
        moving=moving,
        moving_mask=moving_mask,
        alignment=alignment,
        steps=steps,
        flow=flow,
        fixed_canonical=fixed_canonical,
        moving_canonical=moving_canonical,
        brain=brain,
        transform=transform,
        warped=warped,
        quality=quality,
        settings=settings,
        model=card,
    )


def canonical_flows(
    moving: Tensor,
    fixed: Tensor,
    network: ULAENet,
    card: Card,
    settings: RegistrationSettings,
    stages: Stages | None = None,
) -> tuple[list[Tensor], tuple[str, ...]]:
    """What the steps between alignment and transform find: the network's flows, left out where they harm, refined.

    Args:
        moving, fixed: float32 `[1, 1, L, P, S]` in [0, 1] on one grid, moving linearly aligned.
        network, card: as `load_network` gives them.
        settings: preset, device, precision and those of the refinement are used.
        stages: told where it is; may stop it.

    Returns:
        phi1, phi2, phi3 of equation 2, float32 `[1, 3, L, P, S]` in voxels of the grid, on the CPU; and what the user
        should know, one sentence each.
    """
    stages = stages or Stages(None)
    stages.begin("network", 0.2, "Starting the network")
    found = predict_flows(
        network,
        *(shrunk(image, card.shrink) for image in (moving, fixed)),
        settings.device,
        settings.precision,
        stages.within(0.2, 0.45),
    )
    flows = _unless_harmful(moving, fixed, [grown(flow, card.shrink, fixed.shape[2:]) for flow in found])
    warnings: tuple[str, ...] = ()
    if not any(flow.any() for flow in flows):
        warnings = ("The brains matched better before the network than after it, so its steps were left out.",)
    if settings.preset != "fast":
        stages.begin("refinement", 0.45, "Refining this pair")
        refined = refine(moving, fixed, flows, settings, progress=stages.within(0.45, 0.85))
        flows = _unless_harmful(moving, fixed, refined)
    return flows, warnings


def _unless_harmful(moving: Tensor, fixed: Tensor, flows: list[Tensor]) -> list[Tensor]:
    """The flows, or zeros where they make two images correlate less than they did, in windows as quality reports them.

    Two scans of one person, or one image twice: what is already in place must not be moved by a guess.
    """
    ncc = LocalNCC(fixed, NCC_WINDOW)
    if ncc(warp(moving, compose_all(flows))) < ncc(moving):
        return [torch.zeros_like(flow) for flow in flows]
    return flows


def _tensor(image: np.ndarray) -> Tensor:
    """`[L, P, S]` as `[1, 1, L, P, S]`."""
    return torch.from_numpy(np.ascontiguousarray(image))[None, None]
