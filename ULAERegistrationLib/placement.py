"""Place two scans on the canonical grid, and make of them what the network sees.

The brains are aligned as the scans are. What that shows of the scans (whether their contrasts differ, whether a coil
has shaded one strongly, whether they look like one person's) then decides how they are aligned once more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

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
from .settings import AlignmentMethod, Contrast, RegistrationSettings

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


@dataclass(frozen=True, eq=False)
class _Pair:
    """Two scans, the masks of their brains, and their alignment."""

    scans: Scans
    masks: Masks
    alignment: Alignment

    @property
    def maps(self) -> tuple[sitk.AffineTransform, sitk.AffineTransform]:
        """From the world of either scan to the canonical world (LPS mm)."""
        return self.alignment.fixed_to_canonical, self.alignment.moving_to_canonical

    @cached_property
    def canonical(self) -> tuple[np.ndarray, np.ndarray]:
        """Both scans on the canonical grid, float32 [L, P, S] in [0, 1], 0 outside the brain."""
        return for_both(sample_on_canonical, *zip(self.scans, self.maps, self.masks, strict=True))

    def aligned_inside(self, method: AlignmentMethod) -> _Pair:
        """Return the pair aligned once more, by what lies deep inside both brains."""
        return replace(self, alignment=align_inside(*self.scans, self.alignment, method, *self.masks))


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
    method: AlignmentMethod = "affine" if settings.alignment == "auto" else settings.alignment
    searched = method in ("affine", "rigid")

    def aligned(images: Scans) -> Alignment:
        return align(*images, method, *masks, initial_transform, progress)

    pair = _Pair(scans, masks, aligned(scans))
    contrast = settings.contrast
    if contrast == "auto":
        contrast = "same" if have_same_contrast(*pair.canonical) else "different"
    # Without a search, scans of two contrasts stay as they are.
    compared = _made_alike(pair, contrast) if searched or contrast == "same" else scans
    if compared is not scans:
        if searched:
            pair = replace(pair, alignment=aligned(compared))
        if contrast == "same":
            pair = replace(pair, scans=compared)
    one_person = searched and look_like_one_person(*pair.canonical)
    if one_person:
        pair, one_person = _as_one_person(pair, "rigid" if settings.alignment == "auto" else method)
    fixed, moving = pair.canonical
    # The network knows T1, and other contrasts as they look with its intensities; two T2 or FLAIR scans get them too.
    both_t1 = contrast == "same" and all(for_both(shows_tissue_as_t1, (fixed,), (moving,)))
    seen = (fixed, moving) if both_t1 else (as_t1(fixed), as_t1(moving))
    if one_person:
        # Masks of one brain differ by how they were made, which the network would take for a difference in shape.
        both = (fixed > 0) & (moving > 0)
        seen = (seen[0] * both, seen[1] * both)
    return Placement(pair.alignment, contrast, one_person, both_t1, fixed, moving, *seen)


def _made_alike(pair: _Pair, contrast: Contrast) -> Scans:
    """Return the scans with the intensities of T1 where their contrasts differ, else without strong shading.

    Correlation aligns two contrasts by millimetres less well than one, and is drawn towards what is bright. Scans that
    nothing was changed of are returned themselves.
    """
    placed = (pair.scans, pair.canonical, pair.maps)
    if contrast == "different":
        made = for_both(scan_as_t1, *zip(*placed, strict=True))
    else:
        made = for_both(without_strong_shading, *zip(*placed, pair.masks, strict=True))
    return pair.scans if all(one is scan for one, scan in zip(made, pair.scans, strict=True)) else made


def _as_one_person(pair: _Pair, method: AlignmentMethod) -> tuple[_Pair, bool]:
    """Align two scans of one person by the insides of the brain, unless that has another size in the two.

    A rigid map cannot bring these together, so they are registered as the scans of two people are.

    Returns:
        The pair, and whether it is registered as one person's scans are.
    """
    if _size_differs(pair.alignment, SIZE_BY_OUTLINE):
        by_size = pair.aligned_inside("affine")
        if _size_differs(by_size.alignment, SIZE_BY_INSIDE):
            warnings = (*by_size.alignment.warnings, SIZES_DIFFER)
            return replace(by_size, alignment=replace(by_size.alignment, warnings=warnings)), False
        if method == "affine":
            return by_size, True
    return pair.aligned_inside(method), True


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
