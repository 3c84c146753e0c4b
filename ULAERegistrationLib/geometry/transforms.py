"""Convert flows in voxels of the canonical grid to transforms in the world (LPS mm).

All transforms here are pull-backs, as ITK's are: they map a point of the fixed image to the point of the moving image
whose intensity is shown there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from .alignment import Alignment
from .canonical import canonical_grid

PAD = 16  # voxels added around the canonical grid, over which a flow is extrapolated

PAD_KEPT = 4  # of these, the innermost voxels, which keep the border value as the composition of flows does


def flow_transform(flow: np.ndarray) -> sitk.DisplacementFieldTransform:
    """Convert a flow to the transform T = id + flow of canonical world points (LPS mm).

    Beyond the grid the flow keeps its border value for `PAD_KEPT` voxels and then fades smoothly to zero, so that the
    transform is continuous where the fixed image extends beyond the canonical grid.

    Args:
        flow: float32 [3, L, P, S], voxels of the canonical grid.
    """
    return sitk.DisplacementFieldTransform(sitk.Cast(_padded_image(flow), sitk.sitkVectorFloat64))


def step_transform(flow: np.ndarray, alignment: Alignment) -> sitk.CompositeTransform:
    """Return one step in the fixed image's world, A_f^-1 o T o A_f, as a composite transform.

    Args:
        flow: float32 [3, L, P, S], voxels of the canonical grid.
        alignment: gives A_f, the map of the fixed image into the canonical frame.

    Returns:
        Transform from fixed world to fixed world (LPS mm).
    """
    to_canonical = alignment.fixed_to_canonical
    return sitk.CompositeTransform([to_canonical.GetInverse(), flow_transform(flow), to_canonical])


def chain_transform(flows: Sequence[np.ndarray], alignment: Alignment) -> sitk.CompositeTransform:
    """Chain the alignment and several steps, A_m^-1 o T_1 o T_2 o ... o A_f, as a composite transform.

    Each flow is interpolated by itself. The map equals A_m^-1 o A_f o T_1^w o T_2^w o ... with the steps in world form
    (`step_transform`), because the affine maps between them cancel.

    Args:
        flows: each float32 [3, L, P, S], voxels of the canonical grid, the first step first.
        alignment: the affine maps of both images into the canonical frame.

    Returns:
        Transform from fixed world to moving world (LPS mm).
    """
    steps = [flow_transform(flow) for flow in flows]
    return sitk.CompositeTransform([alignment.moving_to_canonical.GetInverse(), *steps, alignment.fixed_to_canonical])


def displacement_field(
    transform: sitk.Transform, fixed: sitk.Image, spacing: float = 1.0, margin: float = 5.0
) -> sitk.DisplacementFieldTransform:
    """Sample any transform as one displacement field over the whole fixed image.

    Sampling the chain of transforms is as fast as sampling a composed flow, and saves one interpolation. The field is
    exact at the voxels of the fixed image, or at every n-th of them where they are finer than the samples.

    Args:
        transform: from fixed world (LPS mm), as `chain_transform` and `step_transform` return it.
        fixed: the image whose field of view is covered and along whose axes the field is sampled.
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
    """Create an empty image with the axes of `image` that covers its voxels and a margin.

    Its samples coincide with voxels of the image (all of them or every n-th), so that a field sampled on it is exact
    at these voxels and interpolated only in between.

    Args:
        image: the image to cover.
        spacing: of the samples, mm; along each axis the nearest multiple or whole fraction of the image's own is taken.
        margin: minimum extent beyond the image's outermost voxel centres, mm.

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


def _padded_image(flow: np.ndarray) -> sitk.Image:
    """Convert a flow to a float32 vector image (LPS mm), extrapolated and faded out around the canonical grid."""
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


def _direction(image: sitk.Image) -> np.ndarray:
    return np.array(image.GetDirection()).reshape(3, 3)
