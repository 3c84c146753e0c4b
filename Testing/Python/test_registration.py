"""Two brains, from files to files: what is stored is what was found, and other tools read it alike."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, dataclass, fields
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from in_world import mapped, mean_apart

from ULAERegistrationLib import Cancelled, Registration, RegistrationError, register
from ULAERegistrationLib import registration as registration_module
from ULAERegistrationLib.canonical_flows import CanonicalFlows
from ULAERegistrationLib.files.transforms import write_transform
from ULAERegistrationLib.files.volumes import read_mask
from ULAERegistrationLib.geometry.alignment import Alignment, align
from ULAERegistrationLib.geometry.canonical import template, template_brain
from ULAERegistrationLib.geometry.frame import CANONICAL_ORIGIN, CANONICAL_SIZE
from ULAERegistrationLib.geometry.likeness import Likeness
from ULAERegistrationLib.geometry.resampling import resample
from ULAERegistrationLib.overlap import dice
from ULAERegistrationLib.placement import Placement
from ULAERegistrationLib.progress import STAGES
from ULAERegistrationLib.quality import Quality
from ULAERegistrationLib.quality_measures import measure
from ULAERegistrationLib.scan_brain import ScanBrain


@pytest.fixture(scope="module")
def registration(simulated_registration) -> Registration:
    return simulated_registration


@pytest.fixture(scope="module")
def points(registration) -> np.ndarray:
    """World points all over the fixed brain."""
    values = sitk.GetArrayViewFromImage(registration.fixed)
    voxels = np.argwhere(values > 0)[::997, ::-1].tolist()
    return np.array([registration.fixed.TransformIndexToPhysicalPoint(voxel) for voxel in voxels])


def mean_dice(labels: sitk.Image, path) -> float:
    return float(np.mean([*dice(sitk.GetArrayFromImage(labels), read_array(path)).values()]))


def read_array(path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


@pytest.fixture
def error(simulated, points):
    """The mean distance in the brain of a transform from the true map, mm."""
    return lambda transform: mean_apart(transform, simulated.truth, points)


def test_the_true_map_is_found(registration, error):
    # The template is an average and its inside is even, so that the network alone leaves some millimetres there.
    assert error(registration.transform) < 3.2
    assert error(registration.transform) < 0.75 * error(registration.alignment.fixed_to_moving)


def test_a_subject_and_the_template_are_two_people_and_aligned_by_an_affine_map(registration):
    assert registration.alignment.method == "affine"
    assert registration.quality.hints == ()
    assert not registration.quality.rigid_alone


def test_labels_overlap_far_better_than_after_the_alignment(registration, simulated):
    labels = sitk.ReadImage(str(simulated.moving_labels))
    aligned = resample(labels, registration.fixed, registration.alignment.fixed_to_moving, labels=True)
    before = mean_dice(aligned, simulated.fixed_labels)
    after = mean_dice(registration.warp_labels(simulated.moving_labels), simulated.fixed_labels)
    assert after > before + 0.08
    assert after > 0.65


@pytest.mark.slow
@pytest.mark.usefixtures("upright")
def test_cortical_labels_of_two_real_people_overlap_far_better_than_after_the_alignment(data_folder):
    raw = data_folder / "raw"
    registration = register(
        raw / "oblique" / "na16_t1.nii.gz",
        raw / "nirep" / "na04_t1.nii.gz",
        preset="fast",
        precision="float32",
    )
    labels = sitk.ReadImage(str(raw / "nirep" / "na04_seg.nii.gz"))
    theirs = read_array(raw / "oblique" / "na16_seg.nii.gz")
    aligned = resample(labels, registration.fixed, registration.alignment.fixed_to_moving, labels=True)
    overlap = [dice(sitk.GetArrayFromImage(found), theirs) for found in (aligned, registration.warp_labels(labels))]
    before, after = (float(np.mean([found[label] for label in range(1, 33)])) for found in overlap)
    assert before > 0.43
    assert after > 0.59
    assert after > before + 0.12
    assert registration.quality.verdict == "good", registration.quality.reasons


def test_the_whole_map_is_its_steps_one_after_the_other(registration, points):
    """Each by SimpleITK's own composite transform: equal at voxel centres, between them both interpolate."""
    voxels = np.argwhere(registration.brain)[::5000] + np.array(CANONICAL_ORIGIN)
    centres = mapped(registration.alignment.fixed_to_canonical.GetInverse(), voxels)
    for where, accuracy in ((centres, 1e-3), (points, 0.1)):
        chain = where
        for step in reversed(registration.steps):
            chain = mapped(step.transform, chain)
        chain = mapped(registration.alignment.fixed_to_moving, chain)
        apart = np.linalg.norm(mapped(registration.transform, where) - chain, axis=1)
        assert np.median(apart) < accuracy
    assert np.linalg.norm(mapped(registration.transform, centres) - centres, axis=1).max() > 10


