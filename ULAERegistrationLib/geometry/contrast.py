"""Tell whether two aligned scans have the same contrast, and give a scan of another contrast the intensities of T1."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from ..both import for_both
from ..t1_intensities import DARK, along, give_t1_intensities, t1_curve
from ..tensors import array_of, tensor_of
from .canonical import canonical_grid, template_average, template_tissues
from .likeness import block_means

WHOLLY = 0.9  # fraction of a block that has to be brain in both
SMOOTHING = 8.0  # blocks, sigma of the local mean by which intensities are divided: coils brighten what is near them
# Fluid is dark in T1 and in FLAIR; only tissue tells them apart. Of either scan, the darkest blocks are left out.
DARKEST_PERCENT = 10
# 700 pairs of T1 scans correlate by .29 and more, 168 of T1 with and without contrast agent by .21 and more, 336 of T1
# and T2 or FLAIR by -.08 at most, four of T2 and FLAIR by .13 at most.
SAME_CONTRAST = 0.17
FLUID_PERCENT = 2  # the darkest of a brain's voxels show fluid in T1 and in FLAIR
# On a scan's own scale of fluid 0 and white matter 1: tissue is brighter than the first, and less bright than the
# second it is grey matter in T1.
TISSUE, GREY_MATTER = 0.35, 0.75
BRIGHT_TISSUE = 0.5
# 82 stripped T1 scans and 14 others have .54 to .95, noisy, coarse or shaded ones .52 and more, one of 4 mm slices .50;
# twelve FLAIR, four T2, a PD and three T1 with contrast agent .48 and less.
TISSUE_CONTRAST = 0.49


def have_same_contrast(fixed: np.ndarray, moving: np.ndarray) -> bool:
    """Tell whether two scans seem to have the same contrast.

    Args:
        fixed, moving: linearly aligned scans on one grid, float32 [L, P, S], 0 outside the brain.
    """
    if inverts_t1(fixed) != inverts_t1(moving):
        return False
    return intensity_correlation(fixed, moving) >= SAME_CONTRAST


def intensity_correlation(fixed: np.ndarray, moving: np.ndarray) -> float:
    """Compute the correlation of two scans' intensities in the brain's tissue, averaged over blocks.

    Before a registration the folds of the cortex do not match; blocks are larger than these.

    Args:
        fixed, moving: linearly aligned scans on one grid, float32 [L, P, S], 0 outside the brain.

    Returns:
        -1 to 1; 0 where the brains hardly overlap or one of them is constant.
    """
    inside = block_means(((fixed > 0) & (moving > 0)).astype(np.float32)) > WHOLLY
    first, second = (even[inside] for even in for_both(_evenly_bright, (fixed,), (moving,)))
    if len(first) < 2:
        return 0.0
    bright = (first > np.percentile(first, DARKEST_PERCENT)) & (second > np.percentile(second, DARKEST_PERCENT))
    first, second = first[bright], second[bright]
    if len(first) < 2 or first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def as_t1(scan: np.ndarray) -> np.ndarray:
    """Give a scan of any contrast the intensities of T1, as the template shows them (see `t1_intensities`).

    Args:
        scan: on the canonical grid, float32 [L, P, S] in [0, 1], 0 outside the brain.

    Returns:
        The same shape and range; the scan itself where it does not overlap the template, or has one intensity.
    """
    return array_of(give_t1_intensities(tensor_of(scan), tensor_of(template_average())))


def inverts_t1(scan: np.ndarray) -> bool:
    """Tell whether a scan is mostly bright where T1 is dark, as T2 is.

    Correlation with the intensities of T1: T1 .93 to 1.00, T1 with contrast agent .78, FLAIR .46 to .98, T2 -.79 to
    -.63 (18 scans).
    """
    seen, average = (tensor_of(image[::2, ::2, ::2]) for image in (scan, template_average()))  # enough for a sign
    curve, brain = t1_curve(seen, average), seen > DARK
    if curve is None or not brain.any():
        return False
    values, mapped = array_of(seen[brain]), array_of(along(curve, seen[brain]))
    if values.std() == 0 or mapped.std() == 0:
        return False
    return bool(np.corrcoef(values, mapped)[0, 1] < 0)


def shows_tissue_as_t1(scan: np.ndarray) -> bool:
    """Tell whether a scan shows grey matter between fluid and white matter, as far from both as T1 does.

    Blocks of two scans do not tell a T1 from a FLAIR of low contrast, in which fluid is dark and all tissue bright.

    Args:
        scan: on the canonical grid, float32 [L, P, S], 0 outside the brain.
    """
    return tissue_contrast(scan) >= TISSUE_CONTRAST


def tissue_contrast(scan: np.ndarray) -> float:
    """Measure how far grey matter is from white matter and from fluid.

    Args:
        scan: as `shows_tissue_as_t1` takes it.

    Returns:
        The share of grey matter in the tissue, plus how much darker the cortex is than white matter, of the range from
        fluid to white matter; at least .5 in T1, negative in T2. 0 where the scan shows no brain.
    """
    scan = scan[::2, ::2, ::2]  # enough for medians
    inside, white, grey = template_tissues()
    shown = (scan > 0) & inside
    if not (shown & white).any() or not (shown & grey).any():
        return 0.0
    fluid, bright = np.percentile(scan[shown], FLUID_PERCENT), np.median(scan[shown & white])
    scale = (scan - fluid) / max(bright - fluid, 1e-3)
    tissue = scale[shown & (scale > TISSUE)]
    if tissue.size == 0:
        return 0.0
    share = float((tissue < GREY_MATTER).mean())
    bright_tissue = shown & (scale > BRIGHT_TISSUE)
    medians = [
        np.median(scale[bright_tissue & where]) if (bright_tissue & where).any() else 0.0 for where in (white, grey)
    ]
    return share + float(medians[0] - medians[1])


def scan_as_t1(scan: sitk.Image, canonical: np.ndarray, to_canonical: sitk.Transform) -> sitk.Image:
    """Give a scan the intensities of T1 (see `as_t1`), on its own grid.

    Args:
        scan: the scan.
        canonical: the scan on the canonical grid, as `as_t1` takes it.
        to_canonical: from the scan's world to the canonical world (LPS mm).

    Returns:
        float32, 0 outside the canonical grid.
    """
    mapped = sitk.GetImageFromArray(np.ascontiguousarray(as_t1(canonical).transpose(2, 1, 0)))
    mapped.CopyInformation(canonical_grid())
    return sitk.Resample(mapped, scan, to_canonical, sitk.sitkLinear, 0.0, sitk.sitkFloat32)


def _evenly_bright(scan: np.ndarray) -> np.ndarray:
    """Return the means of a scan's blocks, divided by their local mean in the brain."""
    values, brain = block_means(scan), block_means((scan > 0).astype(np.float32)) > 0.5
    nearby = _smoothed(values * brain) / np.maximum(_smoothed(brain.astype(np.float32)), 1e-3)
    return values / np.maximum(nearby, 1e-6)


def _smoothed(values: np.ndarray) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(values), SMOOTHING))
