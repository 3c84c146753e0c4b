"""ULAE-net's three flows computed fast: the function of `ulaenet.py`, its linear parts fused, nothing done twice.

- The fixed image's path, and the fixed half of everything it is mixed with, are computed once for all steps.
- The uncoupled block's branches are linear up to one leaky ReLU, so mixing them is a convolution for each dilation: the
  mean branch is a constant per channel, and 1x1x1 branches and centre taps merge into the 3x3x3 kernel.
- Features are normalised, upsampled and concatenated a slab at a time, inside the convolution that reads them.
- Convolutions may run in bfloat16 or float16; flows, coordinates and statistics are float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...flows.warp import compose_all, resize_flow, warp
from ...progress import Progress, silent
from ..ulaenet import LEAK, Block, ULAENet, UncoupledBlock
from .convolution import Kernel, convolved, fusion_block, halved, head_flow, normalised_block
from .slabs import Normalised, Source, empty_tensor, slabs, statistics, stored
from .upsampling import convolved_finer, upsampled

# Share of the network's time that a step of so many decoder levels takes.
STEP_SHARES = {1: 0.2, 2: 0.25, 3: 0.55}


@dataclass(frozen=True)
class FixedFeatures:
    """What one fixed image contributes to every step, whatever the moving image.

    Attributes:
        image: `[1, 1, L, P, S]` float32.
        mixed: per level, the fixed features' part of the uncoupled block, with the block's constant.
        fusion_halves: per level, the fixed features' half of the fusion convolution.
    """

    image: Tensor
    mixed: list[Tensor]
    fusion_halves: list[Tensor]


@dataclass(frozen=True)
class MovingLevel:
    """One uncoupled block, fused: weights on the moving features by dilation, on their means, on the fixed ones."""

    kernels: dict[int, Tensor]
    mean_weight: Tensor
    fixed_weight: Tensor
    bias: Tensor


class FastULAENet:
    """The weights of a ULAENet, fused for one device and precision; serves any number of pairs.

    Args:
        network: with the uncoupled encoder; the plain one (Table 2's baseline) has nothing to fuse.
        device: where to compute.
        dtype: of the convolutions.
    """

    def __init__(self, network: ULAENet, device: torch.device | str, dtype: torch.dtype) -> None:
        if not network.uncoupled:
            raise ValueError("only the network with the uncoupled encoder can be fused")
        self.device, self.dtype = torch.device(device), dtype
        # MPS has no 3-D sampling in the older torch releases: flows stay on the CPU there.
        self.flow_device = torch.device("cpu") if self.device.type == "mps" else self.device
        self.decoder_levels = list(network.decoder_levels)
        with torch.no_grad():
            self.fixed_path = [self._weight(weight) for weight in _block_weights(network.fixed_path)]
            self.moving_path = [self._fuse(block) for block in network.moving_path if isinstance(block, UncoupledBlock)]
            halves = [weight.chunk(2, 1) for weight in _block_weights(network.fusions)]
            self.fusions_moving = [self._weight(moving) for moving, _ in halves]
            self.fusions_fixed = [self._weight(fixed) for _, fixed in halves]
            self.bottom = self._weight(network.bottom.convolution.weight)
            self.ascents = [self._weight(weight) for weight in _block_weights(network.ascents)]
            self.smooth = [self._weight(weight) for weight in _block_weights(network.smooth)]
            self.finish = self._weight(network.finish.convolution.weight)
            self.heads = [
                (self._weight(head.weight), _bias(head).float().to(self.device))
                for head in network.flow_heads
                if isinstance(head, nn.Conv3d)
            ]

    def _weight(self, weight: Tensor) -> Tensor:
        layout = torch.contiguous_format if self.device.type == "mps" else torch.channels_last_3d
        return weight.to(self.device, self.dtype).contiguous(memory_format=layout)

    def _fuse(self, block: UncoupledBlock) -> MovingLevel:
        """Multiply the mixing matrix into every branch, and merge the taps that meet."""
        mix = block.mix.weight.double().flatten(1)
        dilated_branches = [branch for branch in block.dilated_branches if isinstance(branch, nn.Conv3d)]
        branches = [block.mean_branch, block.plain_branch, block.point_branch, *dilated_branches]
        *parts, fixed_part = mix.split(len(mix), 1)
        bias = _bias(block.mix).double()
        weights = []
        for part, branch in zip(parts, branches, strict=True):
            weights.append(torch.einsum("om,mi...->oi...", part, branch.weight.double()))
            bias = bias + part @ _bias(branch).double()
        mean, plain, point, *dilated = weights
        plain[:, :, 1, 1, 1] += point[:, :, 0, 0, 0]
        kernels = {1: plain}
        for branch, weight in zip(dilated_branches, dilated, strict=True):
            if branch.dilation[0] == 1:
                plain += weight
            else:
                plain[:, :, 1, 1, 1] += weight[:, :, 1, 1, 1]
                weight[:, :, 1, 1, 1] = 0
                kernels[branch.dilation[0]] = weight
        return MovingLevel(
            {dilation: self._weight(weight) for dilation, weight in kernels.items()},
            mean.flatten(1).float().to(self.device),
            self._weight(fixed_part[:, :, None, None, None]),
            bias.float().to(self.device),
        )

    @torch.no_grad()
    def prepare(self, fixed: Tensor) -> FixedFeatures:
        """The fixed image's path, once for all steps and all moving images.

        Args:
            fixed: `[1, 1, L, P, S]` in [0, 1].
        """
        fixed = fixed.to(self.flow_device, torch.float32)
        x: Source | Normalised = stored(fixed.to(self.device, self.dtype))
        mixed, fusion_halves = [], []
        for weight, level, fusion in zip(self.fixed_path, self.moving_path, self.fusions_fixed, strict=True):
            size = torch.Size(n // 2 for n in x.size)
            x = normalised_block(halved(x, weight, 1), size, weight, reads=8)
            mixed.append(Kernel(level.fixed_weight, level.bias.to(self.dtype)).whole(x))
            fusion_halves.append(Kernel(fusion).whole(x))
        return FixedFeatures(fixed, mixed, fusion_halves)

    @torch.no_grad()
    def flows(self, *, fixed: FixedFeatures, moving: Tensor, progress: Progress = silent) -> list[Tensor]:
        """phi1, phi2, phi3 of equation 2, as `ULAENet.forward` gives them.

        Args:
            fixed: what `prepare` gave for the fixed image.
            moving: `[1, 1, L, P, S]` in [0, 1], on the fixed image's grid.
            progress: told before each step; may raise to stop.

        Returns:
            `[1, 3, L, P, S]` float32 on the CPU, voxels of the full grid.
        """
        moving = moving.to(self.flow_device, torch.float32)
        warped = moving
        flows: list[Tensor] = []
        done = 0.0
        for number, (levels, head) in enumerate(zip(self.decoder_levels, self.heads, strict=True), start=1):
            progress(done, f"Network, step {number} of {len(self.heads)}")
            done += STEP_SHARES[levels]
            flow = self._step(fixed, warped, levels, *head).to(self.flow_device)
            if number == len(self.heads):
                flows.append(resize_flow(flow, moving.shape[2:]))
            else:
                warped = advance(moving, flows, flow)
        return [flow.cpu() for flow in flows]

    def _step(self, fixed: FixedFeatures, moving: Tensor, levels: int, head: Tensor, bias: Tensor) -> Tensor:
        """One accumulative step's flow on its own grid, in that grid's voxels."""
        features = self._encode(fixed, moving, 4 - levels)
        x = convolved(features[4], self.bottom)
        for level in range(levels):
            skip = features[3 - level]
            x = convolved_finer(x, skip, weight=self.ascents[level])
        for weight in self.smooth:
            x = convolved(x, weight)
        size = torch.Size(2 * n for n in x.size)
        images = [self._pooled(image, size) for image in (moving, fixed.image)]  # the order that the weights know
        x = convolved_finer(x, *map(stored, images), weight=self.finish)
        return head_flow(x, head, bias)

    def _pooled(self, image: Tensor, size: torch.Size) -> Tensor:
        pool = image.shape[2] // size[0]
        return (F.avg_pool3d(image, pool) if pool > 1 else image).to(self.device, self.dtype)

    def _encode(self, fixed: FixedFeatures, moving: Tensor, needed: int) -> dict[int, Normalised]:
        """e_l of the levels from `needed` down to the coarsest."""
        x = moving.to(self.device, self.dtype)
        features = {}
        for number, level in enumerate(self.moving_path, start=1):
            means = x.float().mean().view(1) if number == 1 else statistics(x)[0]
            source = stored(x)
            constant = (level.mean_weight @ means).to(self.dtype)
            first, *others = [
                halved(source, weight, dilation, None if n else constant)
                for n, (dilation, weight) in enumerate(level.kernels.items())
            ]
            mixed = fixed.mixed[number - 1]
            out = empty_tensor(mixed.shape, mixed.dtype, mixed.device, channels_last=True)
            for start, stop in slabs(out.shape[2:], out.shape[1], out):
                y = first(start, stop).add_(mixed[:, :, start:stop])
                for kernel in others:
                    y += kernel(start, stop)
                torch.ops.aten.leaky_relu.out(y, LEAK, out=out[:, :, start:stop])
            x = out
            if number >= needed:
                features[number] = fusion_block(x, fixed.fusion_halves[number - 1], self.fusions_moving[number - 1])
        return features


def _block_weights(blocks: nn.ModuleList | nn.Sequential) -> list[Tensor]:
    return [block.convolution.weight for block in blocks if isinstance(block, Block)]


def _bias(convolution: nn.Conv3d) -> Tensor:
    """The bias of a convolution that has one, as all but those before a normalisation do."""
    assert convolution.bias is not None
    return convolution.bias


def advance(moving: Tensor, flows: list[Tensor], flow: Tensor) -> Tensor:
    """Take one step's flow onto the full grid, append it to the flows, and warp the moving image through all of them.

    Each slab of voxels goes the whole way before the next one, so that what is in work stays in the cache.

    Args:
        moving: `[1, 1, L, P, S]`.
        flows: the steps before, `[1, 3, L, P, S]` each, voxels of the full grid; the new one is appended.
        flow: the new step's, `[1, 3, l, p, s]`, voxels of its own grid.

    Returns:
        The moving image after all the steps so far.
    """
    size = moving.shape[2:]
    scale = torch.tensor([n / m for n, m in zip(size, flow.shape[2:], strict=True)], device=flow.device)
    flow = flow * scale.view(1, 3, 1, 1, 1)
    source = upsampled(stored(flow), size)
    full = empty_tensor((1, 3, *size), flow.dtype, flow.device)
    warped = empty_tensor(moving.shape, moving.dtype, moving.device)
    for start, stop in slabs(size, 6, flow):
        planes = source.planes(start, stop)
        full[:, :, start:stop] = planes
        origin = (start, 0, 0)
        warped[:, :, start:stop] = warp(moving, compose_all([*flows, planes], origin), origin=origin)
    flows.append(full)
    return warped
