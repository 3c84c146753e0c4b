"""The network is the paper's: its size, its grids, its steps and its ablations."""

from __future__ import annotations

import pytest
import torch

from ULAERegistrationLib.flows.warp import compose_all, warp
from ULAERegistrationLib.network.ulaenet import ULAENet


@pytest.fixture
def network() -> ULAENet:
    """With flow heads that speak, so that the steps differ from no motion."""
    torch.manual_seed(3)
    network = ULAENet().eval()
    with torch.no_grad():
        for head in network.flow_heads:
            head.weight.normal_(std=0.05)
    return network


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(4)
    return torch.rand(1, 1, 32, 48, 32), torch.rand(1, 1, 32, 48, 32)


def test_it_has_the_papers_number_of_parameters():
    assert sum(p.numel() for p in ULAENet().parameters()) == 789_561


def test_before_training_it_hardly_moves_anything(pair):
    flows = ULAENet()(fixed=pair[0], moving=pair[1])
    assert all(flow.abs().max() < 0.01 for flow in flows)


def test_it_gives_three_flows_on_the_full_grid(network, pair):
    flows = network(fixed=pair[0], moving=pair[1])
    assert [flow.shape for flow in flows] == [(1, 3, 32, 48, 32)] * 3
    assert all(flow.abs().max() > 0.1 for flow in flows)


def test_the_first_flow_lives_on_a_quarter_of_the_grid_and_the_last_on_all_of_it(network, pair):
    fixed, moving = pair
    features = network.encode_fixed(fixed)
    for levels, divisor in ((1, 4), (2, 2), (3, 1)):
        flow = network.step(fixed, moving, features, levels, network.flow_heads[levels - 1])
        assert flow.shape[2:] == (32 // divisor, 48 // divisor, 32 // divisor)


def test_the_second_step_sees_the_image_the_first_has_warped(network, pair):
    fixed, moving = pair
    first, second, _ = network(fixed=fixed, moving=moving)
    features = network.encode_fixed(fixed)
    coarse = network.step(fixed, warp(moving, first), features, 2, network.flow_heads[1])
    torch.testing.assert_close(second[..., 0, 0, 0], 2 * coarse[..., 0, 0, 0])


def test_every_weight_is_trained_by_the_final_flow_alone(network, pair):
    compose_all(network.train()(fixed=pair[0], moving=pair[1])).square().mean().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    # A constant before an instance normalisation is taken out again; the uncoupled block has none behind it.
    assert silent == []


def test_the_steps_share_every_weight_but_the_head():
    names = {name.split(".")[0] for name, _ in ULAENet().named_parameters()}
    assert names == {
        "fixed_path",
        "moving_path",
        "fusions",
        "bottom",
        "ascents",
        "smooth",
        "finish",
        "flow_heads",
    }


@pytest.mark.parametrize(("accumulative", "uncoupled"), [(False, False), (True, False), (False, True)])
def test_the_ablations_of_table_2_run(accumulative, uncoupled, pair):
    network = ULAENet(accumulative, uncoupled)
    flows = network(fixed=pair[0], moving=pair[1])
    assert len(flows) == (3 if accumulative else 1)
    assert flows[-1].shape == (1, 3, 32, 48, 32)
    assert sum(p.numel() for p in network.parameters()) < 789_561


def test_a_batch_is_its_pairs_one_by_one(network, pair):
    fixed, moving = pair
    batch = network(fixed=torch.cat([fixed, moving]), moving=torch.cat([moving, fixed]))
    single = network(fixed=moving, moving=fixed)
    torch.testing.assert_close(batch[2][1:], single[2], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("size", [(33, 48, 32), (16, 32, 32)])
def test_a_grid_that_cannot_be_halved_four_times_is_refused(size):
    image = torch.rand(1, 1, *size)
    with pytest.raises(ValueError, match="multiples of 16"):
        ULAENet()(fixed=image, moving=image)


def test_images_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match="one size"):
        ULAENet()(fixed=torch.rand(1, 1, 32, 32, 32), moving=torch.rand(1, 1, 32, 32, 48))


def test_strides_dilations_and_the_order_of_the_layers_are_the_papers():
    """A silent change of one of them would load the same weights and give other flows."""
    layers = [
        (name, tuple(module.weight.shape[:2]), module.kernel_size[0], module.stride[0], module.dilation[0])
        for name, module in ULAENet().named_modules()
        if isinstance(module, torch.nn.Conv3d)
    ]
    fixed = [
        (f"fixed_path.{i}.convolution", size, 3, 2, 1) for i, size in enumerate([(16, 1), (32, 16), (32, 32), (32, 32)])
    ]
    assert [layer for layer in layers if layer[0].startswith("fixed_path")] == fixed
    for level, (rate, size) in enumerate(zip((4, 3, 2, 1), ((16, 1), (32, 16), (32, 32), (32, 32)), strict=True)):
        moving = [layer[1:] for layer in layers if layer[0].startswith(f"moving_path.{level}.")]
        dilated = [(size, 3, 2, k * rate) for k in (1, 2, 3)]
        assert moving == [
            (size, 1, 1, 1),
            (size, 3, 2, 1),
            (size, 1, 2, 1),
            *dilated,
            ((size[0], 7 * size[0]), 1, 1, 1),
        ]
    ascents = [layer[1:] for layer in layers if layer[0].startswith("ascents")]
    assert ascents == [((32, 64), 3, 1, 1), ((32, 64), 3, 1, 1), ((32, 48), 3, 1, 1)]
    rest = [layer[1] for layer in layers if layer[0].split(".")[0] in ("bottom", "smooth", "finish", "flow_heads")]
    assert rest == [(32, 32), (32, 32), (16, 32), (16, 18), (3, 16), (3, 16), (3, 16)]


@torch.no_grad()
def test_known_weights_and_images_give_the_flows_they_always_gave():
    """Strides, padding, slope, normalisation, order of concatenation and upsampling all show in these numbers."""
    network = ULAENet().eval()
    for index, parameter in enumerate(network.parameters()):
        values = torch.sin(torch.arange(parameter.numel(), dtype=torch.float64) * 0.37 + index)
        scale = 0.5 / max(parameter[0].numel(), 1) ** 0.5 if parameter.ndim > 1 else 0.1
        parameter.copy_((scale * values).view_as(parameter))
    voxels = torch.arange(32 * 48 * 32, dtype=torch.float64).view(1, 1, 32, 48, 32)
    fixed, moving = (0.5 + 0.5 * torch.sin(voxels * rate) for rate in (0.0131, 0.0173))
    flows = network(fixed=fixed.float(), moving=moving.float())
    found = torch.stack([flow[0, :, 11, 23, 17] for flow in flows])
    torch.testing.assert_close(found, GOLDEN_FLOWS, atol=2e-3, rtol=2e-3)


GOLDEN_FLOWS = torch.tensor(
    [
        [0.6235, -0.2435, -0.3399],
        [-0.3018, 0.1155, -0.5500],
        [0.3362, -0.1854, 0.3152],
    ]
)
