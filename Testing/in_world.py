"""Points of the world (LPS mm), for tests and benchmarks: where SimpleITK maps them, and the middle of an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk


def mapped(transform: sitk.Transform, points: np.ndarray | Sequence[Sequence[float]]) -> np.ndarray:
    """Where a transform maps points, `[n, 3]`."""
    return np.array([transform.TransformPoint(point) for point in np.asarray(points, float).tolist()])


def mean_apart(one: sitk.Transform, other: sitk.Transform, points: np.ndarray) -> float:
    """The mean distance of where two transforms map points, mm."""
    return float(np.linalg.norm(mapped(one, points) - mapped(other, points), axis=1).mean())


def centre_of(image: sitk.Image) -> np.ndarray:
    """The middle of an image."""
    return np.array(image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()]))


def lies_at(image: sitk.Image, voxel: tuple[int, int, int]) -> np.ndarray:
    """The place of a voxel, RAS mm."""
    return np.array(image.TransformIndexToPhysicalPoint(voxel)) * (-1, -1, 1)