def test_the_warped_image_is_simpleitks_resampling_through_the_stored_files(registration, simulated, tmp_path):
    moving = sitk.ReadImage(str(simulated.moving))
    warped = sitk.GetArrayFromImage(registration.warped).astype(float)
    for name in ("t.h5", "t.nii.gz"):
        write_transform(registration.transform, tmp_path / name, registration.fixed)
        if name.endswith(".h5"):
            transform = sitk.ReadTransform(str(tmp_path / name))
        else:
            field = sitk.ReadImage(str(tmp_path / name), sitk.sitkVectorFloat64)
            transform = sitk.DisplacementFieldTransform(field)
        again = sitk.Resample(moving, registration.fixed, transform, sitk.sitkLinear, 0.0, sitk.sitkFloat64)
        # Whole numbers are rounded in what we store.
        assert np.abs(sitk.GetArrayFromImage(again) - warped).max() <= 0.51
    assert registration.warped.GetPixelID() == moving.GetPixelID()


def test_each_step_brings_the_images_closer(registration):
    fixed = sitk.GetArrayFromImage(registration.fixed).astype(float)
    brain = fixed > 0

    def correlation(image: sitk.Image) -> float:
        values = sitk.GetArrayFromImage(image).astype(float)
        return float(np.corrcoef(values[brain], fixed[brain])[0, 1])

    seen = [registration.aligned, *(step.warped for step in registration.steps)]
    correlations = [correlation(image) for image in seen]
    assert correlations == sorted(correlations)
    assert [step.name for step in registration.steps] == ["phi1", "phi2", "phi3"]


def test_quality_says_what_happened(registration):
    quality = registration.quality
    assert quality.verdict == "good", quality.reasons
    assert quality.ncc_after > quality.ncc_before + 0.2
    assert quality.mse_after < 0.5 * quality.mse_before
    assert quality.folded_percent < 0.3
    assert list(quality.seconds) == [stage.name for stage in STAGES if stage.name != "refinement"]


def test_progress_grows_from_nothing_to_all_and_says_what_is_going_on(registration, simulated_progress):
    fractions = [fraction for fraction, _ in simulated_progress]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    said = " ".join(message for _, message in simulated_progress)
    for word in ("Aligning", "step 1 of 3", "step 3 of 3", "Warping", "Done"):
        assert word in said


def test_the_inverse_brings_points_back(registration, points):
    there = mapped(registration.transform, points)
    back = mapped(registration.inverse_transform(), there)
    apart = np.linalg.norm(back - points, axis=1)
    assert np.median(apart) < 0.1
    assert np.percentile(apart, 99) < 0.5


@pytest.mark.slow
def test_an_image_registered_to_itself_stays_where_it_is(coarse_model):
    """As the alignment leaves it there too, which has a test of its own."""
    brain = template()
    registration = register(
        brain, brain, preset="fast", alignment="none", model=coarse_model, precision="float32", field_spacing=2.0
    )
    assert registration.quality.displacement_max_mm <= 0.05
    assert registration.displacement_field().GetSpacing() == (2.0, 2.0, 2.0)
    identity = sitk.AffineTransform(3)
    assert registration.alignment.fixed_to_moving.GetParameters() == pytest.approx(identity.GetParameters())
    for voxel in [(80, 96, 80), (50, 60, 70), (110, 130, 90)]:
        point = template().TransformIndexToPhysicalPoint(voxel)
        np.testing.assert_allclose(registration.transform.TransformPoint(point), point, atol=0.05)


def test_cancelling_stops_at_once(coarse_model):
    def progress(fraction: float, message: str) -> None:
        if "step 2 of 3" in message:
            raise Cancelled

    with pytest.raises(Cancelled):
        register(
            template(),
            template(),
            model=coarse_model,
            preset="fast",
            alignment="none",
            field_spacing=5.0,
            progress=progress,
        )


def test_a_start_that_is_not_linear_is_refused_before_anything_is_computed(shifted):
    field = sitk.DisplacementFieldTransform(sitk.Image([8, 8, 8], sitk.sitkVectorFloat64))
    told = []
    with pytest.raises(RegistrationError, match="not linear"):
        register(shifted.fixed, shifted.moving, initial_transform=field, progress=lambda *said: told.append(said))
    assert told == []


