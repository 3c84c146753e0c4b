"""The search for the affine map from one brain to another: from many rotations, and from coarse to fine.

Each scan is searched in its own frame (axes in the order of the nearest body axes, centre of mass at zero), so that the
result does not depend on how a header stores the same geometry. The world is LPS millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import product

import numpy as np
import SimpleITK as sitk

from ..errors import RegistrationError
from .affine import to_transform
from .affine_search import UNIT, CorrelationSearch
from .brain import floor_of, looks_unstripped, without_holes
from .canonical import template, template_mask
from .gaps import gaps
from .self_similarity_search import SelfSimilaritySearch

FINEST = 2.0  # mm, side of the search's voxels; 1 mm takes eight times as long and gives no better label overlap
SEARCH_SIZE = (104, 120, 104)  # number of these voxels, around the centre of mass
LEVELS = ((4, 5.0), (2, 3.0), (1, 1.5))  # voxels averaged along each axis, and the Gaussian's sigma before that (mm)
TILTS = np.deg2rad((-30, 0, 30))  # rotations about each body axis from which the search starts
HEAD_RAISES = (0.0, 30.0, 60.0)  # mm: starting heights of the brain's centre of mass above the head's
OTHER_SIZE = (
    0.25  # brains of adults are .8 to 1.05 times as large as the template; from 1, the search finds .7 and no less
)
# Share of a scan that is brighter than what becomes 1; of a scan of more litres than these, as much as of these.
BRIGHTER, FIELD_OF_VIEW = 0.005, 20.0
BRAIN = 0.1  # of the image's brightness; brighter voxels are brain or head
GAP_PASSES = 5  # of the finest level, each without the gaps that the one before has shown
GAP_CHANGE = 0.002  # of the region of comparison: where gaps change by less, they are known
COARSE_STEP = 0.3  # mm; on the coarsest level a search ends with a smaller step: the next level goes on from there
SAME_PLACE = 1.0  # mm; searches on the coarsest level that end this near each other have found the same map
INSIDE = 6.0  # mm from the edge of a brain, beyond which masks of different tools show the same
LEAST_INSIDE = 0.1  # of a brain's voxels; where fewer lie inside, as in a thin slab, they say too little
DARK = 0.02  # of the image's brightness; darker voxels of a stripped brain lie outside it, or in fluid


@dataclass(frozen=True, eq=False)
class SearchedBrain:
    """A scan prepared for the search.

    Attributes:
        image: float32 in [0, 1.2], background 0, voxels of FINEST mm in the scan's own frame.
        to_world: 4 x 4, from the own frame (mm from the centre of mass, along the scan's axes in the order of the
            nearest body axes) to the scan's world.
        is_head: whether the scan shows more than the brain.
    """

    image: sitk.Image
    to_world: np.ndarray
    is_head: bool
    _levels: dict[tuple[int, float], sitk.Image] = field(default_factory=dict)

    @classmethod
    def of(cls, scan: sitk.Image, mask: sitk.Image | None) -> SearchedBrain:
        """Prepare a scan for the search; with a mask, voxels outside the brain become 0.

        Raises:
            RegistrationError: where the scan is nowhere brighter than its background.
        """
        is_head = mask is None and looks_unstripped(scan)
        background = floor_of(scan, mask)
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
        litres = scan.GetNumberOfPixels() * np.prod(scan.GetSpacing()) / 1e6
        brighter = BRIGHTER * min(1.0, FIELD_OF_VIEW / litres)
        bright = float(np.percentile(sitk.GetArrayViewFromImage(scan), 100 * (1 - brighter)))
        if bright <= 0:
            raise RegistrationError(
                "A scan is nowhere brighter than its background, so that no brain can be seen in it; give its brain's "
                "mask, or invert its intensities."
            )
        scan = sitk.Clamp(scan / bright, sitk.sitkFloat32, 0.0, 1.2)
        centre = _centre(scan)
        to_world[:3, 3] += to_world[:3, :3] @ centre
        grid = sitk.Image(SEARCH_SIZE, sitk.sitkFloat32)
        grid.SetSpacing([FINEST] * 3)
        half = (np.array(SEARCH_SIZE) - 1) / 2 * FINEST
        grid.SetOrigin((centre - half).tolist())
        image = sitk.Resample(scan, grid)
        image.SetOrigin((-half).tolist())
        return cls(image, to_world, is_head)

    @cached_property
    def domain(self) -> np.ndarray:
        """The region of comparison when another scan is matched to this one, bool [z, y, x]."""
        return _near(sitk.GetArrayViewFromImage(self.image) > BRAIN)

    def located_in(self, average: SearchedBrain) -> np.ndarray:
        """Register this scan to the template on all but the finest of `LEVELS`: well enough to start from.

        Args:
            average: the template, prepared (`searched_template`).

        Returns:
            The matrix, 4 x 4, from this scan's world to the template's world.
        """
        raises = HEAD_RAISES if self.is_head else HEAD_RAISES[:1]
        scales = (1.0,) if self.is_head else _scales(self._volume() / average._volume())
        starts = [_start(*start) for start in product(product(TILTS, repeat=3), raises, scales)]
        domain = self._domain_in(average)
        coarse, middle = (CorrelationSearch(average.level(level), self.level(level), domain) for level in LEVELS[:2])
        found, reached = coarse.maximise_each(np.array(starts), "similarity", 12, COARSE_STEP)
        best = found[np.argsort(-reached, kind="stable")[:4]]
        found, reached = middle.maximise_each(np.array(_different(list(best))), "affine", 12)
        return average.to_world @ np.linalg.inv(self.to_world @ found[reached.argmax()])

    def finely_located_in(self, average: SearchedBrain, start: np.ndarray) -> tuple[np.ndarray, float]:
        """Register this scan to the template on the finest of `LEVELS`.

        Args:
            average: the template, prepared.
            start: as `located_in` returns it.

        Returns:
            The map in the form of `start`, and the correlation reached.
        """
        best = np.linalg.inv(self.to_world) @ np.linalg.inv(start) @ average.to_world
        best, correlation = self._finely_matched(average, best, "affine", self._domain_in(average))
        return average.to_world @ np.linalg.inv(self.to_world @ best), correlation

    def _domain_in(self, average: SearchedBrain) -> np.ndarray:
        """Return where this scan is compared with the template, bool [z, y, x]: of a head, inside the brain alone."""
        return sitk.GetArrayViewFromImage(average.image) > BRAIN if self.is_head else average.domain

    def matched_to(
        self, fixed: SearchedBrain, start: np.ndarray, freedom: str, domain: np.ndarray | None
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
        best = self._between_frames(fixed, start, freedom)
        middle = CorrelationSearch(fixed.level(LEVELS[1]), self.level(LEVELS[1]), domain)
        best, _ = middle.maximise(best, freedom, 15)
        best, correlation = self._finely_matched(fixed, best, freedom, domain)
        return self.to_world @ best @ np.linalg.inv(fixed.to_world), correlation

    def _finely_matched(
        self, fixed: SearchedBrain, start: np.ndarray, freedom: str, domain: np.ndarray
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

    def _gaps(self, fixed: SearchedBrain, to_this: np.ndarray) -> np.ndarray:
        """Find what either of two brains lacks, bool [z, y, x] on the fixed one's grid (see `gaps`)."""
        there = sitk.Resample(self.image, fixed.image, to_transform(to_this), sitk.sitkLinear, 0.0)
        first, second = (sitk.GetArrayViewFromImage(image) > BRAIN for image in (fixed.image, there))
        return gaps(first, second, FINEST)

    def matched_inside(self, fixed: SearchedBrain, start: np.ndarray, freedom: str) -> np.ndarray:
        """Refine the map from a fixed scan to this one by what lies further than `INSIDE` from the edges of both.

        The scans are compared by their self-similarity, which is the same in every contrast.

        Args:
            fixed, start, freedom: as of `matched_to`.

        Returns:
            The matrix, 4 x 4, from the fixed scan's world to this scan's world; where hardly anything lies there, that
            of `matched_to`.
        """
        best = self._between_frames(fixed, start, freedom)
        other = sitk.Resample(self._inside(), fixed.image, to_transform(best), sitk.sitkNearestNeighbor)
        domain = sitk.GetArrayFromImage(fixed._inside() & other) > 0
        brain = sitk.GetArrayViewFromImage(fixed.image) > DARK
        if np.count_nonzero(domain) < LEAST_INSIDE * np.count_nonzero(brain):
            return self.matched_to(fixed, start, freedom, None)[0]
        search = SelfSimilaritySearch(fixed.level(LEVELS[-1]), self.level(LEVELS[-1]), domain)
        best, _ = search.maximise(best, freedom, 15)
        return self.to_world @ best @ np.linalg.inv(fixed.to_world)

    def _between_frames(self, fixed: SearchedBrain, start: np.ndarray, freedom: str) -> np.ndarray:
        """Return a map between two worlds as one between the scans' own frames; for "rigid", the nearest rigid one."""
        found = np.linalg.inv(self.to_world) @ start @ fixed.to_world
        if freedom == "rigid":
            left, _, right = np.linalg.svd(found[:3, :3])
            found[:3, :3] = left @ right
        return found

    def _inside(self) -> sitk.Image:
        return sitk.BinaryErode(without_holes(self.image > DARK), [round(INSIDE / FINEST)] * 3)

    def _volume(self) -> int:
        return int(np.count_nonzero(sitk.GetArrayViewFromImage(self.image) > BRAIN))

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


