"""The canonical frame, and the affine maps into it: right, and the same however a scan is stored."""

from __future__ import annotations

import json
from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk
from in_world import mapped

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.geometry.alignment import Alignment, align
from ULAERegistrationLib.geometry.brain import brain_mask
from ULAERegistrationLib.geometry.brain_search import SearchedBrain
from ULAERegistrationLib.geometry.canonical import canonical_grid, sample_on_canonical, template, template_mask
from ULAERegistrationLib.shipped import MODELS

pytestmark = pytest.mark.slow

Transform = sitk.Transform


def brain_points(image: sitk.Image, count: int = 300) -> np.ndarray:
    """World points spread over the brain, [n, 3]."""
    voxels = np.argwhere(sitk.GetArrayViewFromImage(image) > 0)[:, ::-1]
    return np.array([image.TransformIndexToPhysicalPoint(voxel.tolist()) for voxel in voxels[:: len(voxels) // count]])


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """The largest distance between corresponding points, mm."""
    return float(np.linalg.norm(one - other, axis=1).max())


def affine(matrix: np.ndarray, translation: tuple[float, float, float]) -> sitk.AffineTransform:
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(np.ravel(matrix))
    transform.SetTranslation(translation)
    return transform


def tilted(image: sitk.Image, angles: tuple[float, float, float]) -> tuple[sitk.Image, sitk.Euler3DTransform]:
    """The image with a turned and shifted header, and the map that its points went through."""
    turn = sitk.Euler3DTransform((0, 0, 0), *angles, (500.0, -300.0, 1000.0))
    result = sitk.Image(image)
    result.SetOrigin(turn.TransformPoint(image.GetOrigin()))
    rotation = np.reshape(turn.GetMatrix(), (3, 3))
    result.SetDirection((rotation @ np.reshape(image.GetDirection(), (3, 3))).ravel())
    return result, turn


@pytest.fixture(scope="module")
def pair(data_folder) -> tuple[sitk.Image, sitk.Image]:
    """na16 (fixed) and na04 (moving) at 2.1 mm: as hard to find as at 0.7 mm, and quicker."""
    folder = data_folder / "raw/nirep"
    fixed, moving = (sitk.ReadImage(str(folder / f"{name}_t1.nii.gz")) for name in ("na16", "na04"))
    return sitk.BinShrink(fixed, [3, 3, 3]), sitk.BinShrink(moving, [3, 3, 3])


@pytest.fixture(scope="module")
def aligned(pair) -> Alignment:
    return align(*pair)


def test_the_canonical_frame_is_that_of_the_training_brains(data_folder) -> None:
    brain = sitk.ReadImage(str(data_folder / "brains/nirep-na04_t1.nii.gz"))
    for image in (canonical_grid(), template(), template_mask()):
        for get in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(image, get)() == getattr(brain, get)()


def test_the_template_is_small_and_made_of_training_brains_only() -> None:
    files = [MODELS / name for name in ("template.nii.gz", "template_mask.nii.gz")]
    assert sum(file.stat().st_size for file in files) <= 2e6
    card = json.loads((MODELS / "template.json").read_text())
    assert "CC BY-NC 4.0" in card["licence"]
    assert len(card["people"]) == 34
    assert not {"nirep-na04", "nirep-na16", "oasis-1113", "oasis-1125"} & set(card["people"])


@pytest.mark.parametrize(("name", "read"), [("template", template), ("template_mask", template_mask)])
def test_the_shipped_volumes_are_what_itk_reads_in_their_files(name, read) -> None:
    theirs = sitk.ReadImage(str(MODELS / f"{name}.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(read()), sitk.GetArrayFromImage(theirs))
    for geometry in ("GetSize", "GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(getattr(read(), geometry)(), getattr(theirs, geometry)(), atol=1e-6)


def test_the_template_can_be_made_again(data_folder) -> None:
    from ULAERegistrationLib.training.template import average

    people = json.loads((MODELS / "template.json").read_text())["people"]
    average_brain, mask = average(data_folder / "brains", people)
    assert np.array_equal(sitk.GetArrayFromImage(average_brain), sitk.GetArrayFromImage(template()))
    assert np.array_equal(sitk.GetArrayFromImage(mask), sitk.GetArrayFromImage(template_mask()))


@pytest.mark.parametrize("scale", [0.6, 1.15])
def test_the_size_of_a_brain_is_found_however_small_it_is(upright, scale) -> None:
    """One of .6, as an infant's, was left as large as it is inside the template."""
    brain = sitk.BinShrink(template(), [2, 2, 2])
    brain.SetSpacing([scale * 2.0] * 3)
    found = align(template(), brain, "affine", template_mask())
    matrix = np.reshape(found.fixed_to_moving.GetMatrix(), (3, 3))
    np.testing.assert_allclose(matrix, scale * np.eye(3), atol=0.02)
    assert found.warnings == ()


def test_fixed_to_moving_goes_through_the_canonical_frame() -> None:
    maps = (affine(np.diag([1.1, 0.9, 1.2]), (5, 6, 7)), affine([[1, 0.1, 0], [0, 1, 0.2], [0.1, 0, 1]], (-9, 0, 30)))
    points = np.random.default_rng(0).uniform(-90, 90, (20, 3))
    through = mapped(maps[1].GetInverse(), mapped(maps[0], points))
    np.testing.assert_allclose(mapped(Alignment(*maps).fixed_to_moving, points), through, atol=1e-9)


def test_a_known_affine_is_found_again() -> None:
    """The template, seen by a scanner in another pose, size and place."""
    turn = np.reshape(sitk.Euler3DTransform((0, 0, 0), 0.4, -0.3, 0.5).GetMatrix(), (3, 3))
    truth = affine(turn @ np.diag([0.85, 0.9, 0.8]), (300.0, -40.0, 75.0))
    grid = sitk.Image([110, 120, 130], sitk.sitkUInt8)
    grid.SetSpacing((1.7, 1.9, 1.6))
    centre = np.array(truth.TransformPoint((0.0, 17.0, 5.0)))
    grid.SetOrigin((centre - np.array(grid.GetSize()) * grid.GetSpacing() / 2).tolist())
    scan = sitk.Resample(template(), grid, truth.GetInverse(), sitk.sitkLinear)
    points = brain_points(template_mask())
    found = align(template(), scan, "none")  # places the fixed image only
    assert apart(mapped(found.fixed_to_canonical, points), points) == 0
    found = align(scan, template())
    assert apart(mapped(found.fixed_to_canonical, mapped(truth, points)), points) < 0.3
    assert apart(mapped(found.fixed_to_moving, mapped(truth, points)), points) < 0.3
    assert found.warnings == ()


@pytest.mark.usefixtures("upright")
def test_a_scan_on_itself_stays_where_it_is(pair) -> None:
    points = brain_points(pair[0])
    assert apart(mapped(align(pair[0], pair[0]).fixed_to_moving, points), points) < 1e-4


# Each order of the axes once, with each set of flips at least once.
FLIPS = list(product((False, True), repeat=3))
ORDERS = [(axes, FLIPS[number % 8]) for number, axes in enumerate([*permutations(range(3)), *[(1, 2, 0)] * 2])]


@pytest.mark.usefixtures("upright")
def test_the_order_of_storage_changes_nothing(pair, aligned) -> None:
    axes, flips = ORDERS[3]
    stored = [sitk.Flip(sitk.PermuteAxes(image, axes), flips) for image in pair]
    found, points = align(stored[0], stored[1]), brain_points(pair[0])
    assert apart(mapped(found.fixed_to_moving, points), mapped(aligned.fixed_to_moving, points)) <= 0.05
    assert apart(mapped(found.fixed_to_canonical, points), mapped(aligned.fixed_to_canonical, points)) <= 0.05


def test_the_search_sees_the_same_in_every_order_of_storage(pair) -> None:
    """So it finds the same, in every order, as the test above shows the whole way for one of them."""
    scan = sitk.BinShrink(pair[1], [2, 2, 2])
    searched = SearchedBrain.of(scan, None)
    for axes, flips in ORDERS:
        found = SearchedBrain.of(sitk.Flip(sitk.PermuteAxes(scan, axes), flips), None)
        assert np.array_equal(sitk.GetArrayViewFromImage(found.image), sitk.GetArrayViewFromImage(searched.image))
        np.testing.assert_allclose(found.to_world, searched.to_world, atol=1e-6)


def test_an_oblique_header_far_away_changes_only_what_it_means(pair, aligned) -> None:
    (fixed, turn_fixed), (moving, turn_moving) = tilted(pair[0], (0.2, -0.25, 0.5)), tilted(pair[1], (-0.3, 0.1, 0.4))
    found, points = align(fixed, moving), brain_points(pair[0])
    reached = mapped(turn_moving.GetInverse(), mapped(found.fixed_to_moving, mapped(turn_fixed, points)))
    assert apart(reached, mapped(aligned.fixed_to_moving, points)) <= 0.05


@pytest.mark.usefixtures("upright")
def test_an_oblique_recut_gives_the_same_map(data_folder) -> None:
    """A left-handed, anisotropic recut of the same head, where interpolation is involved."""
    fixed, recut, moving = (
        sitk.ReadImage(str(data_folder / "raw" / f"{name}_t1.nii.gz"))
        for name in ("nirep/na16", "oblique/na16", "nirep/na04")
    )
    points = brain_points(fixed)
    one, other = align(fixed, moving).fixed_to_moving, align(recut, moving).fixed_to_moving
    assert apart(mapped(one, points), mapped(other, points)) <= 0.3


@pytest.mark.usefixtures("upright")
def test_rigid_keeps_distances(pair, aligned) -> None:
    found = align(*pair, method="rigid")
    matrix = np.reshape(found.fixed_to_moving.GetMatrix(), (3, 3))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(matrix) > 0
    points = brain_points(pair[0])
    assert apart(mapped(found.fixed_to_moving, points), mapped(aligned.fixed_to_moving, points)) < 12


@pytest.mark.usefixtures("upright")
def test_a_known_rigid_map_is_found_again_though_the_moving_brain_lacks_its_back() -> None:
    truth = sitk.Euler3DTransform((0.0, 17.0, 5.0), 0.1, -0.15, 0.2, (6.0, -9.0, 12.0))
    fixed = sitk.BinShrink(template(), [2, 2, 2])
    cut = sitk.Image(fixed)
    cut[:, 69:, :] = 0  # the last 50 mm
    moving = sitk.Resample(cut, sitk.ConstantPad(cut, [10] * 3, [10] * 3), truth.GetInverse(), sitk.sitkLinear)
    found = align(fixed, moving, method="rigid")
    matrix, points = np.reshape(found.fixed_to_moving.GetMatrix(), (3, 3)), brain_points(fixed)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-6)
    assert apart(mapped(found.fixed_to_moving, points), mapped(truth, points)) < 0.1


@pytest.mark.usefixtures("upright")
def test_centre_only_shifts(pair) -> None:
    moving, turn = tilted(pair[0], (0.0, 0.0, 0.0))
    found, points = align(pair[0], moving, method="centre"), brain_points(pair[0])
    assert apart(mapped(found.fixed_to_moving, points), mapped(turn, points)) < 0.01


@pytest.mark.usefixtures("upright")
def test_none_leaves_the_shared_world_and_still_places_the_fixed_brain(pair, aligned) -> None:
    found, points = align(*pair, method="none"), brain_points(pair[0])
    assert apart(mapped(found.fixed_to_moving, points), points) < 1e-9
    assert apart(mapped(found.fixed_to_canonical, points), mapped(aligned.fixed_to_canonical, points)) < 1e-5


@pytest.mark.usefixtures("upright")
def test_an_initial_transform_is_taken_or_started_from(pair, aligned) -> None:
    initial, points = sitk.TranslationTransform(3, (4.0, -8.0, 12.0)), brain_points(pair[0])
    taken = align(*pair, method="none", initial_transform=initial)
    assert apart(mapped(taken.fixed_to_moving, points), mapped(initial, points)) < 1e-9
    searched = align(*pair, initial_transform=initial)
    assert apart(mapped(searched.fixed_to_moving, points), mapped(aligned.fixed_to_moving, points)) < 0.1
    with pytest.raises(RegistrationError, match="not linear"):
        align(*pair, initial_transform=sitk.DisplacementFieldTransform(sitk.Image([8, 8, 8], sitk.sitkVectorFloat64)))


@pytest.mark.usefixtures("upright")
@pytest.mark.parametrize("matrix", [np.diag([1.0, 1.0, 0.0]), np.full((3, 3), np.nan)], ids=["flat", "not finite"])
def test_an_initial_transform_without_an_inverse_is_refused(pair, matrix) -> None:
    initial = sitk.AffineTransform(3)
    initial.SetMatrix(matrix.ravel())
    with pytest.raises(RegistrationError, match="The initial transform has no inverse or is not finite"):
        align(*pair, initial_transform=initial)


def test_a_poor_match_is_put_down_to_the_initial_transform_where_one_was_given(pair) -> None:
    far = sitk.TranslationTransform(3, (0.0, 0.0, 400.0))
    *others, between_scans = align(*pair, initial_transform=far).warnings
    assert "The two images agree poorly" in between_scans
    assert "check the initial transform" in between_scans
    assert not any("initial transform" in warning for warning in others)


def test_a_scan_darker_than_its_background_is_refused(pair) -> None:
    inverted = sitk.InvertIntensity(sitk.Cast(pair[1], sitk.sitkFloat32), 255.0)
    with pytest.raises(RegistrationError, match="nowhere brighter than its background"):
        align(pair[0], inverted)


def test_a_mask_hides_what_is_not_brain(pair, aligned) -> None:
    """A bright box beside the brain would pull the alignment."""
    mask = brain_mask(pair[0])
    spoilt = sitk.Image(pair[0])
    spoilt[2:20, 2:30, 2:20] = 255
    found, points = align(spoilt, pair[1], fixed_mask=mask), brain_points(pair[0])
    assert apart(mapped(found.fixed_to_moving, points), mapped(aligned.fixed_to_moving, points)) < 0.3


def test_a_whole_head_is_found(data_folder, pair) -> None:
    head = sitk.ReadImage(str(data_folder / "raw/whole-head/chris_t1.nii.gz"))
    found = align(pair[0], head)
    seen = sample_on_canonical(head, found.moving_to_canonical)
    average = sitk.GetArrayFromImage(template()).transpose(2, 1, 0)
    assert np.corrcoef(seen.ravel(), average.ravel())[0, 1] > 0.9


@pytest.mark.usefixtures("upright")
@pytest.mark.parametrize(
    ("fixed", "moving", "labels", "least"),
    [("nirep/na16", "nirep/na04", range(1, 33), 0.46), ("oasis/1125", "oasis/1113", range(100, 208), 0.40)],
)
def test_labels_overlap_as_after_the_careful_alignment_of_the_data(data_folder, fixed, moving, labels, least) -> None:
    """The shared brains, aligned with another tool, have .471 and .408."""
    images = [sitk.ReadImage(str(data_folder / "raw" / f"{name}_t1.nii.gz")) for name in (fixed, moving)]
    truth, carried = (sitk.ReadImage(str(data_folder / "raw" / f"{name}_seg.nii.gz")) for name in (fixed, moving))
    carried = sitk.Resample(carried, truth, align(*images).fixed_to_moving, sitk.sitkNearestNeighbor)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(sitk.Cast(carried, sitk.sitkInt16), sitk.Cast(truth, sitk.sitkInt16))
    present = np.union1d(sitk.GetArrayViewFromImage(truth), sitk.GetArrayViewFromImage(carried))
    assert np.mean([overlap.GetDiceCoefficient(int(label)) for label in labels if label in present]) >= least


@pytest.mark.usefixtures("upright")
def test_the_network_sees_a_scan_as_it_saw_the_training_brains(data_folder) -> None:
    raw = sitk.ReadImage(str(data_folder / "raw/oasis/1125_t1.nii.gz"))
    known = sitk.ReadImage(str(data_folder / "brains/oasis-1125_t1.nii.gz"))
    to_known = align(raw, known).fixed_to_moving  # same person: the map the data was made with
    seen = sample_on_canonical(raw, to_known)
    expected = sitk.GetArrayFromImage(known).transpose(2, 1, 0) / 255
    assert seen.shape == (160, 192, 160)
    assert seen.dtype == np.float32
    assert np.abs(seen - expected)[expected > 0].mean() < 0.015
    assert abs(seen.mean() - expected.mean()) < 0.005


def test_what_the_network_sees_does_not_depend_on_units_or_background() -> None:
    identity = sitk.AffineTransform(3)
    plain = sample_on_canonical(template(), identity)
    assert 0 == plain.min() < plain.max() == 1
    tenfold = sitk.Cast(template(), sitk.sitkInt16) * 10
    np.testing.assert_allclose(sample_on_canonical(tenfold, identity), plain, atol=1e-5)
    lifted = sitk.Cast(template(), sitk.sitkInt16) - 1024
    seen = sample_on_canonical(lifted, identity)
    assert seen[0, 0, 0] == 0
    assert np.corrcoef(seen.ravel(), plain.ravel())[0, 1] > 0.99
    for factor in (3, 12):  # two millilitres of a clip or a fresh bleeding, far brighter than all tissue
        spot = sitk.Cast(template(), sitk.sitkFloat32)
        spot[75:87, 75:87, 85:97] = factor * 255.0
        seen = sample_on_canonical(spot, identity)
        seen[75:87, 75:87, 85:97] = plain[75:87, 75:87, 85:97]
        assert np.abs(seen - plain)[plain > 0].mean() < 0.03
    box = sitk.Image(template().GetSize(), sitk.sitkUInt8)
    box.CopyInformation(template())
    box[60:100, 60:100, 60:100] = 1
    seen = sample_on_canonical(template(), identity, box)
    assert np.count_nonzero(seen) == np.count_nonzero(seen[60:100, 60:100, 60:100]) == 40**3
