"""Find the linear map under which two images correspond best, by Gauss-Newton steps.

ITK's gradient descent needs hundreds of evaluations of the metric where this search needs ten, so that it can start
from many rotations, all of which are searched from at once. Maps are 4 x 4 matrices on points in mm.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import SimpleITK as sitk

from .brain import box_around
from .linear_sampling import LinearSampler

UNIT = 50.0  # mm, about a brain's radius: scales rotations so that they move points about as far as shifts do
SMALLEST_STEP = 0.002  # mm, of the last pass
TRIES = 4  # of a step, each half as long as the one before


class LinearSearch(ABC):
    """The search for one pair of images, by a measure that each kind of search has of its own.

    Args:
        fixed: float32 image with identity direction, at whose voxels the images are compared. World coordinates should
            be near zero at its middle.
        moving: float32 image; it fades to 0 within a voxel outside its grid.
        domain: bool [z, y, x]: the region in which the images are compared. Its grid has the extent of `fixed`, and
            sides that are whole multiples of those of `fixed`.
        margin: voxels around the domain that the measure reads.
    """

    def __init__(self, fixed: sitk.Image, moving: sitk.Image, domain: np.ndarray, margin: int) -> None:
        share = sitk.GetImageFromArray(domain.astype(np.float32))
        factors = [fine // coarse for fine, coarse in zip(share.GetSize(), fixed.GetSize(), strict=True)]
        inside = sitk.GetArrayFromImage(sitk.BinShrink(share, factors)) > 0.5
        box = box_around(inside, margin)  # all that is sampled
        self.inside = inside[box]
        self.fixed = fixed[box[::-1]]
        self._voxels = np.flatnonzero(self.inside)
        self.points = self._points_of(self.inside).astype(np.float32)
        self.points[:3] /= UNIT
        read = self._reads(self.inside)
        self._read = np.flatnonzero(read)
        self._moving = LinearSampler(moving, self._points_of(read))

    def _points_of(self, region: np.ndarray) -> np.ndarray:
        """Return the points, mm, of a region of the grid of fixed: [4, n], the last row ones."""
        points = np.argwhere(region)[:, ::-1] * self.fixed.GetSpacing() + self.fixed.GetOrigin()
        return np.vstack([points.T, np.ones(len(points))])

    def maximise(
        self, start: np.ndarray, freedom: str, passes: int, smallest: float = SMALLEST_STEP
    ) -> tuple[np.ndarray, float]:
        """Maximise the measure locally from one map, 4 x 4, as `maximise_each` does from several."""
        maps, reached = self.maximise_each(start[None], freedom, passes, smallest)
        return maps[0], float(reached[0])

    def maximise_each(
        self, starts: np.ndarray, freedom: str, passes: int, smallest: float = SMALLEST_STEP
    ) -> tuple[np.ndarray, np.ndarray]:
        """Maximise the measure locally, from each of several maps.

        Every pass finds the generator G for which moving(map o exp(G)) fits `fixed` best in the least squares sense,
        with the mean of both images' gradients (efficient second-order minimisation, Benhimane, IROS 2004). A step that
        does not raise the measure is halved, up to three times.

        Args:
            starts: [n, 4, 4] from points of fixed to points of moving, mm.
            freedom: "affine", "similarity" or "rigid"; for the last two the starts have to be such maps themselves.
            passes: maximum number of passes.
            smallest: step after which there is no further pass, mm.

        Returns:
            The maps, [n, 4, 4], and what each reaches, [n].
        """
        basis = _generators(freedom)
        best = np.array(starts, float)
        sampled, reached = self._sample(best)
        searching = np.arange(len(best))
        for _ in range(passes):
            steps = self._steps(sampled[searching], basis) @ basis.T
            waiting = np.arange(len(searching))
            for _ in range(TRIES):
                candidates = best[searching[waiting]] @ _exponential(steps[waiting])
                found, reaches = self._sample(candidates)
                better = reaches > reached[searching[waiting]]
                those = searching[waiting[better]]
                best[those], sampled[those], reached[those] = candidates[better], found[better], reaches[better]
                waiting = waiting[~better]
                if not len(waiting):
                    break
                steps[waiting] /= 2
            goes_on = np.abs(steps).max(axis=1) >= smallest
            goes_on[waiting] = False
            searching = searching[goes_on]
            if not len(searching):
                break
        return best, reached

    @abstractmethod
    def _reads(self, inside: np.ndarray) -> np.ndarray:
        """Return the region, of the form of `inside`, whose values decide on the measure and on its gradient."""

    @abstractmethod
    def _sample(self, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Resample moving to the grid of fixed under maps, [n, ...], and compute the measure over the domain, [n]."""

    @abstractmethod
    def _steps(self, sampled: np.ndarray, basis: np.ndarray) -> np.ndarray:
        """Compute the next generator of each map, as coefficients of the basis, [n, ...]."""

    def _resampled(self, maps: np.ndarray) -> np.ndarray:
        """Resample moving to the grid of fixed under maps, [n, z, y, x]; it is 0 where it is not read."""
        values = np.zeros((len(maps), self.inside.size), np.float32)
        values[:, self._read] = self._moving.under(maps)
        return values.reshape(-1, *self.inside.shape)

    def _within(self, values: np.ndarray) -> np.ndarray:
        """Return the values of images on the grid of fixed, [..., z, y, x], over the domain, [..., voxels]."""
        return values.reshape(*values.shape[:-3], -1).take(self._voxels, axis=-1)

    def _gradient(self, values: np.ndarray) -> np.ndarray:
        """Compute the gradients of images on the grid of fixed, [..., z, y, x], over the domain.

        Returns:
            Per mm, [..., 3, voxels], order x, y, z.
        """
        parts = np.gradient(values, *self.fixed.GetSpacing()[::-1], axis=(-3, -2, -1))
        return np.stack([self._within(part) for part in parts[::-1]], axis=-2)

    def _rows(self, gradient: np.ndarray, more: int = 0) -> np.ndarray:
        """Compute how images of these gradients, [n, 3, voxels], change with each of the twelve generators.

        Returns:
            [n, 12, voxels], with room for as many rows `more`.
        """
        count, _, length = gradient.shape
        rows = np.empty((count, 12 + more, length), np.float32)
        for axis in range(3):
            np.multiply(gradient[:, axis, None], self.points, out=rows[:, 4 * axis : 4 * axis + 4])
        return rows


