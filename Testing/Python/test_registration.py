"""Two brains, from files to files: what is stored is what was found, and other tools read it alike."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib import Cancelled, Registration, RegistrationError, __version__, register
from ULAERegistrationLib.files.transforms import write_transform
from ULAERegistrationLib.geometry.canonical import template
from ULAERegistrationLib.geometry.resampling import resample
from ULAERegistrationLib.geometry.transforms import chain_transform, flow_transform
from ULAERegistrationLib.overlap import dice
from ULAERegistrationLib.progress import STAGES


@pytest.fixture(scope="module")
def registration(simulated_registration) -> Registration:
    return simulated_registration


@pytest.fixture(scope="module")
def points(registration) -> np.ndarray:
    """World points all over the fixed brain."""
    values = sitk.GetArrayViewFromImage(registration.fixed)
    voxels = np.argwhere(values > 0)[::997, ::-1].tolist()
    return np.array([registration.fixed.TransformIndexToPhysicalPoint(voxel) for voxel in voxels])


def mapped(transform: sitk.Transform, points: np.ndarray) -> np.ndarray:
    return np.array([transform.TransformPoint(point.tolist()) for point in points])


def mean_dice(labels: sitk.Image, path) -> float:
    return float(np.mean([*dice(sitk.GetArrayFromImage(labels), read_array(path)).values()]))


def read_array(path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def test_the_true_map_is_found(registration, simulated, points):
    def error(transform: sitk.Transform) -> float:
        return float(np.linalg.norm(mapped(transform, points) - mapped(simulated.truth, points), axis=1).mean())

    # The template is an average and its inside is even, so that the network alone leaves some millimetres there.
    assert error(registration.transform) < 3
    assert error(registration.transform) < 0.85 * error(registration.alignment.fixed_to_moving)


def test_labels_overlap_far_better_than_after_the_alignment(registration, simulated):
    labels = sitk.ReadImage(str(simulated.moving_labels))
    aligned = resample(labels, registration.fixed, registration.alignment.fixed_to_moving, labels=True)
    before = mean_dice(aligned, simulated.fixed_labels)
    after = mean_dice(registration.warp_labels(simulated.moving_labels), simulated.fixed_labels)
    assert after > before + 0.08
    assert after > 0.65


@pytest.mark.slow
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


def test_the_stored_map_is_the_chain_of_its_parts(registration, points):
    """Affine, phi1, phi2, phi3, affine, each by SimpleITK's own composite transform."""
    chain = chain_transform([step.flow for step in registration.steps], registration.alignment)
    apart = np.linalg.norm(mapped(registration.transform, points) - mapped(chain, points), axis=1)
    assert apart.max() < 0.05


def test_the_world_form_of_the_steps_chains_to_the_same_map(registration, points):
    chain = points
    for step in reversed(registration.steps):
        chain = mapped(step.transform, chain)
    chain = mapped(registration.alignment.fixed_to_moving, chain)
    total = mapped(registration.steps[-1].cumulative_transform, points)
    assert np.linalg.norm(chain - total, axis=1).max() < 1e-3


def test_the_composed_flow_is_the_chain_too(registration, points):
    alignment = registration.alignment
    composed = sitk.CompositeTransform(
        [
            alignment.moving_to_canonical.GetInverse(),
            flow_transform(registration.flow),
            alignment.fixed_to_canonical,
        ]
    )
    apart = np.linalg.norm(mapped(composed, points) - mapped(registration.transform, points), axis=1)
    # Equal at voxel centres; between them both interpolate, and the network alone makes rough flows.
    assert np.median(apart) < 0.03
    assert np.percentile(apart, 99) < 0.15


def test_the_warped_image_is_simpleitks_resampling_through_the_stored_files(registration, simulated, tmp_path):
    moving = sitk.ReadImage(str(simulated.moving))
    warped = sitk.GetArrayFromImage(registration.warped).astype(float)
    for name in ("t.h5", "t.nii.gz"):
        write_transform(registration.transform, tmp_path / name)
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


