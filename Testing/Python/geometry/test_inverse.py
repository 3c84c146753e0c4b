"""The inverse leads back: of the product's own map, of one displacement field, of chains that other tools wrote."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from in_world import mapped

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.flows.warp import compose_all
from ULAERegistrationLib.geometry.inverse import inverse, inverse_error
from ULAERegistrationLib.geometry.points import map_points_back
from ULAERegistrationLib.geometry.transforms import displacement_field, field_transform


@pytest.mark.slow
def test_the_inverse_of_the_whole_map_leads_back(oblique) -> None:
    back = inverse(oblique.transform)
    there = mapped(oblique.transform, oblique.points)
    assert np.linalg.norm(mapped(back, there) - oblique.points, axis=1).max() < 0.05
    far = oblique.points + 1000.0
    np.testing.assert_allclose(mapped(back, mapped(oblique.transform, far)), far, atol=1e-6)
    brain = sitk.Image(oblique.moving.GetSize(), sitk.sitkUInt8)
    brain.CopyInformation(oblique.moving)
    brain[20:40, 30:70, 30:60] = 1
    flow = compose_all([torch.tensor(flow)[None] for flow in oblique.flows])[0].numpy()
    errors = inverse_error(flow, oblique.alignment, brain)
    assert 1000 < len(errors) <= 6000
    assert 0 < errors.max() < 0.05
    voxels = np.argwhere(sitk.GetArrayViewFromImage(brain))[:, ::-1][:: 20 * 40 * 30 // 5000]
    points = np.array([brain.TransformIndexToPhysicalPoint(voxel.tolist()) for voxel in voxels])
    expected = np.linalg.norm(mapped(oblique.transform, mapped(back, points)) - points, axis=1)
    np.testing.assert_allclose(errors, expected, atol=2e-4)


def test_one_field_over_the_fixed_image_has_an_inverse_over_the_moving_one(oblique) -> None:
    """A field that turns and shifts by hundreds of millimetres, as those of other tools may."""
    field = field_transform(displacement_field(oblique.transform, oblique.fixed, spacing=2.0))
    back = inverse(field)
    there = mapped(field, oblique.points)
    assert np.linalg.norm(there - oblique.points, axis=1).min() > 100
    apart = np.linalg.norm(mapped(back, there) - oblique.points, axis=1)
    assert apart.mean() < 0.05  # what linear interpolation between samples of 2 mm leaves
    assert apart.max() < 0.25


def test_a_field_that_shifts_by_more_than_its_grid_is_inverted_within_a_chain_too() -> None:
    """SimpleITK and ANTs write one field as a chain of one part, or after another transform."""
    places = np.indices((27, 27, 27))[::-1] * 6.0
    wave = 2 * np.sin(2 * np.pi * np.roll(places, 1, axis=0) / 156) + np.array([150.0, 0, 0]).reshape(3, 1, 1, 1)
    image = sitk.GetImageFromArray(np.moveaxis(wave, 0, -1), isVector=True)
    image.SetSpacing([6.0] * 3)
    field, before = sitk.DisplacementFieldTransform(image), sitk.TranslationTransform(3, (1.0, 2.0, 3.0))
    points = np.random.default_rng(0).uniform(30, 120, (300, 3))
    nested = sitk.CompositeTransform([before, sitk.CompositeTransform([before, field])])
    for chain in (sitk.CompositeTransform([field]), sitk.CompositeTransform([before, field]), nested):
        back = mapped(inverse(chain), mapped(chain, points))
        assert np.linalg.norm(back - points, axis=1).max() < 0.1


def test_a_field_of_one_slice_is_inverted_within_its_plane() -> None:
    """Nothing is known of what lies beside the slice, so that nothing moves across it."""
    values = np.zeros((1, 32, 32, 3))
    values[..., 0] = 3.0
    field = sitk.DisplacementFieldTransform(sitk.GetImageFromArray(values, isVector=True))
    np.testing.assert_allclose(inverse(field).TransformPoint((20.0, 15.0, 0.0)), (17.0, 15.0, 0.0), atol=1e-3)


def test_the_inverse_of_a_linear_transform_is_exact(oblique) -> None:
    linear = oblique.alignment.fixed_to_moving
    there = mapped(linear, oblique.points)
    np.testing.assert_allclose(mapped(inverse(linear), there), oblique.points, atol=1e-9)


@pytest.mark.parametrize("spacing", [4.0, 8.0, 16.0])
def test_a_coarse_field_has_an_inverse_as_exact_as_a_fine_one(spacing) -> None:
    """A wave of 6 mm, as registration tools store it on coarse grids."""
    size = int(160 / spacing) + 1
    places = np.indices((size,) * 3)[::-1] * spacing
    wave = 6 * np.sin(2 * np.pi * np.roll(places, 1, axis=0) / 160)
    field = sitk.GetImageFromArray(np.moveaxis(wave, 0, -1), isVector=True)
    field.SetSpacing([spacing] * 3)
    transform = sitk.DisplacementFieldTransform(field)
    points = np.random.default_rng(0).uniform(30, 130, (500, 3))
    back = mapped(inverse(transform), points)
    assert np.linalg.norm(mapped(transform, back) - points, axis=1).max() < 0.1


def test_a_transform_that_has_no_inverse_is_refused_in_one_sentence() -> None:
    flat = sitk.AffineTransform(3)
    flat.SetMatrix(np.diag([1.0, 1.0, 0.0]).ravel())
    for transform in (flat, sitk.CompositeTransform([flat, sitk.Euler3DTransform()])):
        with pytest.raises(RegistrationError, match="has no inverse; give another transform"):
            inverse(transform)
        with pytest.raises(RegistrationError, match="has no inverse; give another transform"):
            map_points_back(transform, np.zeros((1, 3)))


def b_spline(shift: float, bend: float, side: float = 24.0) -> sitk.BSplineTransform:
    """A B-spline over an oblique domain, at whose faces it ends, as all do."""
    turn = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.2, -0.3, 0.1)
    spline = sitk.BSplineTransform(3)
    spline.SetTransformDomainOrigin((10.0, -20.0, 30.0))
    spline.SetTransformDomainDirection(turn.GetMatrix())
    spline.SetTransformDomainPhysicalDimensions([side] * 3)
    spline.SetTransformDomainMeshSize([4] * 3)
    bends = np.random.default_rng(0).uniform(-bend, bend, len(spline.GetParameters()))
    spline.SetParameters((shift + bends).tolist())
    return spline


def points_in(spline: sitk.BSplineTransform, margin: float) -> np.ndarray:
    """Points of a spline's domain that lie at least as far from its faces, mm."""
    sides = np.array(spline.GetTransformDomainPhysicalDimensions())
    places = np.random.default_rng(1).uniform(margin, sides - margin, (200, 3))
    axes = np.reshape(spline.GetTransformDomainDirection(), (3, 3))
    return places @ axes.T + spline.GetTransformDomainOrigin()


@pytest.mark.parametrize("shift", [0.0, 1.5, 12.0, -20.0])
@pytest.mark.parametrize("bend", [0.0, 2.0])
def test_a_b_spline_is_inverted_however_far_it_shifts_to_its_border_and_in_a_chain_too(shift, bend) -> None:
    spline, turn = b_spline(shift, bend), sitk.Euler3DTransform((1.0, 2.0, 3.0), 0.3, 0.1, -0.2, (40.0, 0.0, -9.0))
    points = points_in(spline, margin=0.5)
    for chain in (spline, sitk.CompositeTransform([turn, spline])):
        there = mapped(chain, points)
        assert np.linalg.norm(mapped(inverse(chain), there) - points, axis=1).max() < 0.1
        np.testing.assert_allclose(map_points_back(chain, there), points, atol=1e-3)
