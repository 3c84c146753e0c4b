"""Compute ULAE-net's three flows fast, with the same function as `ulaenet.py`.

The page of this package (`fast/__init__.py`) explains each optimisation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...flows.warp import compose_all, resize_flow, warp
from ...progress import Progress, silent, step_message
from ..ulaenet import LEAK, Block, ULAENet, UncoupledBlock
from .convolution import Kernel, convolved, fusion_block, halved, head_flow, normalised_block
from .slabs import Normalised, PlaneSource, empty_tensor, slabs, statistics, stored
from .upsampling import convolved_finer, upsampled

# Fraction of the network's time that a step takes, by its number of decoder levels.
STEP_SHARES = {1: 0.2, 2: 0.25, 3: 0.55}


@dataclass(frozen=True, eq=False)
class FixedFeatures:
    """The part of every step that depends on the fixed image only.

    Attributes:
        image: the fixed image, `[1, 1, L, P, S]` float32.
        mixed: per level, the fixed features' contribution to the uncoupled block before its leaky ReLU, bias included.
        fusion_halves: per level, the fixed features' contribution to the fusion convolution.
    """

    image: Tensor
    mixed: list[Tensor]
    fusion_halves: list[Tensor]


@dataclass(frozen=True, eq=False)
class MovingLevel:
    """One uncoupled block, fused.

    Attributes:
        kernels: weights of the moving features' 3x3x3 convolutions, by dilation.
        mean_weight: weights of the moving features' means, `[out, in]` float32.
        fixed_weight: weights of the fixed features, 1x1x1.
        bias: `[out]` float32.
    """

    kernels: dict[int, Tensor]
    mean_weight: Tensor
    fixed_weight: Tensor
    bias: Tensor


class FastULAENet:
    """The weights of a ULAENet, fused for one device and precision, for any number of pairs.

    Args:
        network: a network with the uncoupled encoder; the plain encoder (Table 2's baseline) has nothing to fuse.
        device: the device of the convolutions.
        dtype: number type of the convolutions.

    Raises:
        ValueError: for a network without the uncoupled encoder.
    """

    def __init__(self, network: ULAENet, device: torch.device | str, dtype: torch.dtype) -> None:
        if not network.uncoupled:
            raise ValueError("only the network with the uncoupled encoder can be fused")
        self.device, self.dtype = torch.device(device), dtype
        # Older torch releases have no 3-D grid_sample on MPS, so flows stay on the CPU there.
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
        """Multiply the mixing matrix into every branch, and add up the taps that read the same voxel."""
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
        """Compute the fixed image's features, once for all steps and all moving images.

        Args:
            fixed: `[1, 1, L, P, S]` in [0, 1].
        """
        fixed = fixed.to(self.flow_device, torch.float32)
        x: PlaneSource | Normalised = stored(fixed.to(self.device))
        mixed, fusion_halves = [], []
        for weight, level, fusion in zip(self.fixed_path, self.moving_path, self.fusions_fixed, strict=True):
            size = torch.Size(n // 2 for n in x.size)
            x = normalised_block(halved(x, weight, 1), size, weight, reads=8)
            mixed.append(Kernel(level.fixed_weight, level.bias.to(self.dtype)).whole(x))
            fusion_halves.append(Kernel(fusion).whole(x))
        return FixedFeatures(fixed, mixed, fusion_halves)

    @torch.no_grad()
    def flows(self, *, fixed: FixedFeatures, moving: Tensor, progress: Progress = silent) -> list[Tensor]:
        """Compute phi1, phi2, phi3 of equation 2, as `ULAENet.forward` does.

        Args:
            fixed: what `prepare` returned for the fixed image.
            moving: `[1, 1, L, P, S]` in [0, 1], on the fixed image's grid.
            progress: called before each step; it may raise `Cancelled` to stop.

        Returns:
            The flows, each `[1, 3, L, P, S]` float32 on the CPU, voxels of the full grid.
        """
        moving = moving.to(self.flow_device, torch.float32)
        warped = moving
        flows: list[Tensor] = []
        done = 0.0
        for number, (levels, head) in enumerate(zip(self.decoder_levels, self.heads, strict=True), start=1):
            progress(done, step_message(number, len(self.heads)))
            done += STEP_SHARES[levels]
            flow = self._step(fixed, warped, levels, *head).to(self.flow_device)
            if number == len(self.heads):
                flows.append(resize_flow(flow, moving.shape[2:]))
            else:
                warped = advance(moving, flows, flow)
        return [flow.cpu() for flow in flows]

    def _step(self, fixed: FixedFeatures, moving: Tensor, levels: int, head: Tensor, bias: Tensor) -> Tensor:
        """Compute one accumulative step's flow on its own grid, in that grid's voxels."""
        features = self._encode(fixed, moving, 4 - levels)
        x = convolved(features[4], self.bottom)
        for level in range(levels):
            skip = features[3 - level]
            x = convolved_finer(x, skip, weight=self.ascents[level])
        for weight in self.smooth:
            x = convolved(x, weight)
        size = torch.Size(2 * n for n in x.size)
        images = [self._pooled(image, size) for image in (moving, fixed.image)]  # the weights' order
        x = convolved_finer(x, *map(stored, images), weight=self.finish)
        return head_flow(x, head, bias)

    def _pooled(self, image: Tensor, size: torch.Size) -> Tensor:
        pool = image.shape[2] // size[0]
        return (F.avg_pool3d(image, pool) if pool > 1 else image).to(self.device, self.dtype)

    def _encode(self, fixed: FixedFeatures, moving: Tensor, needed: int) -> dict[int, Normalised]:
        """Compute the encoder's features e_l of level `needed` and the coarser ones, by level."""
        x = moving.to(self.device)
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
    """Return the bias of a convolution; all have one but those before a normalisation."""
    assert convolution.bias is not None
    return convolution.bias


def advance(moving: Tensor, flows: list[Tensor], flow: Tensor) -> Tensor:
    """Upsample one step's flow to the full grid, append it to `flows`, and warp the moving image through all of them.

    Each slab of planes is upsampled, composed and warped before the next one, so that it stays in the cache.

    Args:
        moving: `[1, 1, L, P, S]`.
        flows: of the earlier steps, `[1, 3, L, P, S]` each, voxels of the full grid; the new one is appended.
        flow: of the new step, `[1, 3, l, p, s]`, voxels of its own grid.

    Returns:
        The moving image warped by all the steps so far, `[1, 1, L, P, S]`.
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
