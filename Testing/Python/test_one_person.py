"""Two scans are said to be one person's where they are, whatever their contrasts, and not where they are two's."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from ULAERegistrationLib import register, simulation
from ULAERegistrationLib.canonical_flows import CanonicalFlows, _contrast_doubts, _of_one_person
from ULAERegistrationLib.flows.warp import warp
from ULAERegistrationLib.geometry.affine import to_matrix, to_transform
from ULAERegistrationLib.geometry.alignment import Alignment, align, align_inside
from ULAERegistrationLib.geometry.canonical import sample_on_canonical, template
from ULAERegistrationLib.one_person import (
    CHANGED,
    CHANGED_IN_PART,
    ONE_PERSON,
    RIGID_ALONE,
    SHAPE_NOT_COMPARED,
    SIZES_DIFFER,
    TRY_RIGID,
    closeness,
    has_changed_shape,
    look_like_one_person,
)
from ULAERegistrationLib.placement import Placement, place
from ULAERegistrationLib.settings import AlignmentMethod, RegistrationSettings
from ULAERegistrationLib.simulation import SimulatedPair, simulate
from ULAERegistrationLib.tensors import array_of, tensor_of

TURN = to_matrix(sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.1, -0.15, 0.2, (6.0, -9.0, 12.0)))


@pytest.fixture(scope="module")
def people() -> list[SimulatedPair]:
    """Scanned on voxels of 1.5 x 1.5 x 1.8 mm, finer than the search for the alignment sees: quick to make."""
    grid_of = simulation._scanner_grid

    def coarser(image: sitk.Image, tilt: sitk.Transform) -> sitk.Image:
        grid = grid_of(image, tilt)
        spacing = (1.5, 1.5, 1.8)
        size = np.round(np.multiply(grid.GetSize(), grid.GetSpacing()) / spacing).astype(int).tolist()
        return sitk.Resample(
            grid, size, sitk.Transform(), sitk.sitkNearestNeighbor, grid.GetOrigin(), spacing, grid.GetDirection()
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulation, "_scanner_grid", coarser)
        return [simulate(seed) for seed in (11, 12)]


@pytest.fixture(scope="module")
def brains(people) -> list[np.ndarray]:
    """Both people on the canonical grid, where the known tilt brings them."""
    tilts = (to_transform(to_matrix(person.truth.GetNthTransform(1))) for person in people)
    return [sample_on_canonical(person.subject, tilt) for person, tilt in zip(people, tilts, strict=True)]


def as_t2(scan: np.ndarray) -> np.ndarray:
    """Bright fluid and dark white matter, a coil on one side, and other noise."""
    noise = 0.02 * np.random.default_rng(3).standard_normal(scan.shape)
    shading = np.linspace(0.7, 1, scan.shape[0])[:, None, None]
    return np.where(scan > 0.05, (1.05 - scan) * shading + noise, 0).clip(0, 1).astype(np.float32)


@pytest.mark.parametrize("method", ["affine", "rigid"])
def test_a_slab_too_thin_to_have_an_inside_keeps_the_alignment_that_was_found(method) -> None:
    values = sitk.GetArrayFromImage(template())
    values[:78], values[86:] = 0, 0  # 8 mm are left
    slab = sitk.GetImageFromArray(values)
    slab.CopyInformation(template())
    found = Alignment(sitk.AffineTransform(3), sitk.AffineTransform(3))
    again = align_inside(slab, slab, found, method)
    assert again.fixed_to_moving.GetParameters() == pytest.approx(found.fixed_to_moving.GetParameters(), abs=1e-6)


def test_one_persons_scans_look_like_one_persons_in_any_contrast(brains) -> None:
    for brain in brains:
        assert closeness(brain, as_t2(brain)) < 0.6
        assert look_like_one_person(brain, as_t2(brain))


def test_two_peoples_scans_do_not(brains) -> None:
    first, second = brains
    for pair in ((first, second), (as_t2(first), second), (as_t2(first), as_t2(second))):
        assert closeness(*pair) > 0.8


def test_coarse_scans_of_two_people_are_not_taken_for_one_persons(brains) -> None:
    """All brains are alike when they are smoothed enough; the template is then as close as another person is."""
    coarse = [sitk.GetArrayFromImage(sitk.BinShrink(sitk.GetImageFromArray(brain), [4, 4, 4])) for brain in brains]
    assert closeness(*(np.kron(brain, np.ones((4, 4, 4), np.float32)) for brain in coarse)) > 0.8


def test_a_person_and_the_template_are_two(brains) -> None:
    average = sitk.GetArrayFromImage(template()).transpose(2, 1, 0).astype(np.float32) / 255
    assert not look_like_one_person(brains[0], average)
    assert not look_like_one_person(average, brains[1])


@pytest.mark.parametrize(
    ("first", "second"), [("oasis-1116", "oasis-1125"), ("ds2748-32", "ds2748-35"), ("ds2748-23", "ds2748-42")]
)
def test_the_most_alike_of_82_real_people_are_told_apart(data_folder, first, second) -> None:
    """Of 3,321 pairs these are the nearest."""
    scans = [sitk.ReadImage(str(data_folder / "brains" / f"{name}_t1.nii.gz")) for name in (first, second)]
    one, other = (sitk.GetArrayFromImage(scan).transpose(2, 1, 0) / np.float32(255) for scan in scans)
    assert closeness(one, other) > ONE_PERSON


def waves(shape: tuple[int, ...], voxels: float) -> torch.Tensor:
    """A smooth flow, by `voxels` at most along each axis."""
    places = np.meshgrid(*(np.linspace(0, 6, n) for n in shape), indexing="ij")
    flow = np.stack([np.sin(places[(axis + 1) % 3]) for axis in range(3)]) * voxels
    return torch.from_numpy(flow.astype(np.float32))[None]


def placed(fixed: np.ndarray, moving: np.ndarray, method: AlignmentMethod, both_t1: bool = True) -> Placement:
    alignment = Alignment(sitk.AffineTransform(3), sitk.AffineTransform(3), (), method)
    return Placement(alignment, "same", True, both_t1, fixed, moving, fixed, moving)


def test_flows_are_kept_after_a_rigid_map_only_where_the_brain_has_changed_in_shape(brains) -> None:
    brain = brains[0]
    flow = waves(brain.shape, 3.0)
    changed = array_of(warp(tensor_of(brain)[None, None], flow)[0, 0])
    found = CanonicalFlows([flow, flow * 0, flow * 0], flow, (), "cpu", "float32", steps_left_out=True)
    kept = _of_one_person(found, placed(changed, brain, "rigid"))
    assert kept.hints == (CHANGED,)
    assert torch.equal(kept.total, flow)
    assert not kept.steps_left_out

    left = _of_one_person(found, placed(as_t2(brain), brain, "rigid"))
    assert left.hints == (RIGID_ALONE,)
    assert left.rigid_alone
    assert not left.steps_left_out
    assert not any(one.any() for one in (*left.flows, left.total))
    assert left.warnings == ()

    asked_for = _of_one_person(found, placed(as_t2(brain), brain, "affine"))
    assert asked_for.hints == (TRY_RIGID,)
    assert torch.equal(asked_for.total, flow)


def test_a_part_of_the_brain_that_has_moved_is_a_doubt_about_a_rigid_map(brains) -> None:
    """A push of 4 mm at most within 15 mm, as a growing lesion makes, which flows for the whole brain do not find."""
    brain = brains[0]
    places = np.indices(brain.shape) - np.array([50, 96, 90]).reshape(3, 1, 1, 1)
    push = torch.zeros(1, 3, *brain.shape)
    push[0, 0] = torch.from_numpy(4 * np.exp(-(places**2).sum(0) / (2 * 15**2)))
    random = np.random.default_rng(0)

    def rescanned(image: np.ndarray) -> np.ndarray:
        noise = 0.01 * random.standard_normal(image.shape)
        return np.where(image > 0, (image + noise).clip(1e-3, 1), 0).astype(np.float32)

    still = torch.zeros(1, 3, *brain.shape)
    found = CanonicalFlows([still] * 3, still, (), "cpu", "float32")
    pushed = array_of(warp(tensor_of(brain)[None, None], push)[0, 0])
    for scan, warnings in ((brain, ()), (pushed, (CHANGED_IN_PART,))):
        kept = _of_one_person(found, placed(rescanned(scan), rescanned(brain), "rigid"))
        assert (kept.hints, kept.warnings) == ((RIGID_ALONE,), warnings)


def test_only_t1_scans_can_show_that_a_brain_has_changed(brains) -> None:
    """The network's flows bring scans of other contrasts closer even where nothing has changed."""
    assert placed(brains[0], brains[0], "rigid", both_t1=False).is_result
    assert not placed(brains[0], brains[0], "rigid").is_result
    assert not placed(brains[0], brains[0], "affine", both_t1=False).is_result


