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
from ULAERegistrationLib.network.predict import predict_flows
from ULAERegistrationLib.network.ulaenet import ULAENet
from ULAERegistrationLib.network.weights import load_network

SIZE = (48, 64, 32)
needs_bfloat16 = pytest.mark.skipif(
    not devices._trusted(torch.device("cpu"), torch.bfloat16), reason="this processor cannot convolve in bfloat16"
)


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


def flows_of(network: ULAENet, **how) -> list[torch.Tensor]:
    return predict_flows(network, **how).flows


@torch.no_grad()
def plain_flows(network: ULAENet, fixed: torch.Tensor, moving: torch.Tensor) -> list[torch.Tensor]:
    return network(fixed=fixed, moving=moving)


def largest_difference(found: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    assert len(found) == len(expected)
    return max((a - b).abs().max().item() for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("size", [(32, 32, 32), (48, 64, 32), (32, 48, 80), (80, 96, 80)])
def test_float32_flows_equal_the_plain_network(network, size):
    fixed, moving = pair(size)
    expected = plain_flows(network, fixed, moving)
    found = flows_of(network, fixed=fixed, moving=moving, device="cpu", precision="float32")
    assert min(flow.abs().max() for flow in expected) > 1
    assert largest_difference(found, expected) < 1e-3
    assert all(flow.dtype == torch.float32 and flow.shape == (1, 3, *size) for flow in found)


@pytest.mark.parametrize("content", ["one voxel", "nothing", "everything"])
def test_how_much_of_the_moving_image_is_empty_does_not_show(network, content):
    fixed, moving = pair(SIZE)
    if content == "everything":
        moving = moving + 0.1
    else:
        moving = torch.zeros_like(moving)
        moving[..., 20, 9, 30] = content == "one voxel"
    expected = plain_flows(network, fixed, moving)
    assert (
        largest_difference(flows_of(network, fixed=fixed, moving=moving, device="cpu", precision="float32"), expected)
        < 1e-3
    )


def test_slabs_do_not_show_in_the_flows(network, monkeypatch):
    fixed, moving = pair(SIZE)
    expected = plain_flows(network, fixed, moving)
    monkeypatch.setattr("ULAERegistrationLib.network.fast.slabs.SLAB_BYTES", 1)
    assert (
        largest_difference(flows_of(network, fixed=fixed, moving=moving, device="cpu", precision="float32"), expected)
        < 1e-3
    )


@needs_bfloat16
def test_bfloat16_convolutions_leave_the_flows_float32_and_near(network):
    fixed, moving = pair((32, 32, 32))
    expected = compose_all(plain_flows(network, fixed, moving))
    found = compose_all(flows_of(network, fixed=fixed, moving=moving, device="cpu", precision="bfloat16"))
    # Untrained heads amplify rounding ten times more than trained ones.
    assert 0 < (found - expected).abs().mean() < 0.1 * expected.abs().mean()
    assert found.dtype == torch.float32


@needs_bfloat16
def test_bfloat16_keeps_a_trained_network_within_the_promised_tolerance(data_folder):
    trained, _ = load_network()
    paths = (data_folder / "brains" / f"nirep-{person}_t1.nii.gz" for person in ("na04", "na16"))
    arrays = (sitk.GetArrayFromImage(sitk.ReadImage(path)).T.astype(np.float32) / 255 for path in paths)
    fixed, moving = (F.avg_pool3d(torch.from_numpy(array)[None, None], 2) for array in arrays)
    exact, rounded = (
        compose_all(flows_of(trained, fixed=fixed, moving=moving, device="cpu", precision=p))
        for p in ("float32", "bfloat16")
    )
    difference = (rounded - exact).abs()
    assert difference.mean() <= 0.02
    assert (difference <= 0.2).float().mean() >= 0.999


def test_joined_features_come_in_the_layout_that_convolutions_read():
    features = torch.rand(1, 16, 4, 6, 8).contiguous(memory_format=torch.channels_last_3d)
    images = [torch.rand(1, 1, 4, 6, 8) for _ in range(2)]
    planes = joined(*map(stored, (features, *images))).planes(1, 3)
    assert planes.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(planes, torch.cat([features, *images], 1)[:, :, 1:3])


def test_it_is_said_where_and_in_which_precision_the_network_ran(network):
    fixed, moving = pair((32, 32, 32))
    prediction = predict_flows(network, fixed=fixed, moving=moving, device="cpu", precision="float32")
    assert (prediction.device, prediction.precision) == ("cpu", "float32")


def test_flows_can_be_refined_with_gradients(network):
    fixed, moving = pair((32, 32, 32))
    flow = flows_of(network, fixed=fixed, moving=moving, device="cpu", precision="float32")[0].requires_grad_()
    (flow**2).sum().backward()
    assert flow.grad is not None


@pytest.mark.parametrize(
    "variant", [{"accumulative": False}, {"uncoupled": False}, {"accumulative": False, "uncoupled": False}]
)
def test_the_variants_of_table_2_run_too(variant):
    network = network_with_large_flows(**variant)
    fixed, moving = pair((32, 48, 32))
    found = flows_of(network, fixed=fixed, moving=moving, device="cpu", precision="float32")
    assert largest_difference(found, plain_flows(network, fixed, moving)) < 1e-3


def test_every_step_is_told_and_can_be_cancelled(network):
    fixed, moving = pair((32, 32, 32))
    told = []
    predict_flows(
        network, fixed=fixed, moving=moving, device="cpu", precision="float32", progress=lambda *news: told.append(news)
    )
    fractions = [fraction for fraction, _ in told]
    assert [message for _, message in told[:3]] == [f"Network, step {n} of 3" for n in (1, 2, 3)]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0, 1)

    def cancel(fraction: float, message: str) -> None:
        if "step 2" in message:
            raise Cancelled

    with pytest.raises(Cancelled):
        flows_of(network, fixed=fixed, moving=moving, device="cpu", precision="float32", progress=cancel)


def test_grids_the_network_cannot_take_are_refused(network):
    with pytest.raises(ValueError, match="multiples of 16"):
        flows_of(network, fixed=torch.zeros(1, 1, 40, 48, 40), moving=torch.zeros(1, 1, 40, 48, 40))
    with pytest.raises(ValueError, match="one size"):
        flows_of(network, fixed=torch.zeros(1, 1, 32, 32, 32), moving=torch.zeros(1, 1, 48, 32, 32))
    with pytest.raises(ValueError, match="batch of 2"):
        flows_of(network, fixed=torch.zeros(2, 1, 32, 32, 32), moving=torch.zeros(2, 1, 32, 32, 32))


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


def test_the_choice_of_precision_is_the_machines_and_no_stopwatchs(monkeypatch):
    monkeypatch.setattr(devices, "_trusted", lambda device, dtype: True)
    monkeypatch.setattr(devices, "_has_bfloat16_units", lambda: True)
    assert choose_precision(torch.device("cpu")) == torch.bfloat16
    monkeypatch.setattr(devices, "_has_bfloat16_units", lambda: False)
    assert choose_precision(torch.device("cpu")) == torch.float32


@pytest.mark.parametrize("spoil", [float("nan"), 1.1])
def test_half_precision_that_differs_is_dropped(monkeypatch, spoil):
    convolve = devices._convolve

    def spoiled(x, weight, options, device="cpu", dtype=torch.float32):
        y = convolve(x, weight, options)
        return y if dtype == torch.float32 else y * spoil

    monkeypatch.setattr(devices, "_convolve", spoiled)
    monkeypatch.setattr(devices, "_has_bfloat16_units", lambda: True)
    devices._trusted.cache_clear()
    try:
        assert choose_precision(torch.device("cpu")) == torch.float32
        with pytest.raises(RegistrationError, match="cannot convolve in bfloat16"):
            choose_precision(torch.device("cpu"), "bfloat16")
    finally:
        devices._trusted.cache_clear()


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 300 MiB"),
        RuntimeError("CUDA error: no kernel image is available for execution on the device"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        MemoryError(),
    ],
    ids=["full", "too old for torch", "held by another program", "without a word"],
)
def test_a_gpu_that_fails_leads_to_half_precision_and_then_to_the_cpu(network, monkeypatch, error):
    fixed, moving = pair((32, 32, 32))
    attempts = []

    class FullGPU(FastULAENet):
        def __init__(self, network, device, dtype):
            attempts.append((device.type, dtype))
            if device.type == "cuda":
                raise error
            super().__init__(network, device, dtype)

    monkeypatch.setattr(predict, "FastULAENet", FullGPU)
    monkeypatch.setattr(predict, "choose_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(devices, "_trusted", lambda device, dtype: device.type == "cuda")
    told = []
    with pytest.warns(RuntimeWarning, match="out of memory"):
        found = flows_of(
            network,
            fixed=fixed,
            moving=moving,
            device="cuda",
            precision="float32",
            progress=lambda _, message: told.append(message),
        )
    assert attempts == [("cuda", torch.float32), ("cuda", torch.float16), ("cpu", torch.float32)]
    assert "in half precision" in told[0]
    assert "on the CPU" in told[1]
    assert largest_difference(found, plain_flows(network, fixed, moving)) < 1e-3


@pytest.mark.parametrize("allocate", [torch.empty, np.empty])
def test_a_full_cpu_is_said_in_one_sentence(network, monkeypatch, allocate):
    fixed, moving = pair((32, 32, 32))
    monkeypatch.setattr(FastULAENet, "prepare", lambda *_: allocate(2**58))
    with pytest.raises(RegistrationError, match="not enough memory") as caught:
        flows_of(network, fixed=fixed, moving=moving, device="cpu", precision="float32")
    assert "\n" not in str(caught.value)


def test_errors_that_are_not_memory_are_not_hidden(network, monkeypatch):
    fixed, moving = pair((32, 32, 32))

    def fail(*_, **__):
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(FastULAENet, "flows", fail)
    with pytest.raises(RuntimeError, match="mistake"):
        flows_of(network, fixed=fixed, moving=moving, device="cpu", precision="float32")


def test_numbers_too_large_for_half_precision_are_computed_in_float32(network, monkeypatch):
    fixed, moving = pair((32, 32, 32))

    class Overflowing(FastULAENet):
        """Computes in float32 on every machine, and gives infinity where half precision was asked for."""

        def __init__(self, network, device, dtype):
            super().__init__(network, device, torch.float32)
            self.overflows = dtype != torch.float32

        def flows(self, **arguments):
            found = super().flows(**arguments)
            return [flow * float("inf") for flow in found] if self.overflows else found

    monkeypatch.setattr(predict, "FastULAENet", Overflowing)
    monkeypatch.setattr(predict, "choose_precision", lambda device, name: torch.bfloat16)
    with pytest.warns(RuntimeWarning, match="float32"):
        found = flows_of(network, fixed=fixed, moving=moving, device="cpu")
    assert largest_difference(found, plain_flows(network, fixed, moving)) < 1e-3


@pytest.mark.parametrize("operator", ["mkldnn_convolution", "batch_norm_update_stats"])
def test_an_operator_that_torch_does_not_document_may_be_missing(network, monkeypatch, operator):
    fixed, moving = pair((32, 32, 32))
    monkeypatch.delattr(torch, operator)
    found = flows_of(network, fixed=fixed, moving=moving, device="cpu", precision="float32")
    assert largest_difference(found, plain_flows(network, fixed, moving)) < 1e-3
