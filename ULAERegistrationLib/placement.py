"""Place two scans on the canonical grid, and make of them what the network sees.

The brains are aligned as the scans are. What that shows of the scans (whether their contrasts differ, whether a coil
has shaded one strongly, whether they look like one person's) then decides how they are aligned once more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk

from .both import for_both
from .geometry.affine import to_matrix
from .geometry.alignment import Alignment, align, align_inside, align_to_template
from .geometry.canonical import sample_on_canonical
from .geometry.contrast import as_t1, have_same_contrast, scan_as_t1, shows_tissue_as_t1
from .geometry.shading import without_strong_shading
from .one_person import SIZES_DIFFER, look_like_one_person
from .progress import Progress
from .settings import Contrast, RegistrationSettings

Scans = tuple[sitk.Image, sitk.Image]
Masks = tuple[sitk.Image | None, sitk.Image | None]
# By what fraction the brains of one person's two scans may differ in length. In twelve pairs (T1, T2, FLAIR, PD) the
# outlines do by up to .05, what lies inside by .014 at most; an adult's brain does so only where a voxel size is wrong.
SIZE_BY_OUTLINE, SIZE_BY_INSIDE = 0.02, 0.05


@dataclass(frozen=True, eq=False)
class Placement:
    """Two scans on the canonical grid.

    Attributes:
        alignment: the linear maps.
        contrast: "same" or "different": whether the scans have one contrast.
        one_person: whether they look like one person's, of one size.
        both_t1: whether both have one contrast and show tissue as T1 does.
        fixed, moving: the scans, without strong shading, float32 [L, P, S] in [0, 1], 0 outside the brain.
        fixed_seen, moving_seen: what the network is shown of them, in the same form.
    """

    alignment: Alignment
    contrast: Contrast
    one_person: bool
    both_t1: bool
    fixed: np.ndarray
    moving: np.ndarray
    fixed_seen: np.ndarray
    moving_seen: np.ndarray

    @property
    def is_result(self) -> bool:
        """Whether the linear maps are the whole result: rigid ones of one person's scans that are not both T1.

        Only T1 scans, which the network knows best, can show that a brain has changed in shape.
        """
        return self.one_person and self.alignment.method == "rigid" and not self.both_t1


def place(
    scans: Scans,
    masks: Masks,
    settings: RegistrationSettings,
    initial_transform: sitk.Transform | None,
    progress: Progress,
) -> Placement:
    """Align two scans and sample them on the canonical grid.

    Args:
        scans: the fixed and the moving scan.
        masks: their brains; None where a scan is taken as it is.
        settings: what is asked of the alignment, and what is known of the contrasts.
        initial_transform: linear transform from which the alignment starts, fixed world to moving world (LPS mm).
        progress: called as `align` calls it.
    """

    def aligned(images: Scans) -> Alignment:
        return align(*images, method, *masks, initial_transform, progress)

    method = "affine" if settings.alignment == "auto" else settings.alignment
    searched = method in ("affine", "rigid")
    alignment = aligned(scans)
    canonical = _sampled(scans, masks, alignment)
    contrast = settings.contrast
    if contrast == "auto":
        contrast = "same" if have_same_contrast(*canonical) else "different"
    # Correlation aligns two contrasts by millimetres less well than one, and is drawn towards what is bright.
    placed = (scans, canonical, _maps(alignment))
    if contrast == "different":
        compared = for_both(scan_as_t1, *zip(*placed, strict=True))
    else:
        compared = for_both(without_strong_shading, *zip(*placed, masks, strict=True))
    if any(one is not scan for one, scan in zip(compared, scans, strict=True)):
        alignment = aligned(compared) if searched else alignment
        scans = compared if contrast == "same" else scans
        canonical = _sampled(scans, masks, alignment)
    one_person = searched and look_like_one_person(*canonical)
    if one_person and _size_differs(alignment, SIZE_BY_OUTLINE):
        inside = align_inside(*scans, alignment, "affine", *masks)
        if _size_differs(inside, SIZE_BY_INSIDE):
            # A rigid map cannot bring them together, so they are registered as the scans of two people are.
            one_person, alignment = False, replace(inside, warnings=(*inside.warnings, SIZES_DIFFER))
            canonical = _sampled(scans, masks, alignment)
    if one_person:
        method = "rigid" if settings.alignment == "auto" else method
        alignment = align_inside(*scans, alignment, method, *masks)
        canonical = _sampled(scans, masks, alignment)
    # The network knows T1, and other contrasts as they look with its intensities; two T2 or FLAIR scans get them too.
    both_t1 = contrast == "same" and all(shows_tissue_as_t1(image) for image in canonical)
    seen = canonical if both_t1 else (as_t1(canonical[0]), as_t1(canonical[1]))
    if one_person:
        # Masks of one brain differ by how they were made, which the network would take for a difference in shape.
        both = (canonical[0] > 0) & (canonical[1] > 0)
        seen = (seen[0] * both, seen[1] * both)
    return Placement(alignment, contrast, one_person, both_t1, *canonical, *seen)


def _size_differs(alignment: Alignment, fraction: float) -> bool:
    """Tell whether the map from the fixed to the moving scan changes lengths by more than a fraction, on average."""
    volume = abs(np.linalg.det(to_matrix(alignment.fixed_to_moving)[:3, :3]))
    return bool(abs(np.log(volume) / 3) > fraction)


def place_alone(scan: sitk.Image, mask: sitk.Image | None) -> tuple[np.ndarray, sitk.AffineTransform]:
    """Align one T1 scan with the template and sample it on the canonical grid, as `place` does with a fixed scan.

    Args:
        scan: the scan.
        mask: its brain; None where the scan is taken as it is.

    Returns:
        The scan, without strong shading, float32 [L, P, S] in [0, 1], 0 outside the brain; and the map from its world
        to the canonical world (LPS mm).
    """
    to_canonical = align_to_template(scan, mask)
    canonical = sample_on_canonical(scan, to_canonical, mask)
    even = without_strong_shading(scan, canonical, to_canonical, mask)
    if even is scan:
        return canonical, to_canonical
    to_canonical = align_to_template(even, mask)
    return sample_on_canonical(even, to_canonical, mask), to_canonical


def _sampled(scans: Scans, masks: Masks, alignment: Alignment) -> tuple[np.ndarray, np.ndarray]:
    return for_both(sample_on_canonical, *zip(scans, _maps(alignment), masks, strict=True))


def _maps(alignment: Alignment) -> tuple[sitk.AffineTransform, sitk.AffineTransform]:
    return alignment.fixed_to_canonical, alignment.moving_to_canonical