def test_the_scan_that_shows_tissue_otherwise_than_t1_is_named(brains) -> None:
    doubts = _contrast_doubts(placed(brains[0], as_t2(brains[0]), "rigid", both_t1=False))
    assert [sentence.split()[1] for sentence in doubts] == ["moving"]
    assert _contrast_doubts(placed(brains[0], brains[0], "rigid")) == ()


def test_two_copies_of_a_scan_half_a_voxel_apart_have_not_changed_in_shape(brains) -> None:
    brain = brains[0]
    apart = array_of(warp(tensor_of(brain)[None, None], waves(brain.shape, 0.0) + 0.5)[0, 0])
    assert not has_changed_shape(brain, apart, brain)


def error(transform: sitk.Transform, truth: np.ndarray, brain: sitk.Image) -> float:
    """The mean distance in the brain between a transform and the true linear map, mm."""
    points = np.argwhere(sitk.GetArrayViewFromImage(brain) > 0)[::2000, ::-1]
    world = np.array([brain.TransformIndexToPhysicalPoint(point) for point in points.tolist()])
    found = np.array([transform.TransformPoint(point) for point in world.tolist()])
    return float(np.linalg.norm(found - (world @ truth[:3, :3].T + truth[:3, 3]), axis=1).mean())


def turned(scan: sitk.Image) -> sitk.Image:
    """The scan of the same person who lay otherwise."""
    scan = sitk.Image(scan)
    scan.SetDirection((TURN[:3, :3] @ np.reshape(scan.GetDirection(), (3, 3))).ravel().tolist())
    scan.SetOrigin((TURN[:3, :3] @ scan.GetOrigin() + TURN[:3, 3]).tolist())
    return scan


