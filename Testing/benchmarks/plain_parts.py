"""The tricks of the fast path switched off one by one: what the whole network takes more of the processor without each.

Processor time of one thread, the least of a few alternating rounds, which holds on a busy machine too. Every variant's
flows are held against the fast path's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from torch import Tensor

from ULAERegistrationLib.network.fast import convolution, slabs, upsampling
from ULAERegistrationLib.network.fast import network as fast
from ULAERegistrationLib.network.ulaenet import ULAENet

LARGEST_DIFFERENCE = 1e-2  # voxels


def tricks_table(network: ULAENet, fixed: Tensor, moving: Tensor, repeats: int) -> str:
    """A line for each trick, and one for the plain network."""
    seconds = {name: float("inf") for name in (*VARIANTS, "the plain network")}
    reference = _fast_flows(network, fixed, moving)
    for _ in range(repeats):
        for name, variant in VARIANTS.items():
            with variant():
                began = time.process_time()
                flows = _fast_flows(network, fixed, moving)
                seconds[name] = min(seconds[name], time.process_time() - began)
            gap = max((a - b).abs().max().item() for a, b in zip(flows, reference, strict=True))
            assert gap < LARGEST_DIFFERENCE, f"{name}: flows differ by {gap} voxels"
        began = time.process_time()
        with torch.no_grad():
            network(fixed=fixed, moving=moving)
        seconds["the plain network"] = min(seconds["the plain network"], time.process_time() - began)
    whole = seconds["all tricks"]
    return "\n".join(
        f"{name:45} {value:6.2f} s  {100 * (value / whole - 1):+6.1f} %" for name, value in seconds.items()
    )


@torch.no_grad()
def _fast_flows(network: ULAENet, fixed: Tensor, moving: Tensor) -> list[Tensor]:
    computed = fast.FastULAENet(network, "cpu", torch.float32)
    return computed.flows(fixed=computed.prepare(fixed), moving=moving)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _replaced(target: object, name: str, value: object) -> Callable:
    return lambda: mock.patch.object(target, name, value)


def _finer(coarse, *fine, weight):
    return convolution.convolved(slabs.joined(upsampling.upsampled(coarse, fine[0].size), *fine), weight)


class _FixedInEveryStep(fast.FastULAENet):
    def _step(self, fixed, moving, *rest):
        return super()._step(self.prepare(fixed.image), moving, *rest)


def _without(name: str) -> Callable:
    @contextmanager
    def removed() -> Iterator[None]:
        kept = getattr(torch, name)
        delattr(torch, name)
        try:
            yield
        finally:
            setattr(torch, name, kept)

    return removed


VARIANTS: dict[str, Callable] = {
    "all tricks": _nothing,
    "fixed image's work in every step": _replaced(fast, "FastULAENet", _FixedInEveryStep),
    "upsample before convolving": _replaced(fast, "convolved_finer", _finer),
    "whole grids instead of slabs": _replaced(slabs, "SLAB_BYTES", 2**60),
    "F.conv3d in place of oneDNN by name": _without("mkldnn_convolution"),
    "var_mean in place of batch-norm statistics": _without("batch_norm_update_stats"),
}
