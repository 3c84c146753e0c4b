"""Find the brain that a scan shows, and what speaks against the scan before it is registered."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

import SimpleITK as sitk

from .errors import RegistrationError
from .files.volumes import check_brain_volume, header_doubts
from .geometry.brain import brain_mask, find_brain
from .geometry.cut import cut_sides
from .network.extractors import extract_brain_with
from .settings import RegistrationSettings

# Held while a brain is extracted: torch uses all cores itself, and two extractions at once take twice the memory.
_EXTRACTION = Lock()


@dataclass(frozen=True, eq=False)
class ScanBrain:
    """The brain that a scan shows.

    Attributes:
        mask: as given or extracted; None where the scan shows the brain alone or is taken as it is.
        shown: the mask that the later stages use, which a scan of the brain alone has too; None where the scan is taken
            as it is.
        foreground: the brain, or of a scan that is taken as it is, all that the scan shows.
        doubts: what the user should know of the scan's header, one sentence each.
    """

    mask: sitk.Image | None
    shown: sitk.Image | None
    foreground: sitk.Image
    doubts: tuple[str, ...]


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

        def extractor(image: sitk.Image) -> sitk.Image:
            if settings.brain == "given":
                raise RegistrationError(
                    f"The {role} image shows more than the brain and no mask of its brain was given; give one, or let "
                    f"the brain be found (brain auto)."
                )
            with _EXTRACTION:
                return extract_brain_with(settings.extractor, image)

        mask = find_brain(scan, extractor)
        if mask is None:
            check_brain_volume(scan, role)
    foreground = brain_mask(scan) if mask is None else mask
    shown = None if settings.brain == "skip" and mask is None else foreground
    return ScanBrain(mask, shown, foreground, header_doubts(scan, role))


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
