"""ULAE-net as published (Shu et al., MICCAI 2021, figures 1 and 2), for training and as the reference.

The names are the paper's: an uncoupled encoder with a fixed path and a moving path, a decoder, and accumulative steps
that share every weight but those of their flow heads. `fast/network.py` computes the same function faster.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..flows.warp import compose, resize_flow, warp

CHANNELS = (16, 32, 32, 32)
DILATIONS = (4, 3, 2, 1)
GRID_DIVISOR = 16
LEAK = 0.2


class Block(nn.Module):
    """Convolution 3x3x3 without bias, instance normalisation, leaky ReLU."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(F.instance_norm(self.convolution(x)), LEAK)


class UncoupledBlock(nn.Module):
    """One level of the moving path: atrous spatial pyramid pooling with the fixed path's features (figure 2).

    Six branches take the same input, from its global mean to a convolution of dilation 3r. The fixed path's features of
    this level are concatenated to them, and a 1x1x1 convolution mixes the seven.
    """

    def __init__(self, channels_in: int, channels_out: int, dilation: int) -> None:
        super().__init__()

        def branch(kernel: int, dilation: int = 1, stride: int = 2) -> nn.Conv3d:
            return nn.Conv3d(
                channels_in,
                channels_out,
                kernel,
                stride=stride,
                padding=dilation * (kernel // 2),
                dilation=dilation,
            )

        self.mean_branch = branch(1, stride=1)
        self.plain_branch = branch(3)
        self.point_branch = branch(1)
        self.dilated_branches = nn.ModuleList(branch(3, k * dilation) for k in (1, 2, 3))
        self.mix = nn.Conv3d(7 * channels_out, channels_out, 1)

    def forward(self, x: Tensor, fixed_features: Tensor) -> Tensor:
        size = fixed_features.shape[2:]
        mean = self.mean_branch(x.mean((2, 3, 4), keepdim=True)).expand(-1, -1, *size)
        branches = [self.plain_branch(x), self.point_branch(x), *(branch(x) for branch in self.dilated_branches)]
        return F.leaky_relu(self.mix(torch.cat([mean, *branches, fixed_features], 1)), LEAK)


class ULAENet(nn.Module):
    """ULAE-net: from two images it computes one flow per accumulative step.

    Args:
        accumulative: three steps (AWE in Table 2); if false, the finest one alone.
        uncoupled: separate moving and fixed paths (US in Table 2); if false, one plain encoder of both images together.

    With both on it has 789,561 parameters, the paper's 789.56 K (Table 1).
    """

    def __init__(self, accumulative: bool = True, uncoupled: bool = True) -> None:
        super().__init__()
        self.accumulative = accumulative
        self.uncoupled = uncoupled
        c1, c2, c3, c4 = CHANNELS
        if uncoupled:
            inputs = (1, c1, c2, c3)
            self.fixed_path = nn.ModuleList(Block(i, o, stride=2) for i, o in zip(inputs, CHANNELS, strict=True))
            self.moving_path = nn.ModuleList(
                UncoupledBlock(i, o, r) for i, o, r in zip(inputs, CHANNELS, DILATIONS, strict=True)
            )
            self.fusions = nn.ModuleList(Block(2 * c, c) for c in CHANNELS)
        else:
            self.joint_path = nn.ModuleList(
                Block(i, o, stride=2) for i, o in zip((2, c1, c2, c3), CHANNELS, strict=True)
            )
        self.bottom = Block(c4, c4)
        self.ascents = nn.ModuleList([Block(c4 + c3, c3), Block(c3 + c2, c2), Block(c2 + c1, c2)])
        self.smooth = nn.Sequential(Block(c2, c2), Block(c2, c1))
        self.finish = Block(c1 + 2, c1)
        self.flow_heads = nn.ModuleList(_flow_head() for _ in range(3 if accumulative else 1))

    @property
    def decoder_levels(self) -> range:
        """The number of decoder levels that each accumulative step uses: 1, 2, 3, or 3 for the only step."""
        return range(1, 4) if self.accumulative else range(3, 4)

    def forward(self, *, fixed: Tensor, moving: Tensor) -> list[Tensor]:
        """Compute the flows of the accumulative steps.

        Args:
            fixed, moving: `[B, 1, L, P, S]` in [0, 1], on one grid whose sides are multiples of 16, at least 32.

        Returns:
            phi1, phi2, phi3 of equation 2 (one flow without `accumulative`), each `[B, 3, L, P, S]` in voxels of the
            full grid; `compose_all` composes them.

        Raises:
            ValueError: for another grid, or images of different size.
        """
        check_grid(fixed, moving)
        size = moving.shape[2:]
        fixed_features = self.encode_fixed(fixed) if self.uncoupled else None
        flows: list[Tensor] = []
        total = None
        for head, levels in zip(self.flow_heads, self.decoder_levels, strict=True):
            warped = moving if total is None else warp(moving, total)
            flow = resize_flow(self.step(fixed, warped, fixed_features, levels, head), size)
            flows.append(flow)
            if len(flows) < len(self.flow_heads):
                total = flow if total is None else compose(total, flow)
        return flows

    def encode_fixed(self, fixed: Tensor) -> list[Tensor]:
        """Compute f1..f4, the fixed path's features at 1/2 to 1/16 of the grid."""
        features = [fixed]
        for block in self.fixed_path:
            features.append(block(features[-1]))
        return features[1:]

    def encode(
        self, fixed: Tensor, moving: Tensor, fixed_features: Sequence[Tensor] | None, levels: int
    ) -> list[Tensor]:
        """Compute the encoder's features e1..e4 that `levels` decoder levels read.

        With the uncoupled encoder, features that they do not read are empty tensors.
        """
        needed = 4 - levels
        features: list[Tensor] = []
        if fixed_features is None:
            x = torch.cat([moving, fixed], 1)
            for block in self.joint_path:
                x = block(x)
                features.append(x)
            return features
        x = moving
        for level, (block, fusion, f) in enumerate(
            zip(self.moving_path, self.fusions, fixed_features, strict=True), start=1
        ):
            x = block(x, f)
            features.append(fusion(torch.cat([x, f], 1)) if level >= needed else x.new_empty(0))
        return features

    def step(
        self, fixed: Tensor, moving: Tensor, fixed_features: Sequence[Tensor] | None, levels: int, head: nn.Module
    ) -> Tensor:
        """Compute the flow of one accumulative step on its own grid, in voxels of that grid.

        The grid is 1/4, 1/2 or the whole of the images' for 1, 2 or 3 decoder levels.
        """
        features = self.encode(fixed, moving, fixed_features, levels)
        x = self.bottom(features[3])
        for level in range(levels):
            x = self.ascents[level](torch.cat([upsample(x), features[2 - level]], 1))
        x = upsample(self.smooth(x))
        pool = 2 ** (3 - levels)
        images = F.avg_pool3d(torch.cat([moving, fixed], 1), pool) if pool > 1 else torch.cat([moving, fixed], 1)
        x = self.finish(torch.cat([x, images], 1))
        # Flows are float32 under mixed precision too: bfloat16 resolves only 1/32 voxel at 4 voxels and more.
        with torch.autocast(x.device.type, enabled=False):
            return head(x.float())


def _flow_head() -> nn.Conv3d:
    """Create a flow head, initialised so that its flows are almost zero."""
    head = nn.Conv3d(CHANNELS[0], 3, 3, padding=1)
    nn.init.normal_(head.weight, std=1e-5)
    assert head.bias is not None
    nn.init.zeros_(head.bias)
    return head


def upsample(x: Tensor) -> Tensor:
    """Double the grid by trilinear interpolation, with `align_corners=True`."""
    with torch.autocast(x.device.type, enabled=False):
        return F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=True)


def check_grid(fixed: Tensor, moving: Tensor) -> None:
    """Check that two images have a size that the network can take.

    Raises:
        ValueError: where they differ in size, are not `[B, 1, L, P, S]`, or have sides that are not multiples of 16 of
            at least 32.
    """
    if fixed.shape != moving.shape or fixed.ndim != 5 or fixed.shape[1] != 1:
        raise ValueError(
            f"expected two [B, 1, L, P, S] images of one size, got {list(fixed.shape)}, {list(moving.shape)}"
        )
    if any(side % GRID_DIVISOR or side < 2 * GRID_DIVISOR for side in fixed.shape[2:]):
        raise ValueError(
            f"the grid's sides must be multiples of {GRID_DIVISOR}, at least 32, got {list(fixed.shape[2:])}"
        )
