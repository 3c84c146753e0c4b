"""From flows in voxels of the canonical grid to transforms in the world (LPS mm), and back out to files.

All transforms here are pull-backs, as ITK's are: they map a point of the fixed image to the point of the moving image
that is shown there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from .alignment import Alignment, canonical_grid
from .errors import RegistrationError
from .images import background_value, check_output_file, whole_or_nothing

TRANSFORM_EXTENSIONS = (".h5", ".nii.gz")
PAD = 16  # voxels around the canonical grid over which a flow dies away
RELAXATION = 0.35  # of the inverse's fixed-point steps: the whole way swings without end where a sulcus opens
PAD_KEPT = 4  # of these, the voxels that keep the border value, as the network's own composition does


def flow_transform(flow: np.ndarray) -> sitk.DisplacementFieldTransform:
    """T = id + flow as a transform of canonical world points.

    Beyond the grid the border value continues and then fades smoothly to zero, so that nothing tears where the fixed
    image shows more than the canonical grid holds.

    Args:
        flow: float32 [3, L, P, S], voxels of the canonical grid.
    """
    return sitk.DisplacementFieldTransform(sitk.Cast(_padded_image(flow), sitk.sitkVectorFloat64))


def step_transform(flow: np.ndarray, alignment: Alignment) -> sitk.CompositeTransform:
    """One step in the fixed image's world: A_f^-1 o T o A_f, exact.

    Args:
        flow: float32 [3, L, P, S], voxels of the canonical grid.
        alignment: where the fixed image lies in the canonical frame.

    Returns:
        Transform from fixed world to fixed world.
    """
    to_canonical = alignment.fixed_to_canonical
    return sitk.CompositeTransform([to_canonical.GetInverse(), flow_transform(flow), to_canonical])


def chain_transform(flows: Sequence[np.ndarray], alignment: Alignment) -> sitk.CompositeTransform:
    """The exact map of several steps: A_m^-1 o T_1 o T_2 o ... o A_f, each flow interpolated by itself.

    Equal to A_m^-1 o A_f o T_1^w o T_2^w o ... with the world form of each step, because their affines cancel.

    Args:
        flows: each float32 [3, L, P, S], voxels of the canonical grid, the first step first.
        alignment: where both images lie in the canonical frame.

    Returns:
        Transform from fixed world to moving world.
    """
    steps = [flow_transform(flow) for flow in flows]
    return sitk.CompositeTransform([alignment.moving_to_canonical.GetInverse(), *steps, alignment.fixed_to_canonical])


def displacement_field(
    transform: sitk.Transform, fixed: sitk.Image, spacing: float = 1.0, margin: float = 5.0
) -> sitk.DisplacementFieldTransform:
    """Sample any transform as one displacement field over the whole fixed image.

    Sampling the exact chain is as fast as sampling a composed flow, and saves one interpolation. At the voxels of the
    fixed image (every n-th of them, where they are finer than the samples) the field is exact.

    Args:
        transform: from fixed world, as `chain_transform` or `step_transform` give it.
        fixed: the image whose field of view is covered, along whose axes the field is sampled.
        spacing: of the samples, as `covering_grid` takes it, mm.
        margin: how far the samples reach beyond the fixed image, mm.

    Returns:
        The same map (LPS mm), linear between the samples and the identity beyond them.
    """
    grid = covering_grid(fixed, spacing, margin)
    return sitk.DisplacementFieldTransform(
        sitk.TransformToDisplacementField(
            transform, sitk.sitkVectorFloat64, grid.GetSize(), grid.GetOrigin(), grid.GetSpacing(), grid.GetDirection()
        )
    )


def covering_grid(image: sitk.Image, spacing: float = 1.0, margin: float = 5.0) -> sitk.Image:
    """An empty image with the axes of `image` that covers its voxels and a margin.

    Its samples fall on voxels of the image (on all of them, or on every n-th), so that a field sampled there is exact
    where the image has its voxels, and only linear in between.

    Args:
        image: what to cover.
        spacing: wanted, mm; along each axis the nearest multiple or whole fraction of the image's own is taken.
        margin: beyond the image's outermost voxel centres, at least, mm.

    Returns:
        uint8 image of zeros.
    """
    own = np.array(image.GetSpacing())
    multiple, parts = np.maximum(1, np.rint(spacing / own)), np.maximum(1, np.rint(own / spacing))
    steps = own * multiple / parts
    before = np.ceil(margin / steps)
    size = before + np.ceil(((np.array(image.GetSize()) - 1) * own + margin) / steps - 1e-6) + 1
    grid = sitk.Image(size.astype(int).tolist(), sitk.sitkUInt8)
    grid.SetDirection(image.GetDirection())
    grid.SetSpacing(steps.tolist())
    grid.SetOrigin((np.array(image.GetOrigin()) - _direction(image) @ (before * steps)).tolist())
    return grid


def resample(image: sitk.Image, like: sitk.Image, transform: sitk.Transform, labels: bool = False) -> sitk.Image:
    """Sample an image once through a transform.

    Args:
        image: what is sampled (the moving image).
        like: whose grid the result has (the fixed image).
        transform: from points of `like` to points of `image`, LPS mm.
        labels: nearest neighbour instead of linear interpolation.

    Returns:
        Image with the pixel type of `image` (whole numbers are rounded); outside is 0, or the background of `image`
        where that is its lowest value (such as -1024).
    """
    background = background_value(image)
    outside = background if background == sitk.GetArrayViewFromImage(image).min() else 0.0
    kind = image.GetPixelID()
    if labels or kind in (sitk.sitkFloat32, sitk.sitkFloat64):
        how = sitk.sitkNearestNeighbor if labels else sitk.sitkLinear
        return sitk.Resample(image, like, transform, how, 0.0 if labels else outside, kind)
    sampled = sitk.Resample(image, like, transform, sitk.sitkLinear, outside, sitk.sitkFloat64)
    values = np.rint(sitk.GetArrayViewFromImage(sampled))  # ITK itself would cut the fraction off
    result = sitk.GetImageFromArray(values.astype(sitk.GetArrayViewFromImage(image).dtype))
    result.CopyInformation(sampled)
    return result


def inverse(transform: sitk.Transform, moving: sitk.Image, spacing: float = 1.0, margin: float = 5.0) -> sitk.Transform:
    """The map back, from moving to fixed.

    With T = A + r, A affine, the point x that T sends to y is the fixed point of x = A^-1 (y - r(x)) (Chen et al., Med
    Phys 2008). Going only part of the way each time, it is found where r does not contract, too, as long as the map
    does not fold. It is found on a coarse grid and polished on finer ones. Outside the field r is taken as zero.

    Args:
        transform: a displacement field, or linear.
        moving: over whose field of view the inverse is sampled.
        spacing: of the samples, as `covering_grid` takes it, mm.
        margin: how far the samples reach beyond the moving image, mm.

    Returns:
        Transform from moving world to fixed world (LPS mm); `inverse_error` measures it.

    Raises:
        RegistrationError: a transform that is neither a displacement field nor linear.
    """
    transform = transform.Downcast()
    if transform.IsLinear():
        return transform.GetInverse()
    if not isinstance(transform, sitk.DisplacementFieldTransform):
        raise RegistrationError("The transform is no displacement field, so it cannot be inverted; store it as one.")
    field = transform.GetDisplacementField()
    affine = _fitted_affine(field)
    residual = _image(sitk.GetArrayViewFromImage(field) - _affine_displacement(affine, field), field)
    back = affine.GetInverse()
    pull = -_matrix(back).T.astype(np.float32)
    correction = None  # x - A^-1 y, as a vector image
    for coarser, passes in ((4, 24), (2, 16), (1, 5)):
        grid = covering_grid(moving, coarser * spacing, margin)
        start = _affine_displacement(back, grid)
        displacement = start
        if correction is not None:
            displacement = start + sitk.GetArrayFromImage(_sampled(correction, grid, sitk.Transform()))
        for _ in range(passes):
            at_x = _sampled(residual, grid, _field_transform(displacement, grid))
            found = start + sitk.GetArrayViewFromImage(at_x) @ pull
            displacement = displacement + RELAXATION * (found - displacement)
        correction = _image(displacement - start, grid)
    return _field_transform(displacement, grid)


def inverse_error(transform: sitk.Transform, back: sitk.Transform, mask: sitk.Image, points: int = 5000) -> np.ndarray:
    """How far `back` and then `transform` leave points from where they were.

    Args:
        transform: fixed -> moving.
        back: moving -> fixed.
        mask: on the moving image; points are taken evenly from its non-zero voxels.
        points: how many, at most.

    Returns:
        |T(T^-1(p)) - p| for each point, mm.
    """
    voxels = np.argwhere(sitk.GetArrayViewFromImage(mask) != 0)[:, ::-1]
    voxels = voxels[:: max(1, len(voxels) // points)]
    there = [mask.TransformIndexToPhysicalPoint(voxel.tolist()) for voxel in voxels]
    and_back = [transform.TransformPoint(back.TransformPoint(point)) for point in there]
    return np.linalg.norm(np.subtract(and_back, there), axis=1)


def write_transform(transform: sitk.Transform, path: str | os.PathLike) -> None:
    """Write a transform whole or not at all: `.h5` as ITK does, `.nii.gz` as a vector image (LPS, mm).

    The vector image has NIfTI's intent code 1007, as ANTs writes its warps. With code 1006 ITK 5.4 and newer would flip
    the signs of x and y on reading, and older versions would not.

    Raises:
        RegistrationError: another extension, or `.nii.gz` for a transform that is not a displacement field.
    """
    path = check_output_file(path, TRANSFORM_EXTENSIONS)
    if path.name.lower().endswith(".h5"):
        with whole_or_nothing(path) as partial:
            sitk.WriteTransform(transform, str(partial))
        return
    transform = transform.Downcast()
    if not isinstance(transform, sitk.DisplacementFieldTransform):
        raise RegistrationError(f"{path.name} can hold a displacement field only; end its name with .h5 instead.")
    with whole_or_nothing(path) as partial:
        field = sitk.Cast(transform.GetDisplacementField(), sitk.sitkVectorFloat32)
        sitk.WriteImage(field, str(partial), useCompression=True)


def read_transform(path: str | os.PathLike) -> sitk.Transform:
    """Read a transform (LPS mm), whatever of ITK's kinds it is; `.nii.gz` holds a displacement field.

    Raises:
        RegistrationError: missing, unreadable, or not a transform.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise RegistrationError(f"The transform {path} {what}; give the path of a file.")
    try:
        if not path.name.lower().endswith(".nii.gz"):
            return sitk.ReadTransform(str(path)).Downcast()
        field = sitk.ReadImage(str(path))
    except RuntimeError:
        raise RegistrationError(f"{path} is not a transform that ITK can read; give an .h5 or .nii.gz file.") from None
    if field.GetDimension() != 3 or field.GetNumberOfComponentsPerPixel() != 3:
        raise RegistrationError(f"{path} is not a displacement field of three components; choose another file.")
    return sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))


