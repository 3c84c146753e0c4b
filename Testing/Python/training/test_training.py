"""Training needs little, lowers the loss, and leaves weights with their recipe."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from training_runs import curve, train

from ULAERegistrationLib.cli.main import main
from ULAERegistrationLib.dataset.sources import SOURCES
from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.flows.warp import compose_all, warp
from ULAERegistrationLib.network.weights import load_network
from ULAERegistrationLib.training.losses import multi_window_loss
from ULAERegistrationLib.training.recipe import TrainingSettings
from ULAERegistrationLib.training.ship import ship
from ULAERegistrationLib.training.trainer import Trainer

pytestmark = pytest.mark.slow


def test_training_needs_torch_and_numpy_alone():
    """A lent machine with a GPU has no SimpleITK and no matplotlib, and nothing can be installed there."""
    program = """
import sys
for name in ("SimpleITK", "matplotlib", "tqdm", "vtk", "slicer"):
    sys.modules[name] = None
from ULAERegistrationLib.cli.main import main
from ULAERegistrationLib.training import augmentation, data, extractor, mean, parallel, recipe, trainer
sys.exit(main(["train", "nowhere.npz", "-o", "run"]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "ulae: The packed data nowhere.npz does not exist; make it with `ulae train --pack`.\n"


def test_a_folder_in_place_of_a_pack_is_refused_with_the_command_that_packs_it(tmp_path, capsys):
    assert main(["train", str(tmp_path), "-o", str(tmp_path / "run")]) == 1
    assert f"is a folder; pack its brains first: ulae train --pack {tmp_path} -o brains.npz" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("minutes", ["0", "-0", "-3", "nan"])
def test_a_time_that_is_not_above_0_is_refused(tmp_path, capsys, minutes):
    assert main(["train", "nowhere.npz", "-o", str(tmp_path / "run"), f"--minutes={minutes}"]) == 2
    assert "is no time to train; give a number above 0, or leave it out." in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_training_makes_brains_match_better(tmp_path, brains, still, settings):
    """Begun from the shipped weights, as a network from nothing needs hundreds of steps before it moves anything."""
    settings = replace(
        settings,
        phases=(replace(settings.phases[0], steps=8),),
        augmentation=still,
    )
    trainer = Trainer(tmp_path, brains, settings, start=load_network()[0], log=lambda line: None)
    generator = torch.Generator().manual_seed(5)

    def bumps(channels: int, controls: int) -> torch.Tensor:
        coarse = torch.rand(1, channels, *[controls] * 3, generator=generator)
        return F.interpolate(coarse, size=(32, 32, 32), mode="trilinear", align_corners=True)

    blobs = bumps(1, 11)
    images = torch.cat([warp(blobs, 7 * (bumps(3, 4) - 0.5), "border") for _ in range(3)])

    def similarity() -> float:
        with torch.no_grad():
            flow = compose_all(trainer.network(fixed=images[1:2], moving=images[:1]))
            return -multi_window_loss(images[1:2], warp(images[:1], flow), (5, 3)).item()

    before = similarity()
    for _ in range(8):
        trainer._step(images, settings.phases[0])
        trainer.step += 1
    assert similarity() > before + 0.03


def test_a_run_leaves_weights_that_load_its_curve_and_its_recipe(tmp_path, brains, settings):
    settings = replace(settings, phases=(replace(settings.phases[0], steps=1),))
    train(tmp_path, brains, settings, history=[{"cpu_hours": 7.5, "people": ["nirep-na01"]}])
    network, card = load_network(tmp_path / "weights.safetensors")
    assert card.voxel_mm == 2
    before, run = card.details["runs"]
    assert before == {"cpu_hours": 7.5, "people": ["nirep-na01"]}
    assert "dice_nirep" in run["accuracy"]
    assert TrainingSettings.from_json(json.dumps(run["recipe"])) == settings
    assert not network.training
    (row,) = curve(tmp_path)
    assert row["loss"] < 0
    assert (tmp_path / "curve.png").stat().st_size > 5000
    assert TrainingSettings.from_json((tmp_path / "settings.json").read_text()) == settings
    assert load_network(tmp_path / "last.safetensors")[1].details["runs"] == card.details["runs"]
    with pytest.raises(RegistrationError, match="people of made, whose terms are not known"):
        ship(tmp_path / "weights.safetensors", tmp_path / "shipped.safetensors")
    shipped = ship(tmp_path / "weights.safetensors", tmp_path / "shipped.safetensors", licence="CC0-1.0")
    assert shipped["licence"] == "CC0-1.0"
    assert shipped["training_data"] == "3 people, one T1 scan each: made 1, nirep 2"
    assert shipped["labels"].startswith("No manual label was used")
    assert shipped["citations"] == [*SOURCES["nirep"]]
    assert load_network(tmp_path / "shipped.safetensors")[1].details["accuracy"] == run["accuracy"]
    assert len(shipped["runs"]) == 2
    assert 7.5 <= shipped["cpu_hours"] < 8
