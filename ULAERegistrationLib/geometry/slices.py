"""Tell whether the slices of a scan fit each other."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

ENOUGH = 64  # rows of a slice, and voxels of a row, that suffice for a mean
# In 123 scans (T1, T2, FLAIR, slices of up to 4 mm) the ratio is .5 to .79, and noise alone brings it to 1. Where every
# second slice lies 3 mm beside the others it is 1.1 to 1.4, and 1.3 where it is brighter by a tenth.
ALTERNATING = 1.05


def slices_alternate(scan: sitk.Image, brain: sitk.Image) -> bool:
    """Tell whether slices next to each other differ more than slices two apart, along any axis.

    So they do where the head has moved between two passes of the scanner, or where slices were put into a wrong order.

    Args:
        scan: a scan.
        brain: mask of its brain, on its grid.
    """
    values, inside = sitk.GetArrayViewFromImage(scan), sitk.GetArrayViewFromImage(brain) > 0
    return any(_alternation(values, inside, axis) > ALTERNATING for axis in range(3))


def _alternation(values: np.ndarray, inside: np.ndarray, axis: int) -> float:
    """Return by how much slices next to each other across an axis differ, divided by how much slices two apart do."""
    sparse = tuple(
        slice(None, None, 1 if other == axis else max(1, size // ENOUGH)) for other, size in enumerate(values.shape)
    )
    across, shown = (np.moveaxis(array[sparse], axis, 0) for array in (values, inside))
    three = shown[:-2] & shown[1:-1] & shown[2:]
    first, middle, last = (part[three].astype(np.float32) for part in (across[:-2], across[1:-1], across[2:]))
    differences = np.abs(last - first)
    return float(np.abs(middle - first).mean() / max(differences.mean(), 1e-9)) if differences.any() else 0.0
