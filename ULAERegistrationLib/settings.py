"""The presets and settings of a registration; settings are checked when they are created."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from .errors import RegistrationError

PresetName = Literal["fast", "accurate", "smooth"]
AlignmentMethod = Literal["affine", "rigid", "centre", "none"]
AlignmentChoice = Literal["auto", "affine", "rigid", "centre", "none"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
BrainChoice = Literal["auto", "given", "skip"]
Contrast = Literal["auto", "same", "different"]
ALIGNMENTS: tuple[AlignmentChoice, ...] = get_args(AlignmentChoice)
DEVICES: tuple[Device, ...] = get_args(Device)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
BRAIN_CHOICES: tuple[BrainChoice, ...] = get_args(BrainChoice)
CONTRASTS: tuple[Contrast, ...] = get_args(Contrast)


@dataclass(frozen=True)
class Preset:
    """A preset, defined here for the command line and the refinement alike.

    Attributes:
        summary: what it does, in a sentence.
        refines: whether the network's flows are refined on the pair.
        smoothness: factor on the weight of the smoothness term in every level of the refinement.
        folds_allowed: fraction of the grid's voxels that may stay folded after the refinement. A voxel counts as
            folded where any of its corner determinants is (see `flows.jacobian`).
    """

    summary: str
    refines: bool = True
    smoothness: float = 1.0
    folds_allowed: float = 1.0


PRESETS: dict[PresetName, Preset] = {
    "fast": Preset("The network alone, the quickest: it hardly folds.", refines=False),
    "accurate": Preset("The network's answer, refined on the pair: the best match.", folds_allowed=0.001),
    "smooth": Preset("As accurate, but smoother, and without a single fold.", smoothness=2.0, folds_allowed=0.0),
}


@dataclass(frozen=True, kw_only=True)
class RegistrationSettings:
    """How to register one pair.

    Attributes:
        preset: "fast", "accurate" or "smooth" (see `PRESETS`).
        brain: what happens if a scan shows more than the brain and no mask is given: "auto" extracts the brain,
            "given" refuses the scan, "skip" takes it as it is.
        alignment: how the linear part is found: "affine" or "rigid" search, "centre" (the centres of mass are made to
            coincide), or "none", if the two images already share a frame; "auto" is "rigid" for two scans that look
            like one person's and "affine" for all others. Of one person's scans, a rigid alignment is the whole result,
            unless two T1 scans show that the brain has changed in shape.
        contrast: whether the two scans have the "same" contrast, for which the network was trained, or a "different"
            one, which are then given the intensities of T1 and not refined; "auto" recognises it. Whether one person's
            brain has changed in shape is told only of two scans that have the same contrast and show tissue as T1 does.
        device: where the network runs; "auto" takes CUDA if it is available, then MPS, then the CPU.
        precision: number type of the convolutions; flows and coordinates are always float32. "auto" takes half
            precision where the processor or GPU has it in hardware and its results agree with float32.
        model: a weights file (.safetensors); None takes the shipped weights.
        refinement_iterations: maximum number of optimisation steps of the refinement; None takes its default.
        smoothness: factor on the weight of the refinement's smoothness term (the paper's lambda, equation 5); 1 keeps
            the preset's own.
        field_spacing: spacing of `Registration.displacement_field()`, which Slicer's node holds, 0.5 to 5 mm.

    Raises:
        RegistrationError: for a value that is not allowed; the message names those that are.
    """

    preset: PresetName = "accurate"
    brain: BrainChoice = "auto"
    alignment: AlignmentChoice = "auto"
    contrast: Contrast = "auto"
    device: Device = "auto"
    precision: Precision = "auto"
    model: str | None = None
    refinement_iterations: int | None = None
    smoothness: float = 1.0
    field_spacing: float = 1.0

    def __post_init__(self) -> None:
        for name, choices in (
            ("preset", PRESETS),
            ("brain", BRAIN_CHOICES),
            ("alignment", ALIGNMENTS),
            ("contrast", CONTRASTS),
            ("device", DEVICES),
            ("precision", PRECISIONS),
        ):
            value = getattr(self, name)
            if value not in choices:
                raise RegistrationError(f"{name} {value!r} is not known; choose one of {', '.join(choices)}.")
        if self.refinement_iterations is not None and self.refinement_iterations < 0:
            raise RegistrationError(f"refinement_iterations is {self.refinement_iterations}; give 0 or more.")
        if not 0 <= self.smoothness < math.inf:
            raise RegistrationError(f"smoothness is {self.smoothness}; give 0 or more.")
        if not 0.5 <= self.field_spacing <= 5:
            raise RegistrationError(f"field_spacing is {self.field_spacing} mm; give a spacing of 0.5 to 5 mm.")
