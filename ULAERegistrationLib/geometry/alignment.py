"""Linear alignment: the affine maps of both images into the canonical frame.

`align` first registers both brains to the template, from many rotations and from coarse to fine, then refines the map
from fixed to moving directly. Each image is searched in its own frame (axes in the order of the nearest body axes,
centre of mass at zero), so that the result does not depend on how a header stores the same geometry.
The world is LPS millimetres.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product

import numpy as np
import SimpleITK as sitk

from ..both import for_both
from ..errors import RegistrationError
from ..progress import Progress, silent
from ..settings import AlignmentMethod
from .affine import to_matrix, to_transform
from .affine_search import UNIT, CorrelationSearch
from .brain import background_value, looks_unstripped
from .canonical import template, template_mask
from .frame import CANONICAL_ORIGIN, CANONICAL_SIZE
from .gaps import gaps

FINEST = 2.0  # mm, side of the search's voxels; 1 mm takes eight times as long and gives no better label overlap
SEARCH_SIZE = (104, 120, 104)  # number of these voxels, around the centre of mass
LEVELS = ((4, 5.0), (2, 3.0), (1, 1.5))  # voxels averaged along each axis, and the Gaussian's sigma before that (mm)
TILTS = np.deg2rad((-30, 0, 30))  # rotations about each body axis from which the search starts
HEAD_RAISES = (0.0, 30.0, 60.0)  # mm: starting heights of the brain's centre of mass above the head's
BRAIN = 0.1  # of the image's brightness; brighter voxels are brain or head
GAP_PASSES = 5  # of the finest level, each without the gaps that the one before has shown
GAP_CHANGE = 0.002  # of the region of comparison: where gaps change by less, they are known
SAME_PLACE = 1.0  # mm; searches on the coarsest level that end this near each other have found the same map
POOR_CORRELATION = 0.7
INSIDE = 6.0  # mm from the edge of a brain, beyond which masks of different tools show the same
LEAST_INSIDE = 0.1  # of a brain's voxels; where fewer lie inside, as in a thin slab, they say too little
DARK = 0.02  # of the image's brightness; darker voxels of a stripped brain lie outside it, or in fluid


@dataclass(frozen=True)
class Alignment:
    """The affine maps of both images into the canonical frame.

    Attributes:
        fixed_to_canonical: A_f, from fixed world points to canonical world points (LPS mm).
        moving_to_canonical: A_m, from moving world points to canonical world points (LPS mm).
        warnings: what the user should know about the two scans, one sentence each.
    """

    fixed_to_canonical: sitk.AffineTransform
    moving_to_canonical: sitk.AffineTransform
    warnings: tuple[str, ...] = ()

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
        RegistrationError: for an initial transform that is not linear.
    """
    if initial_transform is not None and not initial_transform.IsLinear():
        raise RegistrationError("The initial transform is not linear; give a rigid or affine one, fixed to moving.")
    initial = None if initial_transform is None else to_matrix(initial_transform)
    progress(0.0, "Placing both brains in the template")
    with ThreadPoolExecutor(max_workers=1) as other_thread:
        prepared = other_thread.submit(_template_brain)
        brains = for_both(_Brain.of, (fixed, fixed_mask), (moving, moving_mask))
        average = prepared.result()
    placed = method == "none" and _on_canonical_grid(fixed)
    searches = method in ("affine", "rigid")

    def located(brain: _Brain, is_needed: bool, finely: bool) -> tuple[np.ndarray, float]:
        return brain.located_in(average, finely) if is_needed else (np.eye(4), 1.0)

    # Where the moving brain lies in the template is only the start of its search in the fixed one.
    (fixed_to_canonical, found), (moving_to_canonical, _) = for_both(
        located, (brains[0], not placed, True), (brains[1], searches and initial is None, False)
    )
    warnings = [_head_warning(role) for role, brain in zip(("fixed", "moving"), brains, strict=True) if brain.is_head]
    correlations = {"fixed image and the template": found}
    if searches:
        progress(0.4, "Aligning moving to fixed")
        start = np.linalg.inv(moving_to_canonical) @ fixed_to_canonical if initial is None else initial
        domain = _template_domain(fixed_to_canonical, brains[0]) if any(brain.is_head for brain in brains) else None
        fixed_to_moving, found = brains[1].matched_to(brains[0], start, method, domain)
        correlations["two images"] = found
    elif initial is not None:
        fixed_to_moving = initial
    else:
        fixed_to_moving = np.eye(4)
        if method == "centre":
            fixed_to_moving[:3, 3] = brains[1].to_world[:3, 3] - brains[0].to_world[:3, 3]
    warnings += [
        f"The {pair} agree poorly after alignment (correlation {value:.2f}); check the orientation in their headers."
        for pair, value in correlations.items()
        if value < POOR_CORRELATION
    ]
    progress(1.0, "Aligned")
    moving_to_canonical = fixed_to_canonical @ np.linalg.inv(fixed_to_moving)
    return Alignment(to_transform(fixed_to_canonical), to_transform(moving_to_canonical), tuple(warnings))


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
        fixed, moving: the scans, of one contrast.
        alignment: as `align` found it.
        method: "affine" or "rigid".
        fixed_mask, moving_mask: as for `align`.

    Returns:
        The alignment with another map of the moving image.
    """
    brains = for_both(_Brain.of, (fixed, fixed_mask), (moving, moving_mask))
    found = brains[1].matched_inside(brains[0], to_matrix(alignment.fixed_to_moving), method)
    moving_to_canonical = to_matrix(alignment.fixed_to_canonical) @ np.linalg.inv(found)
    return replace(alignment, moving_to_canonical=to_transform(moving_to_canonical))


@dataclass(frozen=True)
class _Brain:
    """A scan prepared for the search.

    Attributes:
        image: float32 in [0, 1.2], background 0, voxels of FINEST mm in the scan's own frame.
        domain: bool [z, y, x], the region of comparison when another scan is matched to this one.
        to_world: 4 x 4, from the own frame (mm from the centre of mass, along the scan's axes in the order of the
            nearest body axes) to the scan's world.
        is_head: whether the scan shows more than the brain.
    """

    image: sitk.Image
    domain: np.ndarray
    to_world: np.ndarray
    is_head: bool
    _levels: dict[tuple[int, float], sitk.Image] = field(default_factory=dict)

    @classmethod
    def of(cls, scan: sitk.Image, mask: sitk.Image | None) -> _Brain:
        """Prepare a scan for the search; with a mask, voxels outside the brain become 0."""
        is_head = mask is None and looks_unstripped(scan)
        background = background_value(scan)
        scan = sitk.Cast(sitk.DICOMOrient(scan, "LPS"), sitk.sitkFloat32)
        if mask is not None:
            scan = sitk.Mask(scan, sitk.DICOMOrient(mask, "LPS"), background)
        to_world = np.eye(4)
        to_world[:3, :3] = np.reshape(scan.GetDirection(), (3, 3))
        to_world[:3, 3] = scan.GetOrigin()
        # From here on the scan has its own frame; to_world keeps its origin and direction.
        scan.SetOrigin((0.0, 0.0, 0.0))
        scan.SetDirection(np.eye(3).ravel())
        scan = sitk.BinShrink(scan, [int(max(1, FINEST // spacing)) for spacing in scan.GetSpacing()]) - background
        bright = float(np.percentile(sitk.GetArrayViewFromImage(scan), 99.5))
        scan = sitk.Clamp(scan / bright, sitk.sitkFloat32, 0.0, 1.2)
        centre = _centre(scan)
        to_world[:3, 3] += to_world[:3, :3] @ centre
        grid = sitk.Image(SEARCH_SIZE, sitk.sitkFloat32)
        grid.SetSpacing([FINEST] * 3)
        half = (np.array(SEARCH_SIZE) - 1) / 2 * FINEST
        grid.SetOrigin((centre - half).tolist())
        image = sitk.Resample(scan, grid)
        image.SetOrigin((-half).tolist())
        return cls(image, _near(sitk.GetArrayViewFromImage(image) > BRAIN), to_world, is_head)

    def located_in(self, template: _Brain, finely: bool) -> tuple[np.ndarray, float]:
        """Register this scan to the template.

        Args:
            template: the template.
            finely: whether the finest of `LEVELS` is searched too; without it the map is good enough to start from.

        Returns:
            The matrix, 4 x 4, from this scan's world to the template's world, and the correlation reached.
        """
        raises = HEAD_RAISES if self.is_head else HEAD_RAISES[:1]
        starts = [_start(tilts, lift) for tilts in product(TILTS, repeat=3) for lift in raises]
        domain = template.domain
        if self.is_head:
            domain = sitk.GetArrayViewFromImage(_template_brain().image) > BRAIN
        coarse, middle = (CorrelationSearch(template.level(level), self.level(level), domain) for level in LEVELS[:2])
        found = [coarse.maximise(start, "similarity", 12) for start in starts]
        found.sort(key=lambda item: -item[1])
        found = [middle.maximise(start, "affine", 12) for start in _different([one for one, _ in found[:4]])]
        best, correlation = max(found, key=lambda item: item[1])
        if finely:
            best, correlation = self._finely_matched(template, best, "affine", domain)
        return template.to_world @ np.linalg.inv(self.to_world @ best), correlation

    def matched_to(
        self, fixed: _Brain, start: np.ndarray, freedom: str, domain: np.ndarray | None
    ) -> tuple[np.ndarray, float]:
        """Refine the map from a fixed scan to this one.

        Args:
            fixed: the fixed scan.
            start: 4 x 4 from the fixed scan's world to this scan's world.
            freedom: "affine" or "rigid".
            domain: bool [z, y, x] in the fixed scan's frame, the region of comparison; None takes `fixed.domain`.

        Returns:
            The matrix, 4 x 4, from the fixed scan's world to this scan's world, and the correlation reached.
        """
        domain = fixed.domain if domain is None else domain
        best = np.linalg.inv(self.to_world) @ start @ fixed.to_world
        if freedom == "rigid":
            left, _, right = np.linalg.svd(best[:3, :3])
            best[:3, :3] = left @ right
        middle = CorrelationSearch(fixed.level(LEVELS[1]), self.level(LEVELS[1]), domain)
        best, _ = middle.maximise(best, freedom, 15)
        best, correlation = self._finely_matched(fixed, best, freedom, domain)
        return self.to_world @ best @ np.linalg.inv(fixed.to_world), correlation

    def _finely_matched(
        self, fixed: _Brain, start: np.ndarray, freedom: str, domain: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """Maximise the correlation on the finest level, anew without what one of two brains lacks.

        An affine map would be stretched until the other brain covers the gap.

        Args:
            fixed, freedom, domain: as of `matched_to`.
            start: 4 x 4 from the fixed scan's own frame to this scan's own frame.

        Returns:
            The map in the form of `start`, and the correlation reached.
        """
        level, compared = LEVELS[-1], domain
        best = start
        for _ in range(GAP_PASSES):
            search = CorrelationSearch(fixed.level(level), self.level(level), compared)
            best, correlation = search.maximise(best, freedom, 15)
            if fixed.is_head or self.is_head:
                break
            before, compared = compared, domain & ~self._gaps(fixed, best)
            if np.count_nonzero(before ^ compared) < GAP_CHANGE * np.count_nonzero(domain):
                break
        return best, correlation

    def _gaps(self, fixed: _Brain, to_this: np.ndarray) -> np.ndarray:
        """Find what either of two brains lacks, bool [z, y, x] on the fixed one's grid (see `gaps`)."""
        there = sitk.Resample(self.image, fixed.image, to_transform(to_this), sitk.sitkLinear, 0.0)
        first, second = (sitk.GetArrayViewFromImage(image) > BRAIN for image in (fixed.image, there))
        return gaps(first, second, FINEST)

    def matched_inside(self, fixed: _Brain, start: np.ndarray, freedom: str) -> np.ndarray:
        """Refine the map from a fixed scan to this one by what lies further than `INSIDE` from the edges of both.

        Args:
            fixed, start, freedom: as of `matched_to`; for "rigid", `start` has to be rigid.

        Returns:
            The matrix, 4 x 4, from the fixed scan's world to this scan's world; `start` where hardly anything lies
            there.
        """
        best = np.linalg.inv(self.to_world) @ start @ fixed.to_world
        other = sitk.Resample(self._inside(), fixed.image, to_transform(best), sitk.sitkNearestNeighbor)
        domain = sitk.GetArrayFromImage(fixed._inside() & other) > 0
        brain = sitk.GetArrayViewFromImage(fixed.image) > DARK
        if np.count_nonzero(domain) < LEAST_INSIDE * np.count_nonzero(brain):
            return start
        search = CorrelationSearch(fixed.level(LEVELS[-1]), self.level(LEVELS[-1]), domain)
        best, _ = search.maximise(best, freedom, 15)
        return self.to_world @ best @ np.linalg.inv(fixed.to_world)

    def _inside(self) -> sitk.Image:
        return sitk.BinaryErode(sitk.BinaryFillhole(self.image > DARK), [round(INSIDE / FINEST)] * 3)

    def level(self, level: tuple[int, float]) -> sitk.Image:
        """Return the image smoothed and downsampled for one of `LEVELS`; each is computed once."""
        if level not in self._levels:
            factor, blur = level
            self._levels[level] = sitk.BinShrink(sitk.SmoothingRecursiveGaussian(self.image, blur), [factor] * 3)
        return self._levels[level]


