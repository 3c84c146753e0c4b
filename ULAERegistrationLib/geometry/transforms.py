"""From flows in voxels of the canonical grid to transforms in the world (LPS mm), and back out to files.

All transforms here are pull-backs, as ITK's are: they map a point of the fixed image to the point of the moving image
that is shown there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from .alignment import Alignment
from .canonical import canonical_grid

PAD = 16  # voxels around the canonical grid over which a flow dies away

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


def _direction(image: sitk.Image) -> np.ndarray:
    return np.array(image.GetDirection()).reshape(3, 3)
