"""Find the brain that a scan shows, and what speaks against the scan before it is registered."""

from __future__ import annotations

from dataclasses import dataclass, replace
from threading import Lock

import numpy as np
import SimpleITK as sitk

from .both import for_both
from .errors import RegistrationError
from .files.volumes import check_brain_volume, header_doubts
from .geometry.brain import box_around, brain_mask, coarse_foreground, find_brain, looks_unstripped
from .geometry.canonical import mask_on_canonical, template_brain
from .geometry.cut import cut_sides
from .geometry.likeness import Likeness, likeness, mean_voxel_mm
from .geometry.slices import slices_alternate
from .network.brain_extraction import extract_brain
from .settings import RegistrationSettings

# Width of what is shown around two brains that were both found, mm. A found mask lacks some cortex at its edge, which
# costs more than a rim of fluid and membranes that both scans show (docs/accuracy.md).
RIM_MM = 2.5
# Held while a brain is extracted: torch uses all cores itself, and two extractions at once take twice the memory.
_EXTRACTION = Lock()


@dataclass(frozen=True, eq=False)
class ScanBrain:
    """The brain that a scan shows.

    Attributes:
        mask: as given or extracted; None where the scan shows the brain alone or is taken as it is.
        is_found: whether the mask was extracted.
        shown: the mask that the later stages use, which a scan of the brain alone has too; None where the scan is taken
            as it is.
        foreground: the brain, or of a scan that is taken as it is, all that the scan shows.
        doubts: what the user should know of the scan, one sentence each.
    """

    mask: sitk.Image | None
    is_found: bool
    shown: sitk.Image | None
    foreground: sitk.Image
    doubts: tuple[str, ...]


def find_both_brains(
    scans: tuple[sitk.Image, sitk.Image],
    masks: tuple[sitk.Image | None, sitk.Image | None],
    settings: RegistrationSettings,
) -> tuple[ScanBrain, ScanBrain]:
    """Find the brains of the fixed and of the moving scan (see `find_scan_brain`).

    Where both were extracted, they are shown with a rim of `RIM_MM`. A rim around one of the two alone, such as a head
    whose partner is stripped, would be a difference between them.
    """
    fixed, moving = for_both(
        find_scan_brain, (scans[0], masks[0], "fixed", settings), (scans[1], masks[1], "moving", settings)
    )
    if fixed.is_found and moving.is_found:
        fixed, moving = for_both(with_rim, (fixed,), (moving,))
    return fixed, moving


def with_rim(brain: ScanBrain) -> ScanBrain:
    """Return a brain that is shown with a rim of `RIM_MM`."""
    return replace(brain, shown=_grown(brain.foreground))


def _grown(mask: sitk.Image) -> sitk.Image:
    """Grow a mask by `RIM_MM`."""
    values = sitk.GetArrayFromImage(mask)
    # Voxels further off than the margin are no nearer than the rim's width.
    box = box_around(values > 0, 1 + int(RIM_MM / min(mask.GetSpacing())))
    part = sitk.GetImageFromArray(values[box])
    part.SetSpacing(mask.GetSpacing())
    distance = sitk.SignedMaurerDistanceMap(part, squaredDistance=False, useImageSpacing=True)
    values[box] = sitk.GetArrayViewFromImage(distance) <= RIM_MM
    grown = sitk.GetImageFromArray(values.astype(np.uint8))
    grown.CopyInformation(mask)
    return grown


def find_scan_brain(scan: sitk.Image, given: sitk.Image | None, role: str, settings: RegistrationSettings) -> ScanBrain:
    """Return the mask that was given, or extract the brain where the scan shows more than the brain.

    Args:
        scan: the fixed or the moving scan.
        given: the mask of its brain, on its grid; None where the user has none.
        role: "fixed" or "moving", for the sentences.
        settings: whether and how to extract the brain.

    Raises:
        RegistrationError: for a whole head without a mask if the settings require one, a brain that is impossibly
            large, or where no brain is found.
    """
    mask = given
    if given is None and settings.brain != "skip":
        needs_mask = RegistrationError(
            f"The {role} image shows more than the brain and no mask of its brain was given; give one, or let the "
            f"brain be found (brain auto)."
        )

        def extractor(image: sitk.Image) -> sitk.Image:
            if settings.brain == "given" and looks_unstripped(image):
                raise needs_mask  # before the brain is looked for, which is not wanted and may fail
            with _EXTRACTION:
                return extract_brain(image)

        foreground = coarse_foreground(scan)
        mask = find_brain(scan, extractor, foreground)
        if mask is None:
            check_brain_volume(scan, role, foreground)
        elif settings.brain == "given":
            raise needs_mask
    shown = brain_mask(scan) if mask is None else mask
    doubts = header_doubts(scan, role)
    if slices_alternate(scan, shown):
        doubts += (_slices_doubt(role),)
    if settings.brain == "skip" and mask is None:
        if looks_unstripped(scan):
            doubts += (_head_doubt(role),)
        return ScanBrain(None, False, None, shown, doubts)
    return ScanBrain(mask, given is None and mask is not None, shown, shown, doubts)


def _slices_doubt(role: str) -> str:
    return (
        f"Slices of the {role} image that lie next to each other differ more than slices two apart, as where the head "
        f"has moved between two passes of the scanner or slices lie in a wrong order; look at the scan itself."
    )


def _head_doubt(role: str) -> str:
    return (
        f"The {role} image seems to show more than the brain; strip its skull or give a mask of its brain for a result "
        f"that can be trusted."
    )


def cut_doubts(brain: ScanBrain, to_canonical: sitk.Transform, role: str) -> tuple[str, ...]:
    """Say on which sides the field of view cuts a brain off, one sentence, or none where it is whole.

    Args:
        brain: the brain of a scan.
        to_canonical: from the scan's world to the canonical world (LPS mm). What lies outside the template's brain
            there, as a neck that was left in stripping, is no brain.
        role: "fixed" or "moving", for the sentence.
    """
    sides = cut_sides(brain.foreground, to_canonical)
    if not sides:
        return ()
    where = " and ".join([", ".join(sides[:-1]), sides[-1]] if len(sides) > 1 else sides)
    return (
        f"The brain of the {role} image is cut off at the {where} of its field of view; do not trust the result near "
        f"the cut.",
    )


def brain_likeness(image: np.ndarray, brain: ScanBrain, to_canonical: sitk.AffineTransform) -> Likeness:
    """Compare the brain of a scan with the template, without what its rim shows outside the template's brain.

    Args:
        image: the scan on the canonical grid, float32 [L, P, S], 0 outside what is shown of the brain.
        brain: of the scan.
        to_canonical: from the scan's world to the canonical world (LPS mm).
    """
    inside = mask_on_canonical(brain.foreground, to_canonical)
    return likeness(image * (inside | template_brain()), mean_voxel_mm(brain.foreground))
