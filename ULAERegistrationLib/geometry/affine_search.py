"""Find the linear map under which two images correspond best, by Gauss-Newton steps.

ITK's gradient descent needs hundreds of evaluations of the metric where this search needs ten, at a few hundredths of a
second each, so that it can start from many rotations. Maps are 4 x 4 matrices on points in mm.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import SimpleITK as sitk

from .affine import to_transform
from .brain import box_around

UNIT = 50.0  # mm, about a brain's radius: scales rotations so that they move points about as far as shifts do
SMALLEST_STEP = 0.002  # mm, of the last pass


class LinearSearch(ABC):
    """The search for one pair of images, by a measure that each kind of search has of its own.

    Args:
        fixed: float32 image with identity direction, at whose voxels the images are compared. World coordinates should
            be near zero at its middle.
        moving: float32 image; it counts as 0 outside its grid.
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
        self.fixed, self.moving = fixed[box[::-1]], moving
        points = np.argwhere(self.inside)[:, ::-1] * self.fixed.GetSpacing() + self.fixed.GetOrigin()
        self.points = np.column_stack([points / UNIT, np.ones(len(points))]).T.astype(np.float32, order="C")

    def maximise(
        self, start: np.ndarray, freedom: str, passes: int, smallest: float = SMALLEST_STEP
    ) -> tuple[np.ndarray, float]:
        """Maximise the measure locally, from a given map.

        Every pass finds the generator G for which moving(map o exp(G)) fits `fixed` best in the least squares sense,
        with the mean of both images' gradients (efficient second-order minimisation, Benhimane, IROS 2004). A step that
        does not raise the measure is halved, up to three times.

        Args:
            start: 4 x 4 from points of fixed to points of moving, mm.
            freedom: "affine", "similarity" or "rigid"; for the last two `start` has to be such a map itself.
            passes: maximum number of passes.
            smallest: step after which there is no further pass, mm.

        Returns:
            The map, 4 x 4, and what it reaches.
        """
        basis = _generators(freedom)
        best = start
        values, reached = self._sample(best)
        for _ in range(passes):
            step = basis @ self._step(values, basis)
            for _ in range(4):
                candidate = best @ _exponential(step)
                candidate_values, candidate_reaches = self._sample(candidate)
                if candidate_reaches > reached:
                    break
                step = step / 2
            else:
                break
            best, values, reached = candidate, candidate_values, candidate_reaches
            if np.abs(step).max() < smallest:
                break
        return best, reached

    @abstractmethod
    def _sample(self, matrix: np.ndarray) -> tuple[np.ndarray, float]:
        """Resample moving to the grid of fixed, and compute the measure over the domain."""

    @abstractmethod
    def _step(self, sampled: np.ndarray, basis: np.ndarray) -> np.ndarray:
        """Compute the next generator, as coefficients of the basis."""

    def _resampled(self, matrix: np.ndarray) -> np.ndarray:
        """Resample moving to the grid of fixed, [z, y, x]."""
        image = sitk.Resample(self.moving, self.fixed, to_transform(matrix), sitk.sitkLinear, 0.0)
        return sitk.GetArrayFromImage(image)

    def _gradient(self, values: np.ndarray) -> np.ndarray:
        """Compute the gradient of an image on the grid of fixed, over the domain: per mm, [3, n], order x, y, z."""
        parts = np.gradient(values, *self.fixed.GetSpacing()[::-1])
        return np.stack([part[self.inside] for part in parts[::-1]])

    def _rows(self, gradient: np.ndarray) -> np.ndarray:
        """Compute how an image of this gradient, [3, n], changes with each of the twelve generators, [12, n]."""
        rows = np.empty((12, gradient.shape[1]), np.float32)
        for axis in range(3):
            np.multiply(gradient[axis], self.points, out=rows[4 * axis : 4 * axis + 4])
        return rows


class CorrelationSearch(LinearSearch):
    """The search by the correlation of two images of one contrast, -1 to 1; `gain` and `offset` are fitted too.

    Args:
        fixed, moving, domain: as of `LinearSearch`.
    """

    def __init__(self, fixed: sitk.Image, moving: sitk.Image, domain: np.ndarray) -> None:
        super().__init__(fixed, moving, domain, margin=1)
        values = sitk.GetArrayFromImage(self.fixed)
        self.target = values[self.inside]
        self.target_pattern = _pattern(self.target)
        self.target_gradient = self._gradient(values)

    def _sample(self, matrix: np.ndarray) -> tuple[np.ndarray, float]:
        values = self._resampled(matrix)
        inside = values[self.inside]
        if inside.min() == inside.max():
            return values, -1.0
        return values, float(_pattern(inside) @ self.target_pattern)

    def _step(self, values: np.ndarray, basis: np.ndarray) -> np.ndarray:
        source = values[self.inside]
        gain, offset = _line(source, self.target)
        gradient = 0.5 * (gain * self._gradient(values) + self.target_gradient)
        rows = np.concatenate([self._rows(gradient), source[None], np.ones_like(source)[None]])
        normal = (rows @ rows.T).astype(np.float64)
        error = (rows @ (self.target - gain * source - offset)).astype(np.float64)
        allowed = np.zeros((14, basis.shape[1] + 2))
        allowed[:12, :-2], allowed[12:, -2:] = basis, np.eye(2)
        normal, error = allowed.T @ normal @ allowed, allowed.T @ error
        return solved(normal, error)[:-2]


def solved(normal: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Solve the normal equations, also where an image is constant."""
    return np.linalg.solve(normal + 1e-9 * np.trace(normal) * np.eye(len(normal)), error)


def _pattern(values: np.ndarray) -> np.ndarray:
    """Return values less their mean, as a vector of length 1: the product of two such is their correlation."""
    centred = values - values.mean(dtype=np.float64)
    return centred / max(float(np.linalg.norm(centred)), 1e-12)


def _line(x: np.ndarray, y: np.ndarray) -> tuple[np.float32, np.float32]:
    """Return the slope and offset of the regression line of y on x."""
    mean_x, mean_y = x.mean(), y.mean()
    slope = ((x - mean_x) @ y) / max(float((x - mean_x) @ x), 1e-12)
    return np.float32(slope), np.float32(mean_y - slope * mean_x)


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


def _exponential(step: np.ndarray) -> np.ndarray:
    """Compute the matrix exponential, 4 x 4, of the generator with these 12 entries."""
    generator = np.zeros((4, 4))
    generator[:3] = step.reshape(3, 4)
    generator[:3, :3] /= UNIT
    result = term = np.eye(4)
    for order in range(1, 16):
        term = term @ generator / order
        result = result + term
    return result
