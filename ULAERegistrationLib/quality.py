"""The verdict on a registration and its reasons: the rule, and the measures that it looks at.

The measures are made by `quality_measures.py`. docs/verdict.md says how the limits were found, and how far to trust it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from .geometry.likeness import Likeness

# NCC of two T1 brains: .13 where they are 8 mm apart, .23 to .28 after a good affine alignment; registered .72 and
# more, .69 and more of whole heads of 2 mm, .61 with noise of 15 % of white matter.
NCC_WEAK = 0.5
NCC_NONE = 0.15
# NCC after the alignment alone, which no network has raised: brains that belong together have .2 and more.
NCC_BEFORE_LOW = 0.16
# Loss that interpolation alone may cause where two images match before the registration.
NCC_LOSS = 0.02
# Percent of the brain's voxels. Published methods fold up to 1 % of the whole grid, about 3 % of the brain.
FOLDING_NOTABLE = 1.0
FOLDING_BAD = 5.0
# Homologous points of two adult brains are hardly this far apart after an affine alignment: in right pairs at most 27.
DISPLACEMENT_LARGE_MM = 30.0
# One voxel of the canonical grid: a larger error maps a point to another voxel.
INVERSE_ERROR_MM = 1.0
# Percent of one brain in parts that the other lacks; right pairs of whole brains have .18 at most.
MISSING_NOTABLE = 0.5
# Likeness to the template that whole T1 brains reach, whatever their scanner (see docs/verdict.md).
LIKENESS_LOW = 0.69
OVERLAP_LOW = 0.91
# The same for coarse scans, which are as smooth as the template: at 5 mm whole brains have .82 and more, and brains
# that are mirrored or lack a third up to .72.
COARSE_MM = 3.0
LIKENESS_LOW_COARSE = 0.78
# Of 82 people none has less, and of their mirror images all have, each measured by what the others taught.
HANDEDNESS_LOW = 0.0

STEPS_LEFT_OUT = "The brains matched better before the network than after it, so its steps were left out."

Verdict = Literal["good", "look at it", "do not use"]
GOOD: Verdict = "good"
LOOK: Verdict = "look at it"
DO_NOT_USE: Verdict = "do not use"


@dataclass(frozen=True, kw_only=True)
class Quality:
    """The measures of one registration; "before" means after the linear alignment alone.

    Attributes:
        ncc_before, ncc_after: mean squared local correlation (window 9) inside the fixed brain, 0 to 1.
        ncc_all_before, ncc_all_after: the same over the whole canonical grid, as the paper's equation 3 has it.
        mse_before, mse_after: mean squared difference over the canonical grid, intensities in [0, 1].
        folded_voxels, folded_percent: voxels of the canonical grid that fold at any corner (see `flows.jacobian`).
        folded_percent_brain: percentage of the fixed brain's voxels that fold at any corner.
        jacobian_min, jacobian_max: range of the central-difference determinant over the canonical grid.
        log_jacobian_sd: standard deviation of its natural logarithm inside the brain, where it is positive.
        displacement_mean_mm, displacement_max_mm: length of the non-linear displacement inside the fixed brain, in the
            fixed image's millimetres.
        missing_percent: percentage of the fixed brain in parts that the warped moving image lacks, each 8 mm thick or
            more (see `geometry.gaps.unshared_parts`).
        beyond_percent: percentage of the warped moving brain in such parts that the fixed image lacks.
        fixed_likeness, moving_likeness: how much each brain, linearly aligned, is like the template; None where that
            was not measured, and then no verdict is "good".
        inverse_mean_mm, inverse_p99_mm, inverse_max_mm: distance between points of the moving brain and their images
            under the inverse followed by the transform; None until the inverse has been computed.
        seconds: duration of each stage by name, in order.
        warnings: what earlier stages report to the user, one sentence each.
        hints: what the user should know besides, which speaks neither for nor against the result.
        steps_left_out: whether the network's steps were left out, as the brains matched better without them.
        rigid_alone: whether a rigid alignment is the whole result, as the two scans look like one person's and do
            not show that the brain has changed in shape.
    """

    ncc_before: float
    ncc_after: float
    ncc_all_before: float
    ncc_all_after: float
    mse_before: float
    mse_after: float
    folded_voxels: int
    folded_percent: float
    folded_percent_brain: float
    jacobian_min: float
    jacobian_max: float
    log_jacobian_sd: float
    displacement_mean_mm: float
    displacement_max_mm: float
    missing_percent: float
    beyond_percent: float
    fixed_likeness: Likeness | None = None
    moving_likeness: Likeness | None = None
    inverse_mean_mm: float | None = None
    inverse_p99_mm: float | None = None
    inverse_max_mm: float | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    steps_left_out: bool = False
    rigid_alone: bool = False

    @property
    def verdict(self) -> Verdict:
        """The verdict: "good", "look at it" or "do not use"."""
        if any(self._faults()):
            return DO_NOT_USE
        return LOOK if any(self._doubts()) else GOOD

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons for the verdict, one sentence each, the gravest first; the hints come last."""
        return ((*self._faults(), *self._doubts()) or (self._praise(),)) + self.hints

    def with_inverse_errors(self, errors: np.ndarray) -> Quality:
        """Return these measures with the inverse's error added.

        Args:
            errors: error of the inverse at each of some points, mm (`geometry.inverse.inverse_error`).
        """
        mean, p99, largest = errors.mean(), np.percentile(errors, 99), errors.max()
        return replace(self, inverse_mean_mm=float(mean), inverse_p99_mm=float(p99), inverse_max_mm=float(largest))

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict and its reasons, then every measure, for quality.json."""
        lists = {"warnings": list(self.warnings), "hints": list(self.hints)}
        return {"verdict": self.verdict, "reasons": list(self.reasons), **asdict(self), **lists}

    def _praise(self) -> str:
        share = self.folded_percent_brain
        some = f"in {share:.2f} % of the brain only" if share >= 0.005 else "in less than 0.01 % of the brain"
        folding = some if self.folded_voxels else "nowhere"
        return (
            f"The brains match ({self.ncc_after:.2f} of 1; {self.ncc_before:.2f} before), and the map folds {folding}."
        )

    def _faults(self) -> Iterator[str]:
        if self.ncc_after < self.ncc_before - NCC_LOSS:
            yield (
                f"The brains match less well after the registration ({self.ncc_after:.2f} of 1) than before it "
                f"({self.ncc_before:.2f})."
            )
        if self.ncc_after < NCC_NONE:
            yield f"The brains hardly match ({self.ncc_after:.2f} of 1): check that both are T1 scans of a brain."
        if self.folded_percent_brain > FOLDING_BAD:
            yield f"The map folds in {self.folded_percent_brain:.1f} % of the brain, so volumes read from it are wrong."

    def _doubts(self) -> Iterator[str]:
        unknown = [name for name, value in vars(self).items() if isinstance(value, float) and not math.isfinite(value)]
        if unknown:
            yield f"Not everything could be measured ({', '.join(unknown)}), so that nothing vouches for the result."
        if NCC_NONE <= self.ncc_after < NCC_WEAK:
            yield f"The brains match weakly ({self.ncc_after:.2f} of 1; good pairs reach {NCC_WEAK:.2f} and more)."
        if self.ncc_before < NCC_BEFORE_LOW:
            yield (
                f"The brains hardly matched before the registration ({self.ncc_before:.2f} of 1; pairs that belong "
                f"together have {NCC_BEFORE_LOW:.2f} and more), so that the match after it proves little."
            )
        if FOLDING_NOTABLE < self.folded_percent_brain <= FOLDING_BAD:
            yield f'The map folds in {self.folded_percent_brain:.1f} % of the brain; the preset "smooth" folds nowhere.'
        if self.missing_percent > MISSING_NOTABLE:
            yield f"{self.missing_percent:.1f} % of the fixed brain lies outside what the moving image shows."
        if self.beyond_percent > MISSING_NOTABLE:
            yield f"{self.beyond_percent:.1f} % of the moving brain lies outside what the fixed image shows."
        if self.displacement_max_mm > DISPLACEMENT_LARGE_MM:
            yield f"Some point moves {self.displacement_max_mm:.0f} mm, further than brains usually differ."
        yield from likeness_doubts("fixed", self.fixed_likeness)
        yield from likeness_doubts("moving", self.moving_likeness)
        if self.steps_left_out and self.ncc_before < NCC_WEAK:  # two scans of one person may match before it
            yield STEPS_LEFT_OUT
        yield from self.warnings


def least_likeness(found: Likeness) -> float:
    """Return the correlation with the template that a whole T1 brain reaches, of a scan as coarse as the one found."""
    return LIKENESS_LOW if found.voxel_mm <= COARSE_MM else LIKENESS_LOW_COARSE


def likeness_doubts(role: str, found: Likeness | None) -> Iterator[str]:
    """Yield what speaks against a brain being a whole T1 brain in its place.

    Args:
        role: of its scan, "fixed" or "moving", for the sentences.
        found: how much it is like the template; None where that was not measured.
    """
    if found is None:
        yield f"The {role} brain was not compared with the template, so that nothing vouches for its place."
        return
    least = least_likeness(found)
    # Written so that a NaN is doubted.
    if not (found.correlation >= least and found.overlap >= OVERLAP_LOW):
        yield (
            f"The {role} brain is not like the template (correlation {found.correlation:.2f}, overlap "
            f"{found.overlap:.2f}; whole T1 brains have {least:.2f} and {OVERLAP_LOW:.2f} at least): see whether"
            f" it is complete, no other contrast than T1, and the right way up."
        )
    elif not found.handedness >= HANDEDNESS_LOW:
        yield (
            f"The {role} brain seems to be mirrored, left for right (its halves differ as those of most people "
            f"exchanged would, correlation {found.handedness:.2f}): check the orientation in its header."
        )
