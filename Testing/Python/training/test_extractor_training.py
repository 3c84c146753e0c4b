"""Brain extraction is learned from painted heads: they show what is right, and a stopped run goes on."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from torch.utils.data import DataLoader

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.network.brain_net import ARCHITECTURE, BrainNet
from ULAERegistrationLib.network.weight_files import read_weights
from ULAERegistrationLib.training import heads as painting
from ULAERegistrationLib.training.checkpoint import write_checkpoint
from ULAERegistrationLib.training.contrasts import draw_contrast
from ULAERegistrationLib.training.extractor import (
    Examples,
    ExtractorSettings,
    ExtractorTrainer,
    extraction_loss,
    validate,
)
from ULAERegistrationLib.training.head_data import (
    HELD_OUT,
    Heads,
    aged,
    brain_of,
    ms01_masks,
    pack,
    pack_labels,
    pack_scan,
    shrunken,
)
from ULAERegistrationLib.training.heads import SIZE, augment, paint
from ULAERegistrationLib.training.ship_extractor import ship

pytestmark = pytest.mark.slow

LABELS = np.array([0, 2, 3, 4, 24, 502, 530], np.int32)


def label_map(shift: int = 0) -> sitk.Image:
    """A head of spheres, 1 mm, stored as SynthSeg's are: skin, skull, fluid, cortex, white matter, ventricle."""
    indices = np.stack(np.meshgrid(*(np.arange(128),) * 3, indexing="ij"), -1)
    radius = np.sqrt(((indices - (64, 64, 64 + shift)) ** 2).sum(-1))
    values = np.zeros((128, 128, 128), np.int32)
    for edge, label in ((58, 530), (54, 502), (50, 24), (46, 3), (38, 2), (10, 4)):
        values[radius < edge] = label
    image = sitk.GetImageFromArray(values)
    image.SetDirection((1, 0, 0, 0, 0, -1, 0, -1, 0))
    return image


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> Heads:
    folder = tmp_path_factory.mktemp("data")
    (folder / "labelmaps").mkdir()
    for number in (1, 2, 19):
        sitk.WriteImage(label_map(number % 3), str(folder / "labelmaps" / f"head_{number:02d}.nii.gz"))
    np.save(folder / "labelmaps" / "generation_labels.npy", LABELS)
    for name in ("generation_classes", "generation_classes_contrast_specific"):
        np.save(folder / "labelmaps" / f"{name}.npy", np.arange(len(LABELS)))
    np.save(folder / "labelmaps" / "prior_means_t1.npy", np.array([[5, 160, 120, 40, 40, 20, 140], [2] * 7], float))
    np.save(folder / "labelmaps" / "prior_stds_t1.npy", np.array([[5] * 7, [2] * 7], float))
    assert pack(folder, folder / "heads.npz") == {"head": 7, "scan": 0, "measured": 0}
    return Heads(folder / "heads.npz")


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_held_out_heads_are_never_trained_on(packed):
    assert set(packed.maps) == {f"head_{n}{kind}" for n in ("01", "02") for kind in ("", "_aged", "_shrunken")}
    assert set(packed.held_out) <= set(HELD_OUT)


def test_painted_membranes_lie_between_the_outer_fluid_and_the_skull(packed, monkeypatch):
    head = packed.maps["head_01"]
    contrast = (torch.zeros(len(LABELS)), torch.zeros(len(LABELS)))  # so that nothing but the membranes is bright
    monkeypatch.setattr(painting, "draw_contrast", lambda *_: contrast)
    monkeypatch.setattr(painting, "MEMBRANES", 1.0)
    # Uneven muscle is painted in some of the images, and some are stripped; the membranes are bright in most.
    painted = [paint(head, packed.labels, packed.classes, random(seed)) for seed in range(100)]
    bright = torch.stack([image > 0.02 for image in painted]).float().mean(0) > 0.6
    label = torch.from_numpy(packed.labels)[head.first.long()]
    places = torch.meshgrid(*(2 * torch.arange(n) - (n - 1.0) for n in label.shape), indexing="ij")
    radius = torch.stack(places).norm(dim=0)  # mm
    assert bright.any()
    assert (label[bright] == 502).all(), "the layer lies in the skull"
    assert (radius[bright] - 50).abs().max() < 4.5, "it lies at the edge of the fluid, which has a radius of 50 mm"
    around = (radius > 50.5) & (radius < 51.5)
    assert bright[around].float().mean() > 0.5, "it surrounds the fluid on all sides"