def _scales(volumes: float) -> tuple[float, ...]:
    """Return the scales from which the search starts: 1, and where two brains differ much in volume, their ratio.

    An infant's brain, or one whose header states a wrong spacing, would be left as large as it is: the search over the
    scale ends where the smaller brain lies within the larger.

    Args:
        volumes: the ratio of the volumes of the two brains.
    """
    scale = volumes ** (1 / 3)
    return (1.0,) if abs(scale - 1) < OTHER_SIZE else (1.0, scale)


def _start(tilts: tuple[float, float, float], lift: float, scale: float) -> np.ndarray:
    """Return a rotation about the three body axes (radians) and a scale, followed by a shift upwards (mm), 4 x 4."""
    start = np.eye(4)
    rotation = sitk.Euler3DTransform((0.0, 0.0, 0.0), *map(float, tilts))
    start[:3, :3] = scale * np.reshape(rotation.GetMatrix(), (3, 3))
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
def searched_template() -> SearchedBrain:
    """Return the template prepared for the search."""
    brain = SearchedBrain.of(template(), template_mask())
    _ = brain.domain, [brain.level(level) for level in LEVELS]  # before two threads need them
    return brain


def template_domain(fixed_to_canonical: np.ndarray, fixed: SearchedBrain) -> np.ndarray:
    """Resample the template's mask to the frame of the fixed scan, bool [z, y, x]."""
    pull = to_transform(fixed_to_canonical @ fixed.to_world)
    mask = sitk.Resample(template_mask(), fixed.image, pull, sitk.sitkNearestNeighbor)
    return sitk.GetArrayFromImage(mask) > 0