@pytest.fixture(scope="module")
def stripped_otherwise(people) -> sitk.Image:
    """The first person's scan, lying otherwise, without 4 mm of the brain's edge on one half."""
    subject, mask = people[0].subject, people[0].brain
    tight = sitk.BinaryErode(mask, [3, 3, 2])
    left = sitk.GetArrayFromImage(mask)
    left[:, :, : left.shape[2] // 2] = sitk.GetArrayViewFromImage(tight)[:, :, : left.shape[2] // 2]
    image = sitk.GetImageFromArray(sitk.GetArrayViewFromImage(subject) * left.astype(np.int16))
    image.CopyInformation(subject)
    return turned(image)


@pytest.fixture(scope="module")
def by_the_outline(people, stripped_otherwise) -> Alignment:
    return align(people[0].subject, stripped_otherwise)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["affine", "rigid"])
def test_one_persons_brains_are_aligned_by_what_lies_inside_them(
    people, stripped_otherwise, by_the_outline, method
) -> None:
    inside = align_inside(people[0].subject, stripped_otherwise, by_the_outline, method)
    assert error(by_the_outline.fixed_to_moving, TURN, people[0].brain) > 0.8
    assert error(inside.fixed_to_moving, TURN, people[0].brain) < 0.4
    turn = to_matrix(inside.fixed_to_moving)[:3, :3]
    assert np.allclose(turn @ turn.T, np.eye(3), atol=1e-6) == (method == "rigid")


@pytest.mark.slow
@pytest.mark.usefixtures("upright")
def test_one_persons_scans_are_registered_by_a_rigid_map_alone_in_two_contrasts_too(people) -> None:
    subject = people[0].subject
    values = sitk.GetArrayFromImage(subject)
    image = sitk.GetImageFromArray(as_t2(values / np.float32(values.max())))
    image.CopyInformation(subject)
    found = register(subject, turned(image), preset="accurate")
    assert found.settings.contrast == "different"
    assert found.alignment.method == "rigid"
    assert found.settings.alignment == "auto"  # as asked for, so that the record repeats the result
    assert found.quality.hints == (RIGID_ALONE,)
    assert found.quality.reasons[-2:] == (SHAPE_NOT_COMPARED, RIGID_ALONE)
    assert found.quality.verdict == "look at it"
    assert found.quality.rigid_alone
    assert not found.flow.any()
    assert "network" not in found.quality.seconds  # as its answer would not be used
    assert found.provenance.device == ""
    assert error(found.transform, TURN, people[0].brain) < 0.3


@pytest.mark.slow
@pytest.mark.usefixtures("upright")
def test_what_masks_differ_by_moves_nothing_after_an_affine_alignment_either(people, stripped_otherwise) -> None:
    found = register(people[0].subject, stripped_otherwise, preset="fast", alignment="affine")
    assert found.quality.hints == (TRY_RIGID,)
    assert found.quality.reasons[-1] == TRY_RIGID
    assert not found.quality.rigid_alone
    assert error(found.transform, TURN, people[0].brain) < 0.4


@pytest.mark.slow
@pytest.mark.usefixtures("upright")
@pytest.mark.parametrize("ratio", [0.9, 1.1])
def test_one_persons_scans_of_two_sizes_are_aligned_by_an_affine_map_and_doubted(people, ratio) -> None:
    """As where a voxel size is wrong: by a rigid map and the network they ended 3 to 5 mm apart."""

    def scaled(scan: sitk.Image) -> sitk.Image:
        scan = sitk.Image(scan)
        scan.SetSpacing([ratio * step for step in scan.GetSpacing()])
        scan.SetOrigin([ratio * place for place in scan.GetOrigin()])
        return scan

    subject, brain = people[0].subject, people[0].brain
    scans, masks = (subject, scaled(subject)), (brain, scaled(brain))
    found = place(scans, masks, RegistrationSettings(), None, lambda *_: None)
    assert not found.one_person
    assert found.alignment.method == "affine"
    assert SIZES_DIFFER in found.alignment.warnings
    assert error(found.alignment.fixed_to_moving, np.diag([ratio, ratio, ratio, 1]), brain) < 0.2
