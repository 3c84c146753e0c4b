"""Linear alignment: the affine maps of both images into the canonical frame.

`align` first registers both brains to the template, then refines the map from fixed to moving directly (see
`brain_search`). The world is LPS millimetres.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk

from ..both import for_both
from ..errors import RegistrationError
from ..progress import Progress, silent
from ..settings import AlignmentMethod
from .affine import has_inverse, to_matrix, to_transform
from .brain_search import SearchedBrain, searched_template, template_domain
from .frame import CANONICAL_ORIGIN, CANONICAL_SIZE

POOR_CORRELATION = 0.7
TWO_IMAGES = "two images"


@dataclass(frozen=True)
class Alignment:
    """The affine maps of both images into the canonical frame.

    Attributes:
        fixed_to_canonical: A_f, from fixed world points to canonical world points (LPS mm).
        moving_to_canonical: A_m, from moving world points to canonical world points (LPS mm).
        warnings: which of the images agree poorly, one sentence each.
        method: how the map from fixed to moving was found.
    """

    fixed_to_canonical: sitk.AffineTransform
    moving_to_canonical: sitk.AffineTransform
    warnings: tuple[str, ...] = ()
    method: AlignmentMethod = "affine"

    @property
    def fixed_to_moving(self) -> sitk.AffineTransform:
        """The linear part of the registration, A_m^-1 o A_f, fixed world to moving world (LPS mm)."""
        back = np.linalg.inv(to_matrix(self.moving_to_canonical))
        return to_transform(back @ to_matrix(self.fixed_to_canonical))


def align(
    fixed: sitk.Image,
    moving: sitk.Image,
    method: AlignmentMethod = "affine",
    fixed_mask: sitk.Image | None = None,
    moving_mask: sitk.Image | None = None,
    initial_transform: sitk.Transform | None = None,
    progress: Progress = silent,
) -> Alignment:
    """Find the affine maps of both images into the canonical frame, and so the linear map between them.

    Args:
        fixed: the fixed scan. It is registered to the template by an affine map whatever the method, except where
            `method` is "none" and it already lies on the canonical grid: it then stays where it is.
        moving: the moving scan.
        method: how the map from fixed to moving is found: "affine" or "rigid" search, "centre" (a shift that makes the
            centres of mass coincide), or "none" (the two images already share a world).
        fixed_mask: brain of the fixed image, on its grid; voxels outside are ignored.
        moving_mask: brain of the moving image, on its grid.
        initial_transform: linear, from fixed to moving world (LPS mm). The search starts from it; "centre" and "none"
            use it unchanged.
        progress: called with the fraction done and what is being done.

    Returns:
        The two maps, and warnings for the user.

    Raises:
        RegistrationError: for an initial transform that is not linear, not finite or has no inverse, and for a scan
            that is nowhere brighter than its background.
    """
    initial = None if initial_transform is None else initial_matrix(initial_transform)
    progress(0.0, "Placing both brains in the template")
    with ThreadPoolExecutor(max_workers=1) as other_thread:
        prepared = other_thread.submit(searched_template)
        brains = for_both(SearchedBrain.of, (fixed, fixed_mask), (moving, moving_mask))
        average = prepared.result()
    placed = method == "none" and _on_canonical_grid(fixed)
    searches = method in ("affine", "rigid")

    def located(brain: SearchedBrain, is_needed: bool) -> np.ndarray:
        return brain.located_in(average) if is_needed else np.eye(4)

    # These two maps are where the searches for the final ones start.
    fixed_to_canonical, moving_to_canonical = for_both(
        located, (brains[0], not placed), (brains[1], searches and initial is None)
    )
    correlations: dict[str, float] = {}
    with ThreadPoolExecutor(max_workers=1) as other_thread:
        finely = None if placed else other_thread.submit(brains[0].finely_located_in, average, fixed_to_canonical)
        if searches:
            progress(0.6, "Aligning moving to fixed")
            start = np.linalg.inv(moving_to_canonical) @ fixed_to_canonical if initial is None else initial
            domain = template_domain(fixed_to_canonical, brains[0]) if any(brain.is_head for brain in brains) else None
            fixed_to_moving, correlations[TWO_IMAGES] = brains[1].matched_to(brains[0], start, method, domain)
        elif initial is not None:
            fixed_to_moving = initial
        else:
            fixed_to_moving = np.eye(4)
            if method == "centre":
                fixed_to_moving[:3, 3] = brains[1].to_world[:3, 3] - brains[0].to_world[:3, 3]
        if finely is not None:
            fixed_to_canonical, found = finely.result()
            correlations = {"fixed image and the template": found, **correlations}
    warnings: list[str] = []
    for pair, value in correlations.items():
        if value < POOR_CORRELATION:
            given = pair == TWO_IMAGES and initial is not None
            cause = "the initial transform" if given else "the orientation in their headers"
            warnings.append(f"The {pair} agree poorly after alignment (correlation {value:.2f}); check {cause}.")
    progress(1.0, "Aligned")
    moving_to_canonical = fixed_to_canonical @ np.linalg.inv(fixed_to_moving)
    return Alignment(to_transform(fixed_to_canonical), to_transform(moving_to_canonical), tuple(warnings), method)


def align_to_template(scan: sitk.Image, mask: sitk.Image | None = None) -> sitk.AffineTransform:
    """Find the affine map of one scan into the canonical frame, as `align` finds that of its fixed scan.

    Args:
        scan: the scan.
        mask: its brain, on its grid; voxels outside are ignored.

    Returns:
        From the scan's world points to canonical world points (LPS mm).

    Raises:
        RegistrationError: for a scan that is nowhere brighter than its background.
    """
    brain, average = SearchedBrain.of(scan, mask), searched_template()
    found, _ = brain.finely_located_in(average, brain.located_in(average))
    return to_transform(found)


def initial_matrix(initial_transform: sitk.Transform) -> np.ndarray:
    """Return the matrix, 4 x 4, of a transform from which `align` can start.

    Raises:
        RegistrationError: where it is not linear, not finite, or has no inverse.
    """
    if not initial_transform.IsLinear():
        raise RegistrationError("The initial transform is not linear; give a rigid or affine one, fixed to moving.")
    matrix = to_matrix(initial_transform)
    if not has_inverse(matrix):
        raise RegistrationError("The initial transform has no inverse or is not finite; give another, fixed to moving.")
    return matrix


def align_inside(
    fixed: sitk.Image,
    moving: sitk.Image,
    alignment: Alignment,
    method: AlignmentMethod,
    fixed_mask: sitk.Image | None = None,
    moving_mask: sitk.Image | None = None,
) -> Alignment:
    """Align two scans of one person once more, by what lies deep inside both brains.

    Masks of one brain differ at their edges, by the tool that stripped the scan or by its contrast, and `align`, for
    which the outline of a brain is the best landmark, follows the edges. What lies inside is the same in both scans.

    Args:
        fixed, moving: the scans, of any two contrasts.
        alignment: as `align` found it.
        method: "affine" or "rigid".
        fixed_mask, moving_mask: as for `align`.

    Returns:
        The alignment with another map of the moving image, and the method.
    """
    brains = for_both(SearchedBrain.of, (fixed, fixed_mask), (moving, moving_mask))
    found = brains[1].matched_inside(brains[0], to_matrix(alignment.fixed_to_moving), method)
    moving_to_canonical = to_matrix(alignment.fixed_to_canonical) @ np.linalg.inv(found)
    return replace(alignment, moving_to_canonical=to_transform(moving_to_canonical), method=method)


def _on_canonical_grid(image: sitk.Image) -> bool:
    return (
        image.GetSize() == CANONICAL_SIZE
        and np.allclose(image.GetOrigin(), CANONICAL_ORIGIN, atol=1e-3)
        and np.allclose(image.GetSpacing(), 1, atol=1e-4)
        and np.allclose(image.GetDirection(), np.eye(3).ravel(), atol=1e-4)
    )