def _different(maps: list[np.ndarray]) -> list[np.ndarray]:
    """Return the maps, 4 x 4, that do not take the brain to the same place as one before them in the list."""
    corners = np.array([[*corner, 1] for corner in product((-UNIT, UNIT), repeat=3)]).T
    kept: list[np.ndarray] = []
    for one in maps:
        if all(np.linalg.norm((one - other)[:3] @ corners, axis=0).max() > SAME_PLACE for other in kept):
            kept.append(one)
    return kept


def _start(tilts: tuple[float, float, float], lift: float) -> np.ndarray:
    """Return a rotation about the three body axes (radians) followed by a shift upwards (mm), 4 x 4."""
    start = np.eye(4)
    rotation = sitk.Euler3DTransform((0.0, 0.0, 0.0), *map(float, tilts))
    start[:3, :3] = np.reshape(rotation.GetMatrix(), (3, 3))
    start[2, 3] = lift
    return start


def _centre(image: sitk.Image) -> np.ndarray:
    """Compute the centre of mass of the foreground, in the image's own frame (mm)."""
    foreground = sitk.GetArrayViewFromImage(image) > BRAIN
    total = foreground.sum()
    index = [
        (foreground.sum(axis=tuple(other for other in range(3) if other != axis)) @ np.arange(foreground.shape[axis]))
        / total
        for axis in (2, 1, 0)
    ]
    return np.array(image.TransformContinuousIndexToPhysicalPoint(index))


