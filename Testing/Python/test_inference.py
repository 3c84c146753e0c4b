"""The fast path computes the plain network's flows, on whatever there is to compute on."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch
import torch.nn.functional as F

from ULAERegistrationLib.errors import Cancelled, RegistrationError
from ULAERegistrationLib.flows.warp import compose_all
from ULAERegistrationLib.network import devices, predict
from ULAERegistrationLib.network.devices import choose_device, choose_precision
from ULAERegistrationLib.network.fast.network import FastULAENet
from ULAERegistrationLib.network.fast.slabs import joined, stored
from ULAERegistrationLib.network.predict import FixedCache, predict_flows
from ULAERegistrationLib.network.ulaenet import ULAENet
from ULAERegistrationLib.network.weights import SHIPPED, load_network

SIZE = (48, 64, 32)


def network_with_large_flows(**variant: bool) -> ULAENet:
    """An untrained network whose flows are of several voxels, and whose biases all count."""
    torch.manual_seed(1)
    network = ULAENet(**variant).eval()
    with torch.no_grad():
        for head in network.flow_heads:
            head.weight.normal_(std=0.05)
            head.bias.normal_(std=0.2)
    return network


def pair(size: tuple[int, int, int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Two smooth images with empty borders, as brains have."""
    generator = torch.Generator().manual_seed(seed)
    coarse = F.pad(torch.rand(2, 1, 6, 6, 6, generator=generator), (1,) * 6)
    return F.interpolate(coarse, size=size, mode="trilinear", align_corners=True).split(1)


@pytest.fixture(scope="module")
def network() -> ULAENet:
    return network_with_large_flows()


@torch.no_grad()
def plain_flows(network: ULAENet, moving: torch.Tensor, fixed: torch.Tensor) -> list[torch.Tensor]:
    return network(moving, fixed)


