"""Two real brains, from files to files: what is stored is what was found, and other tools read it alike."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib import Cancelled, Registration, RegistrationError, register
from ULAERegistrationLib.geometry.resampling import resample
from ULAERegistrationLib.geometry.transforms import chain_transform
from ULAERegistrationLib.overlap import dice


@pytest.fixture(scope="module")
def scans(data_folder) -> dict[str, str]:
    """An oblique, left-handed, anisotropic fixed scan and another person's moving one, with their labels."""
    raw = data_folder / "raw"
    return {
        "fixed": str(raw / "oblique" / "na16_t1.nii.gz"),
        "fixed_labels": str(raw / "oblique" / "na16_seg.nii.gz"),
        "moving": str(raw / "nirep" / "na04_t1.nii.gz"),
        "moving_labels": str(raw / "nirep" / "na04_seg.nii.gz"),
    }


@pytest.fixture(scope="module")
def messages() -> list[tuple[float, str]]:
    return []


@pytest.fixture(scope="module")
def registration(scans, messages) -> Registration:
    return register(
        scans["fixed"],
        scans["moving"],
        preset="fast",
        progress=lambda fraction, message: messages.append((fraction, message)),
    )


@pytest.fixture(scope="module")
def points(registration) -> np.ndarray:
    """World points all over the fixed brain."""
    values = sitk.GetArrayViewFromImage(registration.fixed)
    voxels = np.argwhere(values > 0)[::997, ::-1].tolist()
    return np.array([registration.fixed.TransformIndexToPhysicalPoint(voxel) for voxel in voxels])


def mapped(transform: sitk.Transform, points: np.ndarray) -> np.ndarray:
    return np.array([transform.TransformPoint(point.tolist()) for point in points])


def mean_dice(labels: sitk.Image, path: str) -> float:
    overlap = dice(sitk.GetArrayFromImage(labels), sitk.GetArrayFromImage(sitk.ReadImage(path)))
    return float(np.mean([overlap[label] for label in range(1, 33)]))


def test_cortical_labels_overlap_far_better_than_after_the_alignment(registration, scans):
    labels = sitk.ReadImage(scans["moving_labels"])
    aligned = resample(labels, registration.fixed, registration.alignment.fixed_to_moving, labels=True)
    before = mean_dice(aligned, scans["fixed_labels"])
    after = mean_dice(registration.warp_labels(scans["moving_labels"]), scans["fixed_labels"])
    assert before > 0.43
    assert after > 0.59
    assert after > before + 0.12


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
    from ULAERegistrationLib.geometry.transforms import flow_transform

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


def test_the_warped_image_is_simpleitks_resampling_through_the_stored_files(registration, scans, tmp_path):
    from ULAERegistrationLib.files.transforms import write_transform

    moving = sitk.ReadImage(scans["moving"])
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

    def apart(image: sitk.Image) -> float:
        values = sitk.GetArrayFromImage(image).astype(float)
        return float(np.corrcoef(values[brain], fixed[brain])[0, 1])

    stages = [registration.aligned, *(step.warped for step in registration.steps)]
    correlations = [apart(image) for image in stages]
    assert correlations == sorted(correlations)
    assert [step.name for step in registration.steps] == ["phi1", "phi2", "phi3"]


def test_quality_says_what_happened(registration):
    quality = registration.quality
    assert quality.verdict == "good", quality.reasons
    assert quality.ncc_after > quality.ncc_before + 0.2
    assert quality.mse_after < 0.5 * quality.mse_before
    assert quality.folded_percent < 0.3
    assert set(quality.seconds) == {"alignment", "network", "field", "quality"}


def test_progress_grows_from_nothing_to_all_and_says_what_is_going_on(registration, messages):
    fractions = [fraction for fraction, _ in messages]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    said = " ".join(message for _, message in messages)
    for word in ("Aligning", "step 1 of 3", "step 3 of 3", "Warping", "Done"):
        assert word in said


def test_a_saved_result_holds_everything(registration, scans, tmp_path):
    folder = tmp_path / "result"
    registration.save(folder)
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"transform.h5", "warped.nii.gz", "quality.json", "report.html", "steps/phi2.h5"} <= written
    assert {f"steps/warped{n}.nii.gz" for n in range(4)} <= written
    quality = json.loads((folder / "quality.json").read_text())
    assert quality["verdict"] == registration.quality.verdict
    assert quality["inverse_mean_mm"] < 0.2
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


@pytest.fixture(scope="module")
def brain(data_folder) -> sitk.Image:
    return sitk.ReadImage(str(data_folder / "brains" / "nirep-na16_t1.nii.gz"))


@pytest.mark.parametrize(("preset", "alignment"), [("fast", "affine"), ("accurate", "none")])
def test_an_image_registered_to_itself_stays_where_it_is(brain, preset, alignment):
    registration = register(brain, brain, preset=preset, alignment=alignment, refinement_iterations=20)
    # Twenty steps of refinement alone would move it by 3.5 mm.
    assert registration.quality.displacement_max_mm <= 0.05
    points = [brain.TransformIndexToPhysicalPoint(voxel) for voxel in [(80, 96, 80), (50, 60, 70), (110, 130, 90)]]
    for point in points:
        np.testing.assert_allclose(registration.transform.TransformPoint(point), point, atol=0.05)


@pytest.mark.parametrize("stage", ["Aligning the brains", "step 2 of 3", "Composing", "Measuring"])
def test_cancelling_stops_at_once(brain, data_folder, stage):
    def progress(fraction: float, message: str) -> None:
        if stage in message:
            raise Cancelled

    moving = data_folder / "brains" / "nirep-na04_t1.nii.gz"
    with pytest.raises(Cancelled):
        register(brain, moving, preset="fast", alignment="none", progress=progress)


def test_two_images_in_one_frame_need_no_alignment(brain, data_folder):
    registration = register(
        brain, data_folder / "brains" / "nirep-na04_t1.nii.gz", preset="fast", alignment="none", field_spacing=2.0
    )
    identity = sitk.AffineTransform(3)
    assert registration.alignment.fixed_to_moving.GetParameters() == pytest.approx(identity.GetParameters())
    assert registration.transform.GetDisplacementField().GetSpacing() == (2.0, 2.0, 2.0)


def test_an_unknown_setting_is_refused(brain):
    with pytest.raises(RegistrationError, match="preset"):
        register(brain, brain, preset="best")
