"""A pair whose true transform is known: the shipped template, and a subject simulated from it, as brain or as head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from .geometry.affine import middle
from .geometry.canonical import template, template_mask
from .geometry.resampling import resample

ROTATION_DEGREES = (4.0, -6.0, 8.0)
SHIFT_MM = (7.0, -12.0, 9.0)
WARP_MM = 4.0  # standard deviation of the simulated displacement
CONTROL_SPACING_MM = 32.0
WHITE, NOISE = 900.0, 12.0  # intensity of the brightest tissue, and standard deviation of the noise
# What a T1 scan shows around a brain: intensity (fraction of WHITE) over the distance (mm) from the brain's hull, which
# is its surface with the sulci closed. Fluid, inner table, marrow, outer table, fat of the scalp, skin, air.
AROUND_MM = (1.5, 2.5, 4.0, 4.8, 6.2, 7.0, 8.5, 9.5, 13.0, 14.0, 15.0, 15.8)
AROUND = (0.14, 0.05, 0.05, 0.30, 0.30, 0.05, 0.05, 0.85, 0.85, 0.50, 0.50, 0.0)
HULL_MM = 10.0  # clefts of up to about twice this width are closed
HEAD_SEED = 8  # of the head's random thickness, brightness and noise
POINTS = 20000  # about how many an error is measured at
MARGIN_MM = 20.0  # that a head adds to the subject's field of view on each side


@dataclass(frozen=True)
class SimulatedPair:
    """The template as the moving image, and as the fixed image a subject: the template resampled through a known map.

    Attributes:
        subject: the fixed image, int16.
        template: the moving image, uint8.
        truth: subject world to template world (LPS mm): the transform that registration should find.
        brain: mask of the subject's brain, on its grid.
    """

    subject: sitk.Image
    template: sitk.Image
    truth: sitk.Transform
    brain: sitk.Image


def simulate(seed: int = 7) -> SimulatedPair:
    """Deform the template smoothly, tilt it, and give it another scanner's noise, shading and contrast.

    The subject is an oblique scan of 1.0 x 1.0 x 1.2 mm on a left-handed grid, as scanners may store it.

    Args:
        seed: of the random deformation and noise.
    """
    random = np.random.default_rng(seed)
    still = template()
    warp = _smooth_field(still, random)
    tilt = sitk.Euler3DTransform()
    tilt.SetCenter(middle(still).tolist())
    tilt.SetRotation(*np.radians(ROTATION_DEGREES).tolist())
    tilt.SetTranslation(SHIFT_MM)
    truth = sitk.CompositeTransform([warp, tilt])
    grid = _scanner_grid(still, tilt)
    at_voxels = _at_voxels(truth, grid)
    brain = resample(template_mask(), grid, at_voxels, labels=True)
    values = sitk.GetArrayFromImage(resample(sitk.Cast(still, sitk.sitkFloat32), grid, at_voxels)) / 255
    mask = sitk.GetArrayViewFromImage(brain) > 0
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in values.shape), indexing="ij")
    shading = 1 + 0.12 * x - 0.1 * y + 0.08 * z
    values = WHITE * np.clip(values, 0, 1) ** 0.9 * shading + random.normal(0, NOISE, values.shape)
    subject = sitk.GetImageFromArray((np.clip(values, 0, None) * mask).astype(np.int16))
    subject.CopyInformation(grid)
    return SimulatedPair(subject, still, truth, brain)


def paint_head(pair: SimulatedPair) -> sitk.Image:
    """Paint fluid, skull and scalp around the subject's brain, so that it is a whole head as a scanner shows it.

    The shells follow the brain's hull, with a thickness and a brightness that vary smoothly; noise and air are those
    of a magnitude image. The brain keeps its values, so `SimulatedPair.truth` holds in it.

    Args:
        pair: the simulated pair.

    Returns:
        int16 image on the subject's voxels and `MARGIN_MM` around them.
    """
    random = np.random.default_rng(HEAD_SEED)
    margin = [round(MARGIN_MM / step) for step in pair.subject.GetSpacing()]
    subject, brain = (sitk.ConstantPad(image, margin, margin, 0) for image in (pair.subject, pair.brain))
    # The shells are smooth, and so computed on every second voxel.
    coarse = sitk.Shrink(brain, [2, 2, 2])
    distance = _distance(_distance(coarse) <= HULL_MM) + HULL_MM
    distance = sitk.SmoothingRecursiveGaussian(distance, 2.0) + _waves(coarse, random, 20.0)
    brightness = 1 + 0.15 * _waves(coarse, random, 8.0)
    around, factor = (
        sitk.GetArrayFromImage(resample(image, brain, sitk.Transform())) for image in (distance, brightness)
    )
    values = WHITE * np.interp(around, AROUND_MM, AROUND) * factor
    values = np.hypot(values + random.normal(0, NOISE, values.shape), random.normal(0, NOISE, values.shape))
    inside = sitk.GetArrayViewFromImage(brain) > 0
    head = sitk.GetImageFromArray(np.where(inside, sitk.GetArrayViewFromImage(subject), values).astype(np.int16))
    head.CopyInformation(brain)
    return head


def true_error(pair: SimulatedPair, transform: sitk.Transform) -> np.ndarray:
    """Compute the distance in mm between where a transform and the true one map points of the subject's brain.

    The points are taken evenly from the brain's voxels.

    Args:
        pair: the simulated pair.
        transform: subject world to template world (LPS mm).
    """
    voxels = np.argwhere(sitk.GetArrayViewFromImage(pair.brain) > 0)[:, ::-1]
    voxels = voxels[:: max(1, len(voxels) // POINTS)].tolist()
    world = [pair.brain.TransformIndexToPhysicalPoint(voxel) for voxel in voxels]
    found = np.array([transform.TransformPoint(point) for point in world])
    true = np.array([pair.truth.TransformPoint(point) for point in world])
    return np.linalg.norm(found - true, axis=1)


def _smooth_field(image: sitk.Image, random: np.random.Generator) -> sitk.BSplineTransform:
    size = np.array(image.GetSize()) * image.GetSpacing()
    mesh = np.maximum(np.round(size / CONTROL_SPACING_MM), 1).astype(int).tolist()
    warp = sitk.BSplineTransformInitializer(image, mesh, order=3)
    # Interpolating independent coefficients by a cubic B-spline in 3-D leaves about a third of their spread.
    warp.SetParameters((random.normal(0, WARP_MM * 3, len(warp.GetParameters())) / 1.2).tolist())
    return warp


def _distance(mask: sitk.Image) -> sitk.Image:
    """Compute the distance from a mask's surface, mm, negative inside."""
    return sitk.SignedMaurerDistanceMap(mask, squaredDistance=False, useImageSpacing=True)


