"""Voxels to millimetres and back: every conversion against SimpleITK's own machinery, on an awkward image."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.files.transforms import read_transform, write_transform
from ULAERegistrationLib.files.volumes import write_image
from ULAERegistrationLib.geometry.alignment import Alignment
from ULAERegistrationLib.geometry.canonical import canonical_grid
from ULAERegistrationLib.geometry.frame import CANONICAL_ORIGIN, CANONICAL_SIZE
from ULAERegistrationLib.geometry.inverse import inverse, inverse_error
from ULAERegistrationLib.geometry.resampling import resample
from ULAERegistrationLib.geometry.transforms import (
    chain_transform,
    covering_grid,
    displacement_field,
    flow_transform,
    step_transform,
)


def affine(angles: tuple[float, float, float], scale: float, from_point, to_point) -> sitk.AffineTransform:
    """Turns and scales, and takes one point to another."""
    rotation = np.reshape(sitk.Euler3DTransform((0, 0, 0), *angles).GetMatrix(), (3, 3))
    transform = sitk.AffineTransform(3)
    transform.SetMatrix((scale * rotation).ravel())
    transform.SetTranslation(np.subtract(to_point, transform.TransformPoint(from_point)).tolist())
    return transform


def smooth_flow(seed: int, size: float) -> np.ndarray:
    """Random waves of 40 to 100 voxels, largest displacement `size` voxels along an axis, [3, L, P, S]."""
    rng = np.random.default_rng(seed)
    axes = np.ogrid[tuple(slice(size) for size in CANONICAL_SIZE)]
    flow = np.zeros((3, *CANONICAL_SIZE), np.float32)
    for channel in range(3):
        for _ in range(3):
            direction = rng.normal(size=3)
            direction *= 2 * np.pi / (rng.uniform(40, 100) * np.linalg.norm(direction))
            phase = sum(k * axis for k, axis in zip(direction, axes, strict=True)) + rng.uniform(0, 2 * np.pi)
            flow[channel] += np.sin(phase)
    return flow * np.float32(size / np.abs(flow).max())


@pytest.fixture(scope="module")
def flows() -> list[np.ndarray]:
    return [smooth_flow(0, 6.0), smooth_flow(1, 3.0), smooth_flow(2, 1.5)]


@pytest.fixture(scope="module")
def fixed() -> sitk.Image:
    """An oblique, anisotropic, left-handed scan far from the origin."""
    z, y, x = np.indices((60, 90, 100))
    image = sitk.GetImageFromArray((1000 + 300 * np.sin(x / 6) + 300 * np.cos(y / 7 + z / 5)).astype(np.int16))
    image.SetSpacing((1.9, 2.1, 2.7))
    rotation = np.reshape(sitk.Euler3DTransform((0, 0, 0), 0.3, -0.2, 0.25).GetMatrix(), (3, 3))
    image.SetDirection((rotation @ np.diag([-1, 1, 1])).ravel())
    image.SetOrigin((400.0, -200.0, 50.0))
    assert np.linalg.det(np.reshape(image.GetDirection(), (3, 3))) < 0
    return image


def middle(image: sitk.Image) -> tuple[float, ...]:
    return image.TransformContinuousIndexToPhysicalPoint([(size - 1) / 2 for size in image.GetSize()])


@pytest.fixture(scope="module")
def moving(fixed) -> sitk.Image:
    image = sitk.PermuteAxes(fixed, (2, 0, 1))
    image.SetOrigin((-50.0, 30.0, 500.0))
    return image


@pytest.fixture(scope="module")
def alignment(fixed, moving) -> Alignment:
    centre = (0.0, 17.0, 5.0)
    return Alignment(
        affine((-0.3, 0.2, -0.25), 1.1, middle(fixed), centre), affine((0.2, 0.1, 0.3), 1.05, middle(moving), centre)
    )


@pytest.fixture(scope="module")
def chain(flows, alignment) -> sitk.CompositeTransform:
    return chain_transform(flows, alignment)


@pytest.fixture(scope="module")
def stored(chain, fixed) -> sitk.DisplacementFieldTransform:
    return displacement_field(chain, fixed)


@pytest.fixture(scope="module")
def points(alignment) -> np.ndarray:
    """World points of the fixed image all over the canonical brain, off the voxels."""
    canonical = np.random.default_rng(3).uniform((-60, -55, -50), (60, 90, 65), (400, 3))
    return mapped(alignment.fixed_to_canonical.GetInverse(), canonical)


def mapped(transform: sitk.Transform, points: np.ndarray) -> np.ndarray:
    return np.array([transform.TransformPoint(point.tolist()) for point in points])


def test_a_flow_moves_voxel_p_to_p_plus_u(flows) -> None:
    transform = flow_transform(flows[0])
    for voxel in ((0, 0, 0), (159, 191, 159), (80, 10, 120)):
        reached = transform.TransformPoint(canonical_grid().TransformIndexToPhysicalPoint(voxel))
        expected = np.array(voxel) + flows[0][:, *voxel]  # 1 mm voxels, axes along L, P, S
        np.testing.assert_allclose(np.subtract(reached, CANONICAL_ORIGIN), expected, atol=1e-4)


def test_between_voxels_a_flow_is_what_simpleitk_interpolates(flows) -> None:
    plain = sitk.GetImageFromArray(flows[0].transpose(3, 2, 1, 0).astype(np.float64), isVector=True)
    plain.SetOrigin(CANONICAL_ORIGIN)
    inside = np.random.default_rng(0).uniform(CANONICAL_ORIGIN, np.add(CANONICAL_ORIGIN, (158, 190, 158)), (200, 3))
    reference = sitk.DisplacementFieldTransform(plain)
    np.testing.assert_allclose(mapped(flow_transform(flows[0]), inside), mapped(reference, inside), atol=1e-4)


def test_a_flow_fades_beyond_the_canonical_grid_without_a_jump() -> None:
    flow = np.zeros((3, *CANONICAL_SIZE), np.float32)
    flow[0] = 4.0
    line = np.column_stack([np.arange(-120, -70, 0.25), np.zeros(200), np.zeros(200)])
    displacement = mapped(flow_transform(flow), line)[:, 0] - line[:, 0]
    assert displacement[0] == 0
    assert displacement[-1] == pytest.approx(4)
    assert np.diff(displacement).min() >= 0
    assert np.diff(displacement).max() < 0.25 * 0.6  # so it folds nothing


def test_a_step_is_flow_between_the_affine_and_its_inverse(flows, alignment, points) -> None:
    parts = mapped(alignment.fixed_to_canonical, points)
    parts = mapped(flow_transform(flows[1]), parts)
    parts = mapped(alignment.fixed_to_canonical.GetInverse(), parts)
    np.testing.assert_allclose(mapped(step_transform(flows[1], alignment), points), parts, atol=1e-9)


def test_the_chain_is_its_steps_one_after_the_other(flows, alignment, chain, points) -> None:
    parts = points
    for flow in reversed(flows):  # T = T1(T2(T3(p)))
        parts = mapped(step_transform(flow, alignment), parts)
    np.testing.assert_allclose(mapped(chain, points), mapped(alignment.fixed_to_moving, parts), atol=1e-6)


def test_the_stored_field_is_the_chain_within_a_twentieth_of_a_millimetre(chain, stored, points) -> None:
    assert np.linalg.norm(mapped(chain, points) - points, axis=1).max() > 100
    assert np.linalg.norm(mapped(stored, points) - mapped(chain, points), axis=1).max() < 0.05


def test_at_the_voxels_of_the_fixed_image_the_stored_field_is_the_chain_itself(chain, stored, fixed) -> None:
    voxels = np.random.default_rng(5).integers(0, fixed.GetSize(), (100, 3))
    centres = np.array([fixed.TransformIndexToPhysicalPoint(voxel.tolist()) for voxel in voxels])
    np.testing.assert_allclose(mapped(stored, centres), mapped(chain, centres), atol=1e-9)


@pytest.mark.parametrize(
    ("own", "taken"), [(0.5, 1.0), (0.7, 0.7), (0.8, 0.8), (1.0, 1.0), (1.2, 1.2), (1.6, 0.8), (3.0, 1.0), (5.0, 1.0)]
)
def test_the_samples_of_a_field_fall_on_voxels(own, taken) -> None:
    image = sitk.Image([40, 41, 42], sitk.sitkUInt8)
    image.SetSpacing([own] * 3)
    image.SetOrigin((7.0, 8.0, 9.0))
    grid = covering_grid(image)
    assert grid.GetSpacing() == pytest.approx([taken] * 3)
    first = np.array(grid.TransformPhysicalPointToContinuousIndex(image.GetOrigin()))
    np.testing.assert_allclose(first, np.rint(first), atol=1e-6)


def test_the_stored_field_covers_the_fixed_image_along_its_axes(stored, fixed) -> None:
    grid = stored.GetDisplacementField()
    assert grid.GetDirection() == pytest.approx(fixed.GetDirection())
    for corner in np.ndindex(2, 2, 2):
        outer = [-0.5 if low else size - 0.5 for low, size in zip(corner, fixed.GetSize(), strict=True)]
        index = grid.TransformPhysicalPointToContinuousIndex(fixed.TransformContinuousIndexToPhysicalPoint(outer))
        assert all(0 <= i <= size - 1 for i, size in zip(index, grid.GetSize(), strict=True))


def test_a_warped_volume_is_what_simpleitk_resamples_rounded(moving, fixed, stored) -> None:
    warped = resample(moving, fixed, stored)
    exact = sitk.Resample(sitk.Cast(moving, sitk.sitkFloat64), fixed, stored, sitk.sitkLinear, 0.0)
    assert warped.GetPixelID() == moving.GetPixelID()
    assert warped.GetSize() == fixed.GetSize()
    assert warped.GetDirection() == fixed.GetDirection()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(warped), np.rint(sitk.GetArrayFromImage(exact)))
    floating = sitk.Cast(moving, sitk.sitkFloat32)
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(resample(floating, fixed, stored)),
        sitk.GetArrayFromImage(sitk.Resample(floating, fixed, stored, sitk.sitkLinear, 0.0)),
    )


def test_labels_stay_labels_and_outside_is_nothing(moving, fixed, stored) -> None:
    labels = sitk.Cast(moving > 1200, sitk.sitkUInt16) * 1001 + 7
    warped = sitk.GetArrayFromImage(resample(labels, fixed, stored, labels=True))
    assert set(np.unique(warped)) <= {0, 7, 1008}
    away = sitk.TranslationTransform(3, (1e4, 0, 0))
    assert sitk.GetArrayViewFromImage(resample(moving, fixed, away)).max() == 0
    lifted = sitk.ConstantPad(moving - 1024, [3] * 3, [3] * 3, -1024)
    lowest = resample(lifted, fixed, away)
    assert set(np.unique(sitk.GetArrayFromImage(lowest))) == {-1024}


@pytest.mark.slow
def test_the_inverse_leads_back(stored, moving, points) -> None:
    back = inverse(stored, moving[12:48, 20:80, 18:72])  # the middle of it, to be quick
    there = mapped(stored, points)
    inside = np.array([moving.TransformPhysicalPointToContinuousIndex(point.tolist()) for point in there])
    kept = np.all((inside >= (12, 20, 18)) & (inside <= (47, 79, 71)), axis=1)
    assert kept.sum() > 100
    assert np.linalg.norm(mapped(back, there) - points, axis=1)[kept].max() < 0.05
    brain = sitk.Image(moving.GetSize(), sitk.sitkUInt8)
    brain.CopyInformation(moving)
    brain[20:40, 30:70, 30:60] = 1
    errors = inverse_error(stored, back, brain)
    assert 1000 < len(errors) <= 6000
    assert errors.max() < 0.05


def test_the_inverse_of_a_linear_transform_is_exact_and_a_chain_is_refused(alignment, moving, chain, points) -> None:
    linear = alignment.fixed_to_moving
    np.testing.assert_allclose(mapped(inverse(linear, moving), mapped(linear, points)), points, atol=1e-9)
    with pytest.raises(RegistrationError, match="no displacement field"):
        inverse(chain, moving)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["transform.h5", "transform.nii.gz"])
def test_a_written_field_reads_back_without_a_sign_change(tmp_path, stored, points, name) -> None:
    path = tmp_path / name
    write_transform(stored, path)
    assert [file.name for file in tmp_path.iterdir()] == [name]
    if name.endswith(".h5"):
        others = sitk.ReadTransform(str(path))
    else:
        others = sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
        with gzip.open(path) as file:
            header = file.read(348)
        assert struct.unpack("<h", header[68:70]) == (1007,)  # NIFTI_INTENT_VECTOR, as ANTs writes its warps
        assert struct.unpack("<6h", header[40:52])[4:] == (1, 3)
    expected = mapped(stored, points)
    np.testing.assert_allclose(mapped(others, points), expected, atol=1e-3)
    np.testing.assert_allclose(mapped(read_transform(path), points), expected, atol=1e-3)


def test_a_field_marked_as_displacements_in_ras_is_understood(tmp_path) -> None:
    """NIfTI's intent 1006 holds RAS components by definition; ITK turns them."""
    vectors = np.broadcast_to(np.float32([1, 2, 3]), (9, 9, 9, 3))
    write_image(sitk.GetImageFromArray(np.ascontiguousarray(vectors), isVector=True), tmp_path / "field.nii.gz")
    with gzip.open(tmp_path / "field.nii.gz") as file:
        content = bytearray(file.read())
    content[68:70] = struct.pack("<h", 1006)
    with gzip.open(tmp_path / "field.nii.gz", "wb") as file:
        file.write(content)
    assert read_transform(tmp_path / "field.nii.gz").TransformPoint((4.0, 4.0, 4.0)) == (3.0, 2.0, 7.0)


def test_linear_transforms_and_chains_are_kept_in_h5_only(tmp_path, alignment, chain, points) -> None:
    linear = alignment.fixed_to_moving
    write_transform(linear, tmp_path / "linear.h5")
    np.testing.assert_allclose(
        mapped(read_transform(tmp_path / "linear.h5"), points), mapped(linear, points), atol=1e-9
    )
    with pytest.raises(RegistrationError, match=r"\.h5 instead"):
        write_transform(chain, tmp_path / "chain.nii.gz")
    with pytest.raises(RegistrationError, match="end its name with"):
        write_transform(linear, tmp_path / "linear.mat")
    assert [file.name for file in tmp_path.iterdir()] == ["linear.h5"]


def test_what_is_no_transform_is_refused_in_one_sentence(tmp_path, fixed) -> None:
    (tmp_path / "text.h5").write_text("not a transform")
    write_image(fixed, tmp_path / "scan.nii.gz")
    for name, why in (("text.h5", "is not a transform"), ("scan.nii.gz", "three components"), ("no.h5", "not exist")):
        with pytest.raises(RegistrationError, match=why) as refusal:
            read_transform(tmp_path / name)
        assert "\n" not in str(refusal.value)
