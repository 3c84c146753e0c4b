"""Weights come back as they were written; anything else is refused in one sentence, and nothing is unpickled."""

from __future__ import annotations

import json
import pickle

import pytest
import torch
from safetensors.torch import save_file

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.network.ulaenet import ULAENet
from ULAERegistrationLib.network.weights import SHIPPED, load_network, save_network


@pytest.fixture
def file(tmp_path):
    torch.manual_seed(1)
    path = tmp_path / "net.safetensors"
    save_network(ULAENet(), path, {"voxel_mm": 2, "licence": "CC0-1.0"})
    return path


def refuse(path, words):
    with pytest.raises(RegistrationError, match=words) as caught:
        load_network(path)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_weights_come_back_with_their_card(file):
    network, card = load_network(file)
    torch.manual_seed(1)
    for name, value in ULAENet().state_dict().items():
        assert torch.equal(network.state_dict()[name], value)
    assert (card.name, card.voxel_mm, card.licence) == ("net", 2, "CC0-1.0")
    assert not network.training


def test_nothing_half_written_stays_beside_the_weights(file):
    assert sorted(p.name for p in file.parent.iterdir()) == ["net.json", "net.safetensors"]


def test_the_shipped_weights_load_and_say_what_they_are():
    network, card = load_network()
    assert sum(p.numel() for p in network.parameters()) == 789_561
    assert card.licence.startswith("CC BY-NC 4.0")
    assert {"training_data", "accuracy", "runs", "limits", "sha256"} <= card.details.keys()
    assert SHIPPED.stat().st_size < 3.5e6


def test_a_missing_file_is_refused(tmp_path):
    refuse(tmp_path / "none.safetensors", "does not exist")


def test_a_truncated_file_is_refused(file):
    file.write_bytes(file.read_bytes()[:5000])
    refuse(file, "differs from its card")
    file.with_suffix(".json").unlink()
    refuse(file, "damaged")


def test_a_changed_file_is_refused(file):
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    refuse(file, "differs from its card")


def test_another_network_is_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"layer.weight": torch.zeros(3, 3)}, str(path))
    refuse(path, "another network")


def test_an_ablation_is_refused(tmp_path):
    path = tmp_path / "plain.safetensors"
    save_network(ULAENet(uncoupled=False), path, {})
    refuse(path, "another network")


def test_weights_that_are_not_numbers_are_refused(tmp_path):
    network = ULAENet()
    with torch.no_grad():
        network.bottom.convolution.weight[0] = float("nan")
    path = tmp_path / "nan.safetensors"
    save_network(network, path, {})
    refuse(path, "not numbers")


def test_a_pickle_is_never_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was opened",))

    for name in ("trap.pth", "trap.safetensors"):
        (tmp_path / name).write_bytes(pickle.dumps(Trap()))
    refuse(tmp_path / "trap.pth", "other formats are not read")
    refuse(tmp_path / "trap.safetensors", "damaged")


@pytest.mark.parametrize("voxel_mm", [0, 3, "two", None])
def test_a_card_with_voxels_that_do_not_divide_the_grid_is_refused(file, voxel_mm):
    file.with_suffix(".json").write_text(json.dumps({"voxel_mm": voxel_mm}))
    refuse(file, "weights are for 1, 2 or 4 mm")


@pytest.mark.parametrize("card", ["{", json.dumps([1]), json.dumps({"architecture": "VoxelMorph"})])
def test_a_card_of_something_else_is_refused(file, card):
    file.with_suffix(".json").write_text(card)
    refuse(file, "card")