def _padded_image(flow: np.ndarray) -> sitk.Image:
    """A flow as float32 vector image in canonical millimetres, continued and faded out around the canonical grid."""
    grid = canonical_grid()
    if flow.shape != (3, *grid.GetSize()):
        raise ValueError(f"flow has shape {flow.shape}, not {(3, *grid.GetSize())}")
    distance = np.arange(1, PAD + 1) - PAD_KEPT
    fade = np.cos(np.pi / 2 * np.clip(distance / (PAD - PAD_KEPT), 0, 1)).astype(np.float32) ** 2
    padded = np.pad(flow.transpose(3, 2, 1, 0), ((PAD, PAD), (PAD, PAD), (PAD, PAD), (0, 0)), mode="edge")
    for axis in range(3):
        along = np.moveaxis(padded, axis, -1)
        along[..., :PAD] *= fade[::-1]
        along[..., -PAD:] *= fade
    image = sitk.GetImageFromArray(padded, isVector=True)
    image.SetOrigin(grid.TransformIndexToPhysicalPoint([-PAD] * 3))
    return image


def _fitted_affine(field: sitk.Image) -> sitk.AffineTransform:
    """The affine transform nearest to a displacement field, in the sense of least squares over its voxels."""
    steps = [max(1, size // 32) for size in field.GetSize()]
    coarse = field[:: steps[0], :: steps[1], :: steps[2]]
    points = _points(coarse).reshape(-1, 3)
    targets = points + sitk.GetArrayViewFromImage(coarse).reshape(-1, 3)
    centre = points.mean(axis=0)
    design = np.column_stack([points - centre, np.ones(len(points))])
    solution = np.linalg.lstsq(design, targets, rcond=None)[0]
    affine = sitk.AffineTransform(3)
    affine.SetMatrix(solution[:3].T.ravel())
    affine.SetTranslation((solution[3] - solution[:3].T @ centre).tolist())
    return affine


def _affine_displacement(affine: sitk.Transform, grid: sitk.Image) -> np.ndarray:
    """A(x) - x at the voxels of a grid, float32 [z, y, x, 3]."""
    step = _direction(grid) * grid.GetSpacing()
    change = (_matrix(affine) - np.eye(3)) @ step  # mm per voxel
    origin = np.subtract(affine.TransformPoint(grid.GetOrigin()), grid.GetOrigin())
    x, y, z = (np.arange(size) for size in grid.GetSize())
    return (
        (origin + np.outer(x, change[:, 0]))[None, None]
        + np.outer(y, change[:, 1])[None, :, None]
        + np.outer(z, change[:, 2])[:, None, None]
    ).astype(np.float32)


def _points(grid: sitk.Image) -> np.ndarray:
    """World coordinates of the voxels, float64 [z, y, x, 3]."""
    step = _direction(grid) * grid.GetSpacing()
    z, y, x = np.indices(grid.GetSize()[::-1])
    return np.stack([x, y, z], axis=-1) @ step.T + grid.GetOrigin()


def _matrix(affine: sitk.Transform) -> np.ndarray:
    """The linear part of an affine transform, [3, 3]."""
    return np.array(sitk.AffineTransform(affine).GetMatrix()).reshape(3, 3)


def _direction(image: sitk.Image) -> np.ndarray:
    return np.array(image.GetDirection()).reshape(3, 3)


def _image(displacement: np.ndarray, grid: sitk.Image) -> sitk.Image:
    """A displacement [z, y, x, 3] as a vector image on a grid."""
    image = sitk.GetImageFromArray(displacement, isVector=True)
    image.CopyInformation(grid)
    return image


def _sampled(field: sitk.Image, grid: sitk.Image, transform: sitk.Transform) -> sitk.Image:
    """A vector image on another grid, linear, zero outside."""
    return sitk.Resample(field, grid, transform, sitk.sitkLinear, 0.0, sitk.sitkVectorFloat32)


def _field_transform(displacement: np.ndarray, grid: sitk.Image) -> sitk.DisplacementFieldTransform:
    return sitk.DisplacementFieldTransform(sitk.Cast(_image(displacement, grid), sitk.sitkVectorFloat64))
