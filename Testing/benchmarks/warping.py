"""What it gains to warp by planes on the CPU: seconds, ratio and difference against torch's sampling of volumes.

    python Testing/benchmarks/warping.py [--threads 2] [--repeats 20]

Both sample the same places of the grid on which a registration refines (80 x 96 x 80) and of the whole one, in turn, in
one process that keeps freed memory as a registration does. Seconds are the least of all repeats.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ULAERegistrationLib.flows.sampling import coordinates, sample, warp_by_planes
from ULAERegistrationLib.geometry.frame import CANONICAL_SIZE
from ULAERegistrationLib.memory import keep_freed_memory

ORIGIN = (0, 0, 0)
KNOTS = (10, 12, 10)  # of the smooth random image and flow


def smooth(channels: int, size: tuple[int, ...], seed: int) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return F.interpolate(torch.randn(1, channels, *KNOTS, generator=random), size=size, mode="trilinear")


def by_volumes(image: Tensor, flow: Tensor, padding: str) -> Tensor:
    return sample(image, coordinates(flow, ORIGIN), padding)


def least_seconds(ways: list[Callable[[], Tensor]], repeats: int) -> list[float]:
    seconds = [[] for _ in ways]
    for _ in range(repeats + 1):
        for way, its_seconds in zip(ways, seconds, strict=True):
            began = time.perf_counter()
            way()
            its_seconds.append(time.perf_counter() - began)
    return [min(its_seconds[1:]) for its_seconds in seconds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    print("| grid | channels, outside | volumes, ms | planes, ms | times as fast | largest difference, voxels |")
    print("|---|---|---|---|---|---|")
    whole = tuple(CANONICAL_SIZE)
    for size in (tuple(n // 2 for n in whole), whole):
        flow = 3 * smooth(3, size, 1)
        for channels, padding in ((3, "border"), (1, "zeros")):
            image = smooth(channels, size, 2)
            volumes = partial(by_volumes, image, flow, padding)
            planes = partial(warp_by_planes, image, flow, padding, ORIGIN)
            slow, fast = least_seconds([volumes, planes], options.repeats)
            # The number of each voxel along P, which rounding moves most.
            ramp = torch.arange(float(size[1])).view(1, 1, 1, -1, 1).expand(1, 1, *size).contiguous()
            apart = by_volumes(ramp, flow, "border") - warp_by_planes(ramp, flow, "border", ORIGIN)
            grid = " x ".join(map(str, size))
            print(
                f"| {grid} | {channels}, {padding} | {1000 * slow:.1f} | {1000 * fast:.1f} | {slow / fast:.1f} | "
                f"{apart.abs().max():.5f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
