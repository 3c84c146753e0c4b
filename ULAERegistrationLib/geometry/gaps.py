"""Find where one of two aligned brains lacks a part: cut off by the field of view, resected, or lost in stripping."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from .brain import box_around, without_holes

# How deep a part must be, mm from its outermost voxels, to count as a gap: at the surfaces and in the ventricles of two
# people it is 2.8 mm in the median. Where necks or membranes were left in one of two scans it is more, and rightly so.
SMALLEST_MM = 4.0
MARGIN_MM = 8.0  # around a gap, where the rim of the cut would be compared with tissue
LEAST_LEFT = 0.3  # of what the two brains show together; where gaps leave less, the two masks show different objects


def gaps(first: np.ndarray, second: np.ndarray, voxel_mm: float) -> np.ndarray:
    """Find the parts that only one of two aligned brains shows, and a margin around them.

    Args:
        first, second: bool, where each brain is, on one grid; holes are filled.
        voxel_mm: side of the grid's voxels, mm.

    Returns:
        bool on the same grid; false everywhere for two whole brains, and where hardly anything would be left.
    """
    one, two = _filled(first), _filled(second)
    cores = _cores(one & ~two, voxel_mm) | _cores(two & ~one, voxel_mm)
    if not cores.any():
        return cores
    found = _within((SMALLEST_MM + MARGIN_MM) / voxel_mm, cores)
    either = first | second
    if np.count_nonzero(either & ~found) < LEAST_LEFT * np.count_nonzero(either):
        return np.zeros_like(found)
    return found


def unshared_parts(
    first: np.ndarray, second: np.ndarray, voxel_mm: float, within: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Find the parts of either of two brains that the other lacks, whole.

    Parts that are nowhere deeper than `SMALLEST_MM` are left out: they differ by how the scans were stripped.

    Args:
        first, second: bool, where each brain is, on one grid; holes are filled.
        voxel_mm: side of the grid's voxels, mm.
        within: bool on the same grid, where parts are looked for; None looks everywhere.

    Returns:
        The parts of the first and of the second brain, bool on the same grid.
    """
    one, two = _filled(first), _filled(second)
    where = True if within is None else within
    return _thick_parts(one & ~two & where, voxel_mm), _thick_parts(two & ~one & where, voxel_mm)


def _thick_parts(lacking: np.ndarray, voxel_mm: float) -> np.ndarray:
    return _within(SMALLEST_MM / voxel_mm, _cores(lacking, voxel_mm)) & lacking


def _filled(brain: np.ndarray) -> np.ndarray:
    filled = np.zeros_like(brain)
    box = box_around(brain, 1)  # most of a grid is empty
    image = sitk.GetImageFromArray(brain[box].astype(np.uint8))
    filled[box] = sitk.GetArrayFromImage(without_holes(image)) > 0
    return filled


def _cores(lacking: np.ndarray, voxel_mm: float) -> np.ndarray:
    """Return what lies deeper than `SMALLEST_MM` in a region, which is taken to go on outside the grid.

    The region is eroded by a cube, an axis at a time, in a small part of the time that ITK's distances take.
    """
    for axis in range(3):
        inner = lacking.copy()
        along, eroded = np.moveaxis(lacking, axis, 0), np.moveaxis(inner, axis, 0)
        for step in range(1, round(SMALLEST_MM / voxel_mm) + 1):
            eroded[:-step] &= along[step:]
            eroded[step:] &= along[:-step]
        lacking = inner
    return lacking


def _within(voxels: float, region: np.ndarray) -> np.ndarray:
    """Return a region with all within a distance of it, in voxels."""
    if not region.any():
        return region
    image = sitk.GetImageFromArray(region.astype(np.uint8))
    distance = sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=False)
    return sitk.GetArrayViewFromImage(distance) <= voxels