@pytest.fixture(scope="module")
def saved(registration, tmp_path_factory):
    """The saved result, alone in a folder of its own."""
    folder = tmp_path_factory.mktemp("saved") / "result"
    registration.save(folder)
    return folder


def test_a_saved_result_holds_everything_and_leaves_nothing_else(saved):
    written = {str(path.relative_to(saved)) for path in saved.rglob("*") if path.is_file()}
    assert {"transform.h5", "warped.nii.gz", "quality.json", "report.html", "steps/phi2.h5"} <= written
    assert {f"steps/warped{n}.nii.gz" for n in range(4)} <= written
    assert [path.name for path in saved.parent.iterdir()] == ["result"]


def test_the_saved_quality_has_the_verdict_and_what_the_registration_ran_with(saved, registration):
    quality = json.loads((saved / "quality.json").read_text())
    assert quality["verdict"] == registration.quality.verdict
    assert quality["inverse_mean_mm"] < 0.2
    provenance = quality["provenance"]
    assert (provenance["device"], provenance["precision"]) == ("cpu", "float32")
    assert provenance["settings"]["preset"] == "fast"
    assert provenance["versions"]["ULAERegistration"] == __version__
    assert provenance["weights_sha256"] == registration.card.details["sha256"]
    assert "float32" in (saved / "report.html").read_text(encoding="utf-8")


def test_the_inverse_brings_points_back(registration, points):
    there = mapped(registration.transform, points)
    back = mapped(registration.inverse_transform(), there)
    apart = np.linalg.norm(back - points, axis=1)
    assert np.median(apart) < 0.1
    assert np.percentile(apart, 99) < 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "alignment"), [("fast", "affine"), ("accurate", "none")])
def test_an_image_registered_to_itself_stays_where_it_is(preset, alignment):
    brain = template()
    registration = register(brain, brain, preset=preset, alignment=alignment, refinement_iterations=20)
    # Twenty steps of refinement alone would move it by 3.5 mm.
    assert registration.quality.displacement_max_mm <= 0.05
    points = [brain.TransformIndexToPhysicalPoint(voxel) for voxel in [(80, 96, 80), (50, 60, 70), (110, 130, 90)]]
    for point in points:
        np.testing.assert_allclose(registration.transform.TransformPoint(point), point, atol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["Aligning the brains", "step 2 of 3", "Composing", "Measuring"])
def test_cancelling_stops_at_once(simulated, stage):
    def progress(fraction: float, message: str) -> None:
        if stage in message:
            raise Cancelled

    with pytest.raises(Cancelled):
        register(simulated.fixed, simulated.moving, preset="fast", alignment="none", progress=progress)


@pytest.mark.slow
def test_two_images_in_one_frame_need_no_alignment():
    brain = template()
    registration = register(brain, brain, preset="fast", alignment="none", field_spacing=2.0)
    identity = sitk.AffineTransform(3)
    assert registration.alignment.fixed_to_moving.GetParameters() == pytest.approx(identity.GetParameters())
    assert registration.transform.GetDisplacementField().GetSpacing() == (2.0, 2.0, 2.0)


def test_an_unknown_setting_is_refused():
    with pytest.raises(RegistrationError, match="preset"):
        register(template(), template(), preset="best")


@pytest.mark.slow
def test_masks_that_are_given_are_the_brains_that_are_registered(simulated, registration, points):
    masked = register(
        simulated.fixed,
        simulated.moving,
        preset="fast",
        precision="float32",
        fixed_mask=simulated.fixed_mask,
        moving_mask=simulated.moving_mask,
    )
    mask = sitk.GetArrayFromImage(masked.fixed_mask)
    assert np.array_equal(mask, read_array(simulated.fixed_mask))
    # Both scans were stripped along these masks, so that giving them changes next to nothing.
    apart = np.linalg.norm(mapped(masked.transform, points) - mapped(registration.transform, points), axis=1)
    assert np.median(apart) < 0.3