def test_an_unknown_setting_is_refused():
    with pytest.raises(RegistrationError, match="preset"):
        register(template(), template(), preset="best")


@pytest.mark.usefixtures("upright")
def test_masks_along_which_both_scans_were_stripped_change_next_to_nothing(registration, simulated, points):
    fixed, moving = registration.fixed, registration.moving
    masks = read_mask(simulated.fixed_mask, fixed, "fixed"), read_mask(simulated.moving_mask, moving, "moving")
    found = align(fixed, moving, "affine", *masks).fixed_to_moving
    apart = np.linalg.norm(mapped(found, points) - mapped(registration.alignment.fixed_to_moving, points), axis=1)
    assert np.median(apart) < 0.3


@pytest.mark.slow
@pytest.mark.usefixtures("upright")
def test_another_contrast_is_recognised_matched_as_t1_and_never_called_good(registration, simulated, error):
    fixed, moving = (sitk.BinShrink(image, [2, 2, 2]) for image in (registration.fixed, registration.moving))
    values = sitk.GetArrayFromImage(moving)
    inverted = sitk.GetImageFromArray(np.where(values > 0, 280 - values.astype(np.int16), 0).astype(np.int16))
    inverted.CopyInformation(moving)
    found = register(fixed, inverted, preset="fast")

    assert found.provenance.settings["contrast"] == "different"
    assert error(found.transform) < error(found.alignment.fixed_to_moving)
    assert error(found.transform) < error(registration.transform) + 1.0  # as it is found in one contrast
    assert found.quality.verdict == "look at it"
    assert any("differ in contrast" in reason for reason in found.quality.reasons)


@pytest.fixture(scope="module")
def of_an_odd_scan(shifted, quick_settings, tmp_path_factory) -> Registration:
    """The moving scan lacks its top and its file an orientation; the alignment is given."""
    moving = sitk.ReadImage(str(shifted.moving))[:, :, :60]
    moving.SetOrigin((0, 0, 0))
    file = tmp_path_factory.mktemp("odd") / "cut.nii"
    sitk.WriteImage(moving, str(file))
    content = bytearray(file.read_bytes())
    content[252:256] = bytes(4)  # the codes of qform and sform
    file.write_bytes(content)
    origin = sitk.ReadImage(str(shifted.fixed)).GetOrigin()
    start = sitk.TranslationTransform(3, [-place for place in origin])
    return register(shifted.fixed, file, initial_transform=start, **quick_settings)


def test_what_is_doubtful_about_the_moving_scan_is_said_of_it(of_an_odd_scan):
    said = [reason for reason in of_an_odd_scan.quality.reasons if "moving image" in reason]
    assert any("holds no orientation" in reason for reason in said)
    assert any("cut off at the top" in reason for reason in said)
    assert not any("cut off" in reason for reason in of_an_odd_scan.quality.reasons if "fixed image" in reason)


def test_each_likeness_is_that_of_its_brain(of_an_odd_scan):
    quality = of_an_odd_scan.quality
    assert quality.fixed_likeness.overlap > 0.95 > quality.moving_likeness.overlap


def test_the_alignment_is_the_start_where_none_is_looked_for(of_an_odd_scan):
    there = of_an_odd_scan.alignment.fixed_to_moving.TransformPoint(of_an_odd_scan.fixed.GetOrigin())
    assert there == pytest.approx((0, 0, 0), abs=1e-6)


def test_the_record_names_each_scan_in_its_role(of_an_odd_scan, shifted):
    inputs = of_an_odd_scan.quality_record()["provenance"]["inputs"]
    assert [inputs[role]["name"] for role in ("fixed", "moving")] == [shifted.fixed.name, "cut.nii"]


LIKENESSES = (Likeness(0.9, 0.95, 0.2), Likeness(0.8, 0.96, 0.3))  # of the fixed and of the moving brain


@dataclass(frozen=True)
class MadeUpStages:
    """What each stage finds, no two things alike; and after a registration, what its quality was made from."""

    brains: tuple[ScanBrain, ScanBrain]
    placed: Placement
    found: CanonicalFlows
    measured: dict[str, Any]


