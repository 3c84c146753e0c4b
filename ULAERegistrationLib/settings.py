"""What a registration can be asked to do, checked when it is asked."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import RegistrationError

PRESETS = ("fast", "accurate", "smooth")
ALIGNMENTS = ("affine", "rigid", "centre", "none")
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True)
class RegistrationSettings:
    """How to register one pair.

    Attributes:
        preset: "fast" is the network alone; "accurate" adds refinement of this pair; "smooth" is "accurate" with no
            folded voxel in the result.
        alignment: what finds the linear part first: "affine", "rigid", "centre" (of the brains' mass) or "none", when
            the two images already share a frame.
        device: where the network runs; "auto" takes CUDA where there is one, then MPS, then the CPU.
        precision: of the convolutions; flows and coordinates are always float32. "auto" picks the fastest that agrees
            with float32 on this machine.
        model: a weights file (.safetensors); None takes the shipped weights.
        refinement_iterations: most optimisation steps of the refinement; None takes the preset's own number.
        smoothness: weight of the smoothness term in the refinement (the paper's lambda, equation 5).
        field_spacing: spacing of the stored displacement field, mm.

    Raises:
        RegistrationError: for a value outside these, naming the choices.
    """

    preset: str = "accurate"
    alignment: str = "affine"
    device: str = "auto"
    precision: str = "auto"
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