def test_brain_is_the_tissue_and_its_fluid_but_for_the_outermost_millimetre():
    values = np.zeros((40, 40, 40), np.int32)
    values[5:35, 5:35, 5:35] = 24
    values[10:30, 10:30, 10:30] = 3
    values[10:30, 19:21, 10:25] = 24  # a sulcus of 2 mm
    brain = brain_of(values)
    assert brain[20, 20, 15]
    assert brain[6, 20, 20]
    assert not brain[5, 20, 20]
    assert brain.sum() <= 28**3


def test_a_packed_label_map_keeps_the_volume_of_every_label():
    parts = pack_labels(label_map(), LABELS)
    share = parts["share"] / 255
    values = sitk.GetArrayFromImage(label_map())
    for row, label in enumerate(LABELS[1:], start=1):
        volume = 8 * (share * (parts["first"] == row) + (1 - share) * (parts["second"] == row)).sum()
        assert volume == pytest.approx((values == label).sum(), rel=0.03)
    assert 8 * (parts["brain"] / 255).sum() == pytest.approx(brain_of(values).sum(), rel=0.01)


def test_a_shrunken_brain_leaves_fluid_in_front_of_it_and_above_it_and_none_behind():
    values = np.zeros((60, 60, 60), np.int32)
    values[2:58, 2:58, 2:58] = 24
    values[4:56, 4:56, 4:56] = 3
    values[:2] = 500
    older, smaller = aged(values), shrunken(values)
    tissue, before = np.argwhere(smaller == 3), np.argwhere(older == 3)
    assert tissue.min(0)[1] - before.min(0)[1] == pytest.approx(2, abs=1)
    assert before.max(0)[2] - tissue.max(0)[2] == pytest.approx(2, abs=1)
    assert tissue.max(0)[1] == before.max(0)[1]
    assert tissue.min(0)[2] == before.min(0)[2]
    assert np.array_equal(smaller == 500, values == 500)
    assert np.array_equal(smaller == 0, values == 0)


def test_a_real_scan_is_packed_along_the_axes_of_the_body_with_its_mask():
    scan = sitk.Cast(label_map(), sitk.sitkFloat32)
    scan = scan * sitk.Cast(scan < 500, sitk.sitkFloat32)
    parts = pack_scan(scan, scan > 0)
    assert parts["image"].shape == parts["brain"].shape
    assert 8 * (parts["brain"] / 255).sum() == pytest.approx((sitk.GetArrayViewFromImage(scan) > 0).sum(), rel=0.02)


@pytest.mark.parametrize("kind", ["t1", "scan", "random"])
def test_every_contrast_is_new_and_air_is_dark(packed, kind):
    chance = random()
    first, second = (draw_contrast(packed.labels, packed.classes, chance, kind)[0] for _ in range(2))
    assert not torch.equal(first, second)
    assert first[0] < 0.05


def test_t1_shows_white_matter_brighter_than_cortex_brighter_than_fluid(packed):
    means, _ = draw_contrast(packed.labels, packed.classes, random(), "t1")
    assert means[1] > means[2] > means[3]


def test_a_painted_head_looks_alike_for_one_seed_and_differs_for_another(packed):
    head = packed.maps["head_01"]
    pictures = []
    for chance in map(random, (1, 1, 2)):
        pictures.append(augment(paint(head, packed.labels, packed.classes, chance), head.brain, chance)[0])
    assert torch.equal(pictures[0], pictures[1])
    assert not torch.equal(pictures[0], pictures[2])