def _waves(grid: sitk.Image, random: np.random.Generator, length_mm: float) -> sitk.Image:
    """Draw a smooth random image of mean 0 and standard deviation 1 on a grid."""
    noise = sitk.GetImageFromArray(random.normal(size=grid.GetSize()[::-1]).astype(np.float32))
    noise.CopyInformation(grid)
    return sitk.Cast(sitk.Normalize(sitk.SmoothingRecursiveGaussian(noise, length_mm)), sitk.sitkFloat32)


def _at_voxels(transform: sitk.Transform, grid: sitk.Image) -> sitk.Transform:
    """Evaluate a transform once at each voxel of a grid, for several images; B-splines take most of the time."""
    shape = (grid.GetSize(), grid.GetOrigin(), grid.GetSpacing(), grid.GetDirection())
    field = sitk.TransformToDisplacementField(transform, sitk.sitkVectorFloat64, *shape)
    return sitk.DisplacementFieldTransform(field)


def _scanner_grid(image: sitk.Image, tilt: sitk.Euler3DTransform) -> sitk.Image:
    """Create a left-handed grid that is rotated with the subject, so that the brain fills it."""
    spacing = (1.0, 1.0, 1.2)
    back = tilt.GetInverse()
    direction = np.reshape(back.GetMatrix(), (3, 3)) @ np.diag([-1.0, 1.0, 1.0])
    size = np.ceil(np.array(image.GetSize()) * image.GetSpacing() / spacing * 1.1).astype(int)
    centre = np.array(back.TransformPoint(middle(image).tolist()))
    grid = sitk.Image(size.tolist(), sitk.sitkUInt8)
    grid.SetSpacing(spacing)
    grid.SetDirection(direction.ravel().tolist())
    grid.SetOrigin((centre - direction @ (np.array(spacing) * (size - 1) / 2)).tolist())
    return grid