def largest_difference(found: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    assert len(found) == len(expected)
    return max((a - b).abs().max().item() for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("size", [(32, 32, 32), (48, 64, 32), (32, 48, 80), (80, 96, 80)])
def test_float32_flows_equal_the_plain_network(network, size):
    moving, fixed = pair(size)
    expected = plain_flows(network, moving, fixed)
    found = predict_flows(network, moving, fixed, "cpu", "float32")
    assert min(flow.abs().max() for flow in expected) > 1
    assert largest_difference(found, expected) < 1e-3
    assert all(flow.dtype == torch.float32 and flow.shape == (1, 3, *size) for flow in found)


@pytest.mark.parametrize("content", ["one voxel", "nothing", "everything"])
def test_how_much_of_the_moving_image_is_empty_does_not_show(network, content):
    moving, fixed = pair(SIZE)
    if content == "everything":
        moving = moving + 0.1
    else:
        moving = torch.zeros_like(moving)
        moving[..., 20, 9, 30] = content == "one voxel"
    expected = plain_flows(network, moving, fixed)
    assert largest_difference(predict_flows(network, moving, fixed, "cpu", "float32"), expected) < 1e-3


def test_slabs_do_not_show_in_the_flows(network, monkeypatch):
    moving, fixed = pair(SIZE)
    expected = plain_flows(network, moving, fixed)
    monkeypatch.setattr("ULAERegistrationLib.network.fast.slabs.SLAB_BYTES", 1)
    assert largest_difference(predict_flows(network, moving, fixed, "cpu", "float32"), expected) < 1e-3


def test_bfloat16_convolutions_leave_the_flows_float32_and_near(network):
    moving, fixed = pair((32, 32, 32))
    expected = compose_all(plain_flows(network, moving, fixed))
    found = compose_all(predict_flows(network, moving, fixed, "cpu", "bfloat16"))
    # Untrained heads amplify rounding ten times more than trained ones.
    assert 0 < (found - expected).abs().mean() < 0.1 * expected.abs().mean()
    assert found.dtype == torch.float32


@pytest.mark.skipif(not SHIPPED.is_file(), reason="no weights are shipped yet")
def test_bfloat16_keeps_a_trained_network_within_the_promised_tolerance(data_folder):
    trained, _ = load_network()
    paths = (data_folder / "brains" / f"nirep-{person}_t1.nii.gz" for person in ("na16", "na04"))
    arrays = (sitk.GetArrayFromImage(sitk.ReadImage(path)).T.astype(np.float32) / 255 for path in paths)
    moving, fixed = (F.avg_pool3d(torch.from_numpy(array)[None, None], 2) for array in arrays)
    exact, rounded = (compose_all(predict_flows(trained, moving, fixed, "cpu", p)) for p in ("float32", "bfloat16"))
    difference = (rounded - exact).abs()
    assert difference.mean() <= 0.02
    assert (difference <= 0.2).float().mean() >= 0.999


def test_joined_features_come_in_the_layout_that_convolutions_read():
    features = torch.rand(1, 16, 4, 6, 8).contiguous(memory_format=torch.channels_last_3d)
    images = [torch.rand(1, 1, 4, 6, 8) for _ in range(2)]
    planes = joined(*map(stored, (features, *images))).rows(1, 3)
    assert planes.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(planes, torch.cat([features, *images], 1)[:, :, 1:3])


def test_arrays_and_tensors_give_the_same(network):
    moving, fixed = pair((32, 32, 32))
    arrays = (image[0, 0].numpy() for image in (moving, fixed))
    found = predict_flows(network, *arrays, "cpu", "float32")
    assert largest_difference(found, predict_flows(network, moving, fixed, "cpu", "float32")) == 0


def test_flows_can_be_refined_with_gradients(network):
    moving, fixed = pair((32, 32, 32))
    flow = predict_flows(network, moving, fixed, "cpu", "float32")[0].requires_grad_()
    (flow**2).sum().backward()
    assert flow.grad is not None


def test_a_kept_fixed_image_changes_nothing(network, monkeypatch):
    (first, fixed), (second, other) = pair(SIZE), pair(SIZE, seed=5)
    prepared = []
    prepare = FastULAENet.prepare
    monkeypatch.setattr(FastULAENet, "prepare", lambda self, image: prepared.append(1) or prepare(self, image))
    cache = FixedCache()
    for moving, target in ((first, fixed), (second, fixed.clone()), (first, other)):
        alone = predict_flows(network, moving, target, "cpu", "float32")
        kept = predict_flows(network, moving, target, "cpu", "float32", fixed_cache=cache)
        assert largest_difference(kept, alone) == 0
    # Three without the cache; with it, once for each fixed image.
    assert len(prepared) == 3 + 2


def test_a_cache_follows_the_network(network):
    moving, fixed = pair((32, 32, 32))
    cache = FixedCache()
    predict_flows(network, moving, fixed, "cpu", "float32", fixed_cache=cache)
    other = network_with_large_flows()
    with torch.no_grad():
        other.bottom.convolution.weight.mul_(-1)
    found = predict_flows(other, moving, fixed, "cpu", "float32", fixed_cache=cache)
    assert largest_difference(found, plain_flows(other, moving, fixed)) < 1e-3


@pytest.mark.parametrize(
    "variant", [{"accumulative": False}, {"uncoupled": False}, {"accumulative": False, "uncoupled": False}]
)
def test_the_variants_of_table_2_run_too(variant):
    network = network_with_large_flows(**variant)
    moving, fixed = pair((32, 48, 32))
    found = predict_flows(network, moving, fixed, "cpu", "float32")
    assert largest_difference(found, plain_flows(network, moving, fixed)) < 1e-3


def test_every_step_is_told_and_can_be_cancelled(network):
    moving, fixed = pair((32, 32, 32))
    told = []
    predict_flows(network, moving, fixed, "cpu", "float32", lambda *news: told.append(news))
    fractions = [fraction for fraction, _ in told]
    assert [message for _, message in told[:3]] == [f"Network, step {n} of 3" for n in (1, 2, 3)]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0, 1)

    def cancel(fraction: float, message: str) -> None:
        if "step 2" in message:
            raise Cancelled

    with pytest.raises(Cancelled):
        predict_flows(network, moving, fixed, "cpu", "float32", cancel)


def test_grids_the_network_cannot_take_are_refused(network):
    with pytest.raises(ValueError, match="multiples of 16"):
        predict_flows(network, *torch.zeros(2, 40, 48, 40), "cpu")
    with pytest.raises(ValueError, match="one size"):
        predict_flows(network, torch.zeros(32, 32, 32), torch.zeros(48, 32, 32), "cpu")
    with pytest.raises(ValueError, match="batch of 2"):
        predict_flows(network, *torch.zeros(2, 2, 1, 32, 32, 32), "cpu")


def test_what_this_machine_lacks_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    with pytest.raises(RegistrationError, match="no cuda device"):
        choose_device("cuda")
    with pytest.raises(RegistrationError, match="not known"):
        choose_device("tpu")
    with pytest.raises(RegistrationError, match="for GPUs"):
        choose_precision(torch.device("cpu"), "float16")
    with pytest.raises(RegistrationError, match="not known"):
        choose_precision(torch.device("cpu"), "int8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto").type == "cuda"


@pytest.mark.parametrize("release", ["2.9.0", "2.9.1+cu128"])
def test_torch_releases_with_wrong_cuda_convolutions_stay_in_float32(monkeypatch, release):
    monkeypatch.setattr(torch, "__version__", release)
    monkeypatch.setattr(devices, "_trusted", lambda device, dtype: True)
    cuda = torch.device("cuda")
    assert choose_precision(cuda) == torch.float32
    with pytest.raises(RegistrationError, match="convolves wrongly"):
        choose_precision(cuda, "float16")
    monkeypatch.setattr(torch, "__version__", "2.10.0")
    assert choose_precision(cuda) == torch.float16


@pytest.mark.parametrize("spoil", [float("nan"), 1.1])
def test_half_precision_that_differs_is_dropped(monkeypatch, spoil):
    convolve = devices._convolve

    def spoiled(x, weight, options, device="cpu", dtype=torch.float32):
        y, seconds = convolve(x, weight, options)
        return (y, seconds) if dtype == torch.float32 else (y * spoil, seconds / 2)

    monkeypatch.setattr(devices, "_convolve", spoiled)
    devices._trusted.cache_clear()
    try:
        assert choose_precision(torch.device("cpu")) == torch.float32
    finally:
        devices._trusted.cache_clear()


def test_a_full_gpu_falls_back_to_half_precision_and_then_to_the_cpu(network, monkeypatch):
    moving, fixed = pair((32, 32, 32))
    attempts = []

    class FullGPU(FastULAENet):
        def __init__(self, network, device, dtype):
            attempts.append((device.type, dtype))
            if device.type == "cuda":
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 300 MiB")
            super().__init__(network, device, dtype)

    monkeypatch.setattr(predict, "FastULAENet", FullGPU)
    monkeypatch.setattr(predict, "choose_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(devices, "_trusted", lambda device, dtype: device.type == "cuda")
    told = []
    with pytest.warns(RuntimeWarning, match="out of memory"):
        found = predict_flows(network, moving, fixed, "cuda", "float32", lambda _, message: told.append(message))
    assert attempts == [("cuda", torch.float32), ("cuda", torch.float16), ("cpu", torch.float32)]
    assert "in half precision" in told[0]
    assert "on the CPU" in told[1]
    assert largest_difference(found, plain_flows(network, moving, fixed)) < 1e-3


@pytest.mark.parametrize("allocate", [torch.empty, np.empty])
def test_a_full_cpu_is_said_in_one_sentence(network, monkeypatch, allocate):
    monkeypatch.setattr(FastULAENet, "prepare", lambda *_: allocate(2**58))
    with pytest.raises(RegistrationError, match="not enough memory") as caught:
        predict_flows(network, *pair((32, 32, 32)), "cpu", "float32")
    assert "\n" not in str(caught.value)


def test_errors_that_are_not_memory_are_not_hidden(network, monkeypatch):
    def fail(*_):
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(FastULAENet, "flows", fail)
    with pytest.raises(RuntimeError, match="mistake"):
        predict_flows(network, *pair((32, 32, 32)), "cpu", "float32")


def test_numbers_too_large_for_half_precision_are_computed_in_float32(network, monkeypatch):
    moving, fixed = pair((32, 32, 32))
    flows = FastULAENet.flows

    def overflowing(self, *arguments):
        found = flows(self, *arguments)
        return found if self.dtype == torch.float32 else [flow * float("inf") for flow in found]

    monkeypatch.setattr(FastULAENet, "flows", overflowing)
    with pytest.warns(RuntimeWarning, match="float32"):
        found = predict_flows(network, moving, fixed, "cpu", "bfloat16")
    assert largest_difference(found, plain_flows(network, moving, fixed)) < 1e-3
