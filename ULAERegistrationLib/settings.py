"""What a registration can be asked to do, checked when it is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from .errors import RegistrationError

PresetName = Literal["fast", "accurate", "smooth"]
AlignmentMethod = Literal["affine", "rigid", "centre", "none"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
ALIGNMENTS: tuple[AlignmentMethod, ...] = get_args(AlignmentMethod)
DEVICES: tuple[Device, ...] = get_args(Device)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True)
class Preset:
    """What a preset means; the panel, the command line and the refinement all read it here.

    Attributes:
        refines: whether the network's answer is refined on the pair.
        smoothness: weight of the refinement's smoothness term, times each level's own.
        folds_allowed: share of the grid's voxels that may stay folded after the refinement, any corner counted.
        summary: what it does, in a sentence.
        cost: what it takes, in a sentence.
    """

    refines: bool
    smoothness: float
    folds_allowed: float
    summary: str
    cost: str


PRESETS: dict[PresetName, Preset] = {
    "fast": Preset(
        refines=False,
        smoothness=1.0,
        folds_allowed=1.0,
        summary="The network alone: it hardly folds.",
        cost="The quickest preset: no refinement is computed.",
    ),
    "accurate": Preset(
        refines=True,
        smoothness=1.0,
        folds_allowed=0.001,
        summary="The network's answer, refined on the pair: the best match.",
        cost="Several times the time of the preset fast.",
    ),
    "smooth": Preset(
        refines=True,
        smoothness=2.0,
        folds_allowed=0.0,
        summary="As accurate, twice as smooth, and without a single fold.",
        cost="A little more time than the preset accurate, as folds are removed in the end.",
    ),
}


@dataclass(frozen=True, kw_only=True)
class RegistrationSettings:
    """How to register one pair.

    Attributes:
        preset: "fast", "accurate" or "smooth"; `PRESETS` says what each does.
        alignment: what finds the linear part first: "affine", "rigid", "centre" (of the brains' mass) or "none", when
            the two images already share a frame.
        device: where the network runs; "auto" takes CUDA where there is one, then MPS, then the CPU.
        precision: of the convolutions; flows and coordinates are always float32. "auto" takes half precision where the
            processor or GPU computes it by itself and agrees with float32.
        model: a weights file (.safetensors); None takes the shipped weights.
        refinement_iterations: most optimisation steps of the refinement; None takes the preset's own number.
        smoothness: weight of the smoothness term in the refinement (the paper's lambda, equation 5).
        field_spacing: spacing of the stored displacement field, mm.

    Raises:
        RegistrationError: for a value outside these, naming the choices.
    """

    preset: PresetName = "accurate"
    alignment: AlignmentMethod = "affine"
    device: Device = "auto"
    precision: Precision = "auto"
    model: str | None = None
    refinement_iterations: int | None = None
    smoothness: float = 1.0
    field_spacing: float = 1.0

    def __post_init__(self) -> None:
        for name, choices in (
            ("preset", PRESETS),
            ("alignment", ALIGNMENTS),
            ("device", DEVICES),
            ("precision", PRECISIONS),
        ):
            value = getattr(self, name)
            if value not in choices:
                raise RegistrationError(f"{name} {value!r} is not known; choose one of {', '.join(choices)}.")
        if self.refinement_iterations is not None and self.refinement_iterations < 0:
            raise RegistrationError(f"refinement_iterations is {self.refinement_iterations}; give 0 or more.")
        if not self.smoothness >= 0:
            raise RegistrationError(f"smoothness is {self.smoothness}; give 0 or more.")
        if not 0.5 <= self.field_spacing <= 5:
            raise RegistrationError(f"field_spacing is {self.field_spacing} mm; give a spacing of 0.5 to 5 mm.")