class CorrelationSearch(LinearSearch):
    """The search by the correlation of two images of one contrast, -1 to 1; `gain` and `offset` are fitted too.

    Args:
        fixed, moving, domain: as of `LinearSearch`.
    """

    def __init__(self, fixed: sitk.Image, moving: sitk.Image, domain: np.ndarray) -> None:
        super().__init__(fixed, moving, domain, margin=1)
        values = sitk.GetArrayFromImage(self.fixed)
        self.target = self._within(values)
        self.target_pattern = _pattern(self.target)
        self.target_gradient = self._gradient(values)

    def _reads(self, inside: np.ndarray) -> np.ndarray:
        read = np.pad(inside, 1)
        read[1:-1, 1:-1, 1:-1] |= np.logical_or.reduce(
            [np.roll(read, step, axis)[1:-1, 1:-1, 1:-1] for axis in range(3) for step in (-1, 1)]
        )
        return read[1:-1, 1:-1, 1:-1]

    def _sample(self, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values = self._resampled(maps)
        inside = self._within(values)
        is_constant = inside.min(axis=1) == inside.max(axis=1)
        return values, np.where(is_constant, -1.0, _pattern(inside) @ self.target_pattern)

    def _steps(self, sampled: np.ndarray, basis: np.ndarray) -> np.ndarray:
        source = self._within(sampled)
        gain, offset = _lines(source, self.target)
        gradient = 0.5 * (gain[:, None] * self._gradient(sampled) + self.target_gradient)
        rows = self._rows(gradient, more=2)
        rows[:, 12], rows[:, 13] = source, 1
        normal = (rows @ rows.swapaxes(1, 2)).astype(np.float64)
        error = (rows @ (self.target - gain * source - offset)[..., None]).astype(np.float64)[..., 0]
        allowed = np.zeros((14, basis.shape[1] + 2))
        allowed[:12, :-2], allowed[12:, -2:] = basis, np.eye(2)
        return solved(allowed.T @ normal @ allowed, error @ allowed)[:, :-2]


def solved(normal: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Solve normal equations, [..., k, k] and [..., k], also where an image is constant."""
    size = normal.shape[-1]
    ridge = 1e-9 * np.trace(normal, axis1=-2, axis2=-1)[..., None, None] * np.eye(size)
    return np.linalg.solve(normal + ridge, error[..., None])[..., 0]


def _pattern(values: np.ndarray) -> np.ndarray:
    """Return values, [..., voxels], less their mean, as vectors of length 1, whose product is their correlation."""
    centred = values - values.mean(axis=-1, keepdims=True, dtype=np.float64)
    return centred / np.linalg.norm(centred, axis=-1, keepdims=True).clip(1e-12)


def _lines(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the slopes and offsets, float32 [n, 1], of the regression lines of y, [voxels], on x, [n, voxels]."""
    mean_x, mean_y = x.mean(axis=1, keepdims=True), y.mean()
    centred = x - mean_x
    slope = (centred @ y)[:, None] / (centred * x).sum(axis=1, keepdims=True).clip(1e-12)
    return slope.astype(np.float32), (mean_y - slope * mean_x).astype(np.float32)


def _generators(freedom: str) -> np.ndarray:
    """Return the basis of the generators, [12, n].

    Each column is a 3 x 4 matrix row by row: its linear part in mm per UNIT mm, its shift in mm.
    """
    if freedom == "affine":
        return np.eye(12)
    rotations = np.zeros((3, 3, 4))
    for axis, (i, j) in enumerate(((1, 2), (2, 0), (0, 1))):
        rotations[axis, i, j], rotations[axis, j, i] = -1, 1
    shifts = np.zeros((3, 3, 4))
    shifts[[0, 1, 2], [0, 1, 2], 3] = 1
    scale = np.eye(3, 4)[None]
    parts = [rotations, shifts] if freedom == "rigid" else [rotations, shifts, scale]
    return np.concatenate(parts).reshape(-1, 12).T


def _exponential(steps: np.ndarray) -> np.ndarray:
    """Compute the matrix exponentials, [n, 4, 4], of the generators with these entries, [n, 12]."""
    generator = np.zeros((len(steps), 4, 4))
    generator[:, :3] = steps.reshape(-1, 3, 4)
    generator[:, :3, :3] /= UNIT
    result = term = np.eye(4)
    for order in range(1, 16):
        term = term @ generator / order
        result = result + term
    return result