def test_images_and_targets_are_on_the_networks_grid_and_in_zero_to_one(packed):
    head = packed.maps["head_01"]
    for seed in range(12):
        chance = random(seed)
        image, brain = augment(paint(head, packed.labels, packed.classes, chance), head.brain, chance)
        assert image.shape == brain.shape == (1, 1, SIZE, SIZE, SIZE)
        for values in (image, brain):
            assert values.isfinite().all()
            assert values.min() >= 0
            assert values.max() <= 1


def test_the_target_stays_on_the_brain_that_is_painted(packed):
    head = packed.maps["head_01"]
    seen = 0
    for seed in range(8):
        image, brain = augment(head.brain, head.brain, random(seed))
        inside, outside = image[brain > 0.95], image[brain == 0]
        if len(inside) and len(outside):
            seen += 1
            assert inside.median() > outside.median() + 0.3
    assert seen >= 6


def test_no_brain_is_asked_for_where_the_field_of_view_was_cut(packed):
    brain = torch.zeros(1, 1, SIZE, SIZE, SIZE)
    brain[..., 20:70, 20:70, 20:70] = 1
    kept = [painting._field_of_view(brain, random(seed)) for seed in range(20)]
    shares = [1.0 if seen is None else (brain * seen).sum().item() / brain.sum().item() for seen in kept]
    assert min(shares) < 0.8
    assert min(shares) > 0.02


def test_some_images_show_no_brain_at_all(packed):
    for seed in range(4):
        chance = random(seed)
        image, brain = painting.without_brain(packed.maps["head_01"].brain, packed.maps["head_01"].brain, chance)
        assert image.shape == brain.shape == (1, 1, SIZE, SIZE, SIZE)
        assert not brain.any()
        assert 0 <= image.min() <= image.max() <= 1


def test_a_perfect_answer_costs_nothing():
    brain = torch.zeros(1, 1, 16, 16, 16)
    brain[..., 4:12, 4:12, 4:12] = 1
    assert extraction_loss(100 * (brain - 0.5), brain) == pytest.approx(0, abs=1e-3)
    assert extraction_loss(-100 * (brain - 0.5), brain) > 1


@pytest.fixture
def small_images(monkeypatch):
    monkeypatch.setattr(painting, "SIZE", 32)


@pytest.mark.usefixtures("small_images")
def test_a_run_goes_on_from_its_checkpoint_to_the_same_state(packed, tmp_path):
    settings = ExtractorSettings(steps=2, batch=1, validate_every=10)
    whole = ExtractorTrainer(tmp_path / "whole", packed, settings, log=lambda line: None)
    whole.train()
    part = ExtractorTrainer(tmp_path / "part", packed, settings, log=lambda line: None)
    part._step(*next(iter(part._batches())))
    part.step = 1
    part._checkpoint()
    rest = ExtractorTrainer(tmp_path / "part", packed, settings, log=lambda line: None)
    rest.train()
    for name, value in whole.average.items():
        torch.testing.assert_close(rest.average[name], value, rtol=1e-4, atol=1e-6)
    assert (tmp_path / "whole" / "curve.csv").read_text().startswith("step,cpu_seconds,loss,painted")


