"""Register two brain MR scans: the whole way from two volumes to one transform, in the order it is gone."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from .alignment import Alignment, align, sample_on_canonical
from .field import (
    chain_transform,
    displacement_field,
    inverse,
    inverse_error,
    read_transform,
    resample,
    step_transform,
)
from .flows import compose_all, grown, shrunk, warp
from .images import Source, brain_mask, check_output_folder, read_labels, read_mask, read_volume
from .inference import predict_flows
from .network import ULAENet
from .quality import NCC_WINDOW, Quality, measure
from .refinement import refine
from .settings import RegistrationSettings
from .similarity import LocalNCC
from .weights import Card, load_network

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Step:
    """One accumulative step of the network (paper section 2.3); the last one holds the refinement too.

    Attributes:
        name: "phi1", "phi2", "phi3".
        flow: what this step adds, float32 `[3, L, P, S]`, voxels of the canonical grid.
        flows: this step's flow and those before it, first step first.
    """

    name: str
    flow: np.ndarray = field(repr=False)
    flows: tuple[np.ndarray, ...] = field(repr=False)
    alignment: Alignment = field(repr=False)
    fixed: sitk.Image = field(repr=False)
    moving: sitk.Image = field(repr=False)

    @cached_property
    def transform(self) -> sitk.Transform:
        """This step alone, fixed world to fixed world (LPS mm): A_f^-1 o T_i o A_f."""
        return step_transform(self.flow, self.alignment)

    @cached_property
    def cumulative_transform(self) -> sitk.Transform:
        """All steps so far with the alignment, fixed world to moving world (LPS mm), as an exact chain."""
        return chain_transform(self.flows, self.alignment)

    @cached_property
    def warped(self) -> sitk.Image:
        """The original moving image on the fixed grid after the steps so far: M1, M2, W of the paper's figure 3."""
        return resample(self.moving, self.fixed, self.cumulative_transform)


@dataclass(frozen=True)
class Registration:
    """A finished registration.

    Attributes:
        fixed, moving: the images as given, and the moving image's mask if one was.
        alignment: where both lie in the canonical frame.
        steps: the three accumulative steps.
        flow: their composition (equation 2), float32 `[3, L, P, S]`, voxels of the canonical grid.
        fixed_canonical, moving_canonical: what the network saw, float32 `[L, P, S]` in [0, 1]; the moving image after
            the alignment alone.
        brain: the fixed image's brain on the canonical grid, bool `[L, P, S]`.
        transform: fixed world to moving world (LPS mm), one displacement field over the whole fixed image.
        warped: the original moving image sampled once through `transform`, on the fixed grid, in its own pixel type.
        quality: measures of the result.
        settings: what was asked for.
        model: the weights' name and licence.
    """

    fixed: sitk.Image = field(repr=False)
    moving: sitk.Image = field(repr=False)
    moving_mask: sitk.Image | None = field(repr=False)
    alignment: Alignment = field(repr=False)
    steps: tuple[Step, ...] = field(repr=False)
    flow: np.ndarray = field(repr=False)
    fixed_canonical: np.ndarray = field(repr=False)
    moving_canonical: np.ndarray = field(repr=False)
    brain: np.ndarray = field(repr=False)
    transform: sitk.DisplacementFieldTransform = field(repr=False)
    warped: sitk.Image = field(repr=False)
    quality: Quality
    settings: RegistrationSettings
    model: Card

    @cached_property
    def aligned(self) -> sitk.Image:
        """The original moving image on the fixed grid after the linear alignment alone."""
        return resample(self.moving, self.fixed, self.alignment.fixed_to_moving)

    def inverse_transform(self) -> sitk.Transform:
        """Moving world to fixed world (LPS mm), found by fixed-point iteration over the moving image."""
        return self._inverse

    def with_inverse_measured(self) -> Registration:
        """The same registration whose `quality` also says how far the inverse is off, over the moving brain."""
        mask = brain_mask(self.moving) if self.moving_mask is None else self.moving_mask
        errors = inverse_error(self.transform, self.inverse_transform(), mask)
        return dataclasses.replace(self, quality=self.quality.with_inverse_errors(errors))

    @cached_property
    def _inverse(self) -> sitk.Transform:
        return inverse(self.transform, self.moving)

    def warp_labels(self, labels: Source) -> sitk.Image:
        """A label map of the moving image on the fixed grid, nearest neighbour.

        Raises:
            RegistrationError: where it is no label map on the moving image's grid.
        """
        return resample(read_labels(labels, self.moving, "moving"), self.fixed, self.transform, labels=True)

    def save(self, folder: str | Path) -> None:
        """Write `transform.h5`, `warped.nii.gz`, `steps/`, `quality.json`, pictures and `report.html` to a folder.

        Raises:
            RegistrationError: where the folder cannot be written; nothing has been written then.
        """
        from .saving import save

        save(self, check_output_folder(folder))


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


class Stages:
    """Tells the caller where the registration is, and keeps the time of each stage."""

    def __init__(self, progress: Progress | None) -> None:
        self.report: Progress = progress or (lambda fraction, message: None)
        self.seconds: dict[str, float] = {}
        self._name, self._began = "", time.monotonic()

    def begin(self, name: str, fraction: float, message: str) -> None:
        self.report(fraction, message)
        self._note()
        self._name, self._began = name, time.monotonic()

    def end(self) -> None:
        self._note()
        self._name = ""
        self.report(1.0, "Done")

    def within(self, start: float, stop: float) -> Progress:
        """A progress callback for a part of the way."""
        return lambda fraction, message: self.report(start + (stop - start) * fraction, message)

    def _note(self) -> None:
        if self._name:
            self.seconds[self._name] = round(time.monotonic() - self._began, 2)