@pytest.fixture
def stages(monkeypatch) -> MadeUpStages:
    masks = [sitk.Image(4, 4, 4, sitk.sitkUInt8) for _ in range(6)]
    brains = tuple(
        ScanBrain(mask, True, shown, foreground, doubts=(f"the {role} scan",))
        for role, (mask, shown, foreground) in (("fixed", masks[:3]), ("moving", masks[3:]))
    )
    maps = sitk.AffineTransform(3), sitk.AffineTransform(3)
    images = [np.random.default_rng(seed).normal(size=(4, 4, 4)) for seed in range(4)]
    placed = Placement(Alignment(*maps, ("the alignment",)), "different", False, False, *images)
    flows = [torch.zeros(1, 3, *CANONICAL_SIZE) for _ in range(4)]
    flows[-1][..., 80, 90, 70] = 1.0  # their composition, as it were
    found = CanonicalFlows(flows[:3], flows[3], ("the flows",), "cpu", "float32", ("a hint",), steps_left_out=True)
    made_up = MadeUpStages(brains, placed, found, {})

    def place(scans, shown, *_) -> Placement:
        assert shown[0] is brains[0].shown
        assert shown[1] is brains[1].shown
        return placed

    def cut_doubts(brain: ScanBrain, to_canonical: sitk.Transform, role: str) -> tuple[str, ...]:
        assert (brain, to_canonical) == {"fixed": (brains[0], maps[0]), "moving": (brains[1], maps[1])}[role]
        return (f"cut: {role}",)

    def brain_likeness(image: np.ndarray, brain: ScanBrain, to_canonical: sitk.Transform) -> Likeness:
        number = brains.index(brain)
        assert image is images[number]
        assert to_canonical is maps[number]
        return LIKENESSES[number]

    def noted(*args, **kwargs) -> Quality:
        made_up.measured.update(inspect.signature(measure).bind(*args, **kwargs).arguments)
        needed = [field.name for field in fields(Quality) if field.default is MISSING is field.default_factory]
        return Quality(**dict.fromkeys(needed, 0.5))

    for name, stage in {
        "find_both_brains": lambda *_: brains,
        "place": place,
        "flows_of_placed": lambda *_: found,
        "cut_doubts": cut_doubts,
        "brain_likeness": brain_likeness,
        "measure": noted,
    }.items():
        monkeypatch.setattr(registration_module, name, stage)
    return made_up


@pytest.fixture
def of_made_up_stages(stages) -> Registration:
    scan = sitk.BinShrink(template(), [4, 4, 4])
    return register(scan, scan, device="cpu", precision="float32")


def test_the_quality_is_that_of_what_the_network_saw(stages, of_made_up_stages) -> None:
    given, placed = stages.measured, stages.placed
    assert given["fixed"] is placed.fixed_seen
    assert given["moving"] is placed.moving_seen
    assert np.array_equal(given["flow"], stages.found.total[0])
    assert given["alignment"] is placed.alignment
    assert of_made_up_stages.quality.steps_left_out
    assert not of_made_up_stages.quality.rigid_alone


def test_what_either_brain_lacks_is_looked_for_in_all_that_the_scans_show_of_the_templates_brain(
    stages, of_made_up_stages
) -> None:
    assert np.array_equal(stages.measured["fixed_brain"], stages.placed.fixed > 0)
    assert np.array_equal(stages.measured["moving_brain"], stages.placed.moving > 0)
    assert np.array_equal(stages.measured["expected"], template_brain())
    assert np.array_equal(of_made_up_stages.brain, stages.placed.fixed > 0)


def test_the_quality_knows_every_doubt_and_hint_of_the_stages_and_how_like_the_template_each_brain_is(
    stages, of_made_up_stages
) -> None:
    doubts = ("the fixed scan", "the moving scan", "cut: fixed", "cut: moving", "the alignment", "the flows")
    assert stages.measured["warnings"] == doubts
    assert stages.measured["hints"] == ("a hint",)
    assert stages.measured["likenesses"] == LIKENESSES


def test_a_registration_keeps_of_each_scan_what_the_stages_found_of_it(stages, of_made_up_stages) -> None:
    fixed, moving = stages.brains
    assert of_made_up_stages.fixed_mask is fixed.mask
    assert of_made_up_stages.moving_mask is moving.mask
    assert of_made_up_stages.moving_brain is moving.shown
    assert of_made_up_stages.fixed_canonical is stages.placed.fixed
    assert of_made_up_stages.moving_canonical is stages.placed.moving
    assert of_made_up_stages.settings.contrast == stages.placed.contrast
    assert np.array_equal(of_made_up_stages.flow, stages.found.total[0])