def _near(foreground: np.ndarray) -> np.ndarray:
    """Return the foreground with all within 8 mm of it, because the outline of a brain is its best landmark."""
    image = sitk.BinaryDilate(sitk.GetImageFromArray(foreground.astype(np.uint8)), (4, 4, 4))
    return sitk.GetArrayFromImage(image) > 0


@cache
def _template_brain() -> _Brain:
    brain = _Brain.of(template(), template_mask())
    for level in LEVELS:  # before two threads need them
        brain.level(level)
    return brain


def _template_domain(fixed_to_canonical: np.ndarray, fixed: _Brain) -> np.ndarray:
    """Resample the template's mask to the frame of the fixed scan, bool [z, y, x]."""
    pull = to_transform(fixed_to_canonical @ fixed.to_world)
    mask = sitk.Resample(template_mask(), fixed.image, pull, sitk.sitkNearestNeighbor)
    return sitk.GetArrayFromImage(mask) > 0


def _on_canonical_grid(image: sitk.Image) -> bool:
    return (
        image.GetSize() == CANONICAL_SIZE
        and np.allclose(image.GetOrigin(), CANONICAL_ORIGIN, atol=1e-3)
        and np.allclose(image.GetSpacing(), 1, atol=1e-4)
        and np.allclose(image.GetDirection(), np.eye(3).ravel(), atol=1e-4)
    )


def _head_warning(role: str) -> str:
    return (
        f"The {role} image seems to show more than the brain; strip its skull or give a mask of its brain for a result "
        f"that can be trusted."
    )