@pytest.mark.usefixtures("small_images")
def test_other_processes_make_the_same_training_images(packed):
    examples = Examples(packed, ExtractorSettings(steps=2, batch=2))
    loaded = list(DataLoader(examples, 2, sampler=range(4), num_workers=2))
    for number in range(4):
        for mine, theirs in zip(examples[number], loaded[number // 2], strict=True):
            assert torch.equal(mine, theirs[number % 2])
    assert not torch.equal(examples[0][0], examples[1][0])


@pytest.mark.usefixtures("small_images")
def test_a_run_can_start_from_the_weights_of_another(packed, tmp_path):
    first = ExtractorTrainer(tmp_path / "first", packed, ExtractorSettings(seed=5), log=lambda line: None)
    second = ExtractorTrainer(
        tmp_path / "second", packed, ExtractorSettings(seed=6), start=first.average, log=lambda line: None
    )
    for name, value in first.average.items():
        assert torch.equal(second.average[name], value)


@pytest.mark.usefixtures("small_images")
def test_a_run_goes_on_from_the_weights_that_it_was_begun_from_and_no_others(packed, tmp_path):
    def run(history: list[dict]) -> ExtractorTrainer:
        return ExtractorTrainer(tmp_path, packed, ExtractorSettings(), history=history, log=lambda line: None)

    run([{"steps": 7}])._checkpoint()
    for other in ([], [{"steps": 8}]):
        with pytest.raises(RegistrationError, match="was begun from other weights; give those with --start-from"):
            run(other)
    assert run([{"steps": 7}]).history == [{"steps": 7}]


@pytest.mark.usefixtures("small_images")
def test_a_run_goes_on_with_its_own_settings_and_no_others(packed, tmp_path):
    def run(**settings) -> ExtractorTrainer:
        return ExtractorTrainer(tmp_path, packed, ExtractorSettings(**settings), log=lambda line: None)

    run(steps=20, batch=1)._checkpoint()
    with pytest.raises(RegistrationError, match=r"was begun with other settings \(batch, learning_rate\)"):
        run(steps=20, batch=2, learning_rate=1e-3)
    assert run(steps=40, batch=1).settings.steps == 40
    write_checkpoint(tmp_path, {"settings": "{}"})
    with pytest.raises(RegistrationError, match="holds the run of another training"):
        run(steps=20, batch=1)
    (tmp_path / "checkpoint.pt").write_bytes(b"damaged")
    with pytest.raises(RegistrationError, match="is damaged, or an earlier version wrote it"):
        run(steps=20, batch=1)


def test_a_runs_weights_are_shipped_with_a_card_of_their_own(packed, tmp_path):
    trainer = ExtractorTrainer(tmp_path, packed, ExtractorSettings(), log=lambda line: None)
    trainer._save({"painted": 0.5})
    table = tmp_path / "table.json"
    table.write_text(json.dumps({"own": {"a head": {"dice": 0.9512345}, "no brain": {"error": "none"}}}))
    card = ship(tmp_path / "last.safetensors", table, tmp_path / "shipped.safetensors")
    assert card["accuracy"] == {"a head": 0.9512}
    assert "CC BY 4.0" in card["licence"]
    assert read_weights(tmp_path / "shipped.safetensors", BrainNet(), ARCHITECTURE)


@pytest.mark.usefixtures("small_images")
def test_validation_is_the_same_every_time(packed):
    torch.manual_seed(0)
    network = BrainNet().eval()
    assert validate(network, packed) == validate(network, packed)


@pytest.mark.parametrize(("scan", "goes_on"), [("visit1_t1w", False), ("visit1_flair", True), ("visit2_t1w", True)])
def test_a_mask_that_ends_where_another_scan_ends_is_known_up_to_there(data_folder, scan: str, goes_on: bool) -> None:
    """The one of `ms01` ends with the first visit's T1, and the others show brain beyond, up to both ends."""
    image = sitk.ReadImage(str(data_folder / "heads" / "ms01" / f"{scan}.nii.gz"))
    masks = ms01_masks(data_folder / "heads" / "ms01", int(scan[5]), scan[7:], image)
    brain, known = (sitk.GetArrayFromImage(mask) > 0 for mask in masks)
    assert not (brain & ~known).any()
    middle = known[:, image.GetSize()[1] // 2, image.GetSize()[0] // 2]
    ends = [brain[slices].sum() for slices in np.flatnonzero(middle)[[1, -2]]]
    assert min(ends) > 0.1 * brain.sum(axis=(1, 2)).max()  # whole cuts through the brain
    assert goes_on == (not middle[0] and not middle[-1])
