"""Even out the brightness of a scan where a coil has shaded it strongly.

Shading is by how much the scan is brighter than the template, smoothed over several centimetres. Ordinary scans have
little of it and are left as they are.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from .brain import floor_of
from .canonical import canonical_grid, template_values
from .contrast import inverts_t1
from .likeness import BLOCK, block_means

SMOOTHING_MM = 30.0  # sigma; lobes and ventricles differ from person to person over less
PASSES = 3  # of the estimate: smoothing draws both ends of the brain towards the middle, less so each time
# Ratio of the brightest to the darkest end above which a scan is evened out. Of 82 T1 brains one has more (2.1), the
# others 1.14 to 1.77, 1.40 in the median.
STRONG = 1.8
LEAST = 0.02  # of a brain's mean, what its smoothed intensities are at least


def shading(canonical: np.ndarray) -> np.ndarray:
    """Estimate how much brighter than the template a T1 scan is from place to place.

    Args:
        canonical: the scan on the canonical grid, float32 [L, P, S], 0 outside the brain.

    Returns:
        Factors of mean 1 in the brain, of blocks of `BLOCK` voxels, float32 [L, P, S].
    """
    average = block_means(template_values())
    values = block_means(canonical)
    brain = (values > 0.1 * values.max()) & (average > 0.1 * average.max())
    found = np.ones_like(values)
    if not brain.any():
        return found
    for _ in range(PASSES):
        # ITK's recursive smoothing may fall below 0 beside what is far brighter.
        smooth = np.maximum(_smoothed(values / found * brain), LEAST * values[brain].mean())
        found *= smooth / np.maximum(_smoothed(average * brain), 1e-3)
    return found / found[brain].mean()


def without_strong_shading(
    scan: sitk.Image, canonical: np.ndarray, to_canonical: sitk.Transform, mask: sitk.Image | None = None
) -> sitk.Image:
    """Divide a scan by its shading where that is strong.

    Shading multiplies what the scan shows above the intensity that counts as nothing.

    Args:
        scan: the scan.
        canonical: the scan on the canonical grid, as `shading` takes it.
        to_canonical: from the scan's world to the canonical world (LPS mm).
        mask: of its brain, on its grid; None where it is taken as it is.

    Returns:
        float32 on the scan's grid, with 0 as the intensity of nothing; the scan itself where its shading is not strong,
        or where it is bright where T1 is dark, so that it cannot be compared with the template.
    """
    if inverts_t1(canonical):
        return scan
    factors = shading(canonical)
    inside = block_means((canonical > 0).astype(np.float32)) > 0.5
    if not inside.any():
        return scan
    low, high = np.percentile(factors[inside], (1, 99))
    if high <= STRONG * low:
        return scan
    field = sitk.GetImageFromArray(np.ascontiguousarray(factors.transpose(2, 1, 0)))
    field.SetSpacing([float(BLOCK)] * 3)
    field.SetOrigin(canonical_grid().TransformContinuousIndexToPhysicalPoint([(BLOCK - 1) / 2] * 3))
    there = sitk.Resample(field, scan, to_canonical, sitk.sitkLinear, 1.0, sitk.sitkFloat32)
    return (sitk.Cast(scan, sitk.sitkFloat32) - floor_of(scan, mask)) / there


def _smoothed(values: np.ndarray) -> np.ndarray:
    image = sitk.GetImageFromArray(values.astype(np.float32))
    return sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(image, SMOOTHING_MM / BLOCK))
