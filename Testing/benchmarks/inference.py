"""How fast, how exact and how frugal the fast path is, against the plain network in the same run.

    python Testing/benchmarks/inference.py [--weights F.safetensors] [--device cpu|cuda] [--json F.json]
    python Testing/benchmarks/inference.py --tricks

Same weights, same pair, same grid for everything; times are the best of a few alternating runs, with memory as torch
leaves it, and once more in a process of its own for each way that keeps freed memory, as `ulae` and the Slicer module's
worker do: on the CPU a good part of the plain network's time is page faults. Peak memory is measured in such processes
too: on the CPU (Linux) the resident set's peak (VmHWM) over what the process held before the run, weights and images
among it; on CUDA torch's allocator peak.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from data_folder import DATA
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from ULAERegistrationLib.dataset.regions import mean_dice
from ULAERegistrationLib.evaluation.people import read_image
from ULAERegistrationLib.flows.warp import compose_all, warp
from ULAERegistrationLib.memory import keep_freed_memory
from ULAERegistrationLib.network.devices import choose_device, half_precision
from ULAERegistrationLib.network.predict import predict_flows
from ULAERegistrationLib.network.ulaenet import ULAENet
from ULAERegistrationLib.network.weights import SHIPPED

from plain_parts import tricks_table  # isort: skip, a file beside this one

BRAINS = DATA / "brains"
FULL = (160, 192, 160)
# 1/8, about 1/2, 1 and 2 times the voxels; sides must divide by 16.
SIZES = ((80, 96, 80), (128, 144, 128), FULL, (208, 240, 192))
PLAIN = "plain"
KINDS = {
    "convolution": ("conv",),
    "norm and activation": ("batch_norm", "leaky_relu", "instance_norm"),
    "warp": ("grid_sampler",),
    "upsampling": ("upsample", "lerp"),
    "joining and copying": ("cat", "copy_", "fill_", "constant_pad"),
}


def load_network(path: Path | None) -> ULAENet:
    """Trained weights, or without any the untrained network with heads scaled up to flows of several voxels."""
    torch.manual_seed(0)
    network = ULAENet().eval()
    if path is not None:
        from safetensors.torch import load_file

        network.load_state_dict(load_file(path))
        return network
    with torch.no_grad():
        for head in network.flow_heads:
            head.weight.normal_(std=0.05)
    return network


def load_pair(folder: Path = BRAINS) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Fixed and moving image and labels, `[1, 1, L, P, S]`: na04 and na16, or smooth noise where they are not."""
    if not folder.is_dir():
        fixed, moving = F.interpolate(torch.rand(2, 1, 20, 24, 20), size=FULL, mode="trilinear").split(1)
        return fixed, moving, None, None

    def load(person: str, kind: str) -> Tensor:
        return torch.from_numpy(read_image(folder / f"nirep-{person}_{kind}.nii.gz"))[None, None].float()

    return load("na04", "t1") / 255, load("na16", "t1") / 255, load("na04", "seg"), load("na16", "seg")


def ways(
    network: ULAENet, fixed: Tensor, moving: Tensor, device: torch.device
) -> dict[str, Callable[[], list[Tensor]]]:
    """What is compared: the plain network and the fast path in each precision this device has."""

    @torch.no_grad()
    def plain() -> list[Tensor]:
        flags = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        with flags:
            return [flow.cpu() for flow in network.to(device)(fixed=fixed.to(device), moving=moving.to(device))]

    found = {PLAIN: plain}
    half = half_precision(device)
    for dtype in (torch.float32, half) if half else (torch.float32,):
        name = str(dtype).removeprefix("torch.")
        found[name] = lambda name=name: (
            predict_flows(network, fixed=fixed, moving=moving, device=device.type, precision=name).flows
        )
    return found


def best_seconds(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """The least of a few alternating runs of each, so that a busy moment hits them alike."""
    seconds = dict.fromkeys(runs, float("inf"))
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds


def overlap(flow: Tensor, fixed: Tensor, moving: Tensor) -> float:
    """Mean Dice of NIREP's cortical labels, the moving ones warped to the nearest."""
    return mean_dice(warp(moving, flow, mode="nearest").byte().numpy(), fixed.byte().numpy(), "nirep")


def difference(found: list[Tensor], expected: list[Tensor]) -> dict[str, float]:
    """Voxels: between the flows of any step at most; between the composed flows on average and at 99.9 %."""
    gap = (compose_all(found) - compose_all(expected)).abs().flatten()
    return {
        "largest of any step": max((a - b).abs().max().item() for a, b in zip(found, expected, strict=True)),
        "mean": gap.mean().item(),
        "99.9 %": gap.kthvalue(int(0.999 * gap.numel())).values.item(),
    }


def alone(what: str, way: str, arguments: list[str]) -> float:
    """Peak memory ("--peak") or seconds with freed memory kept ("--kept") of one way, in a process of its own."""
    command = [sys.executable, __file__, what, way, *arguments]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def measure_peak(run: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        run()
        return torch.cuda.max_memory_allocated() / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    before = _resident_megabytes("VmHWM")
    run()
    return _resident_megabytes("VmHWM") - before


def _resident_megabytes(entry: str) -> float:
    # Not getrusage's ru_maxrss: that one is inherited from the parent process.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(entry)) / 2**10


def where_time_goes(run: Callable[[], object], device: torch.device) -> dict[str, float]:
    """Milliseconds by kind of operation, and the rest."""
    cuda = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as record:
        run()
    found = dict.fromkeys([*KINDS, "the rest"], 0.0)
    for event in record.key_averages():
        kind = next((kind for kind, parts in KINDS.items() if any(p in event.key for p in parts)), "the rest")
        found[kind] += (event.self_device_time_total if cuda else event.self_cpu_time_total) / 1e3
    return found


def seconds_at(
    size: tuple[int, int, int], network: ULAENet, fixed: Tensor, moving: Tensor, device: torch.device, precision: str
) -> float:
    """Seconds for the same pair on another grid."""
    fixed, moving = (F.interpolate(image, size=size, mode="trilinear", align_corners=True) for image in (fixed, moving))

    def run() -> None:
        predict_flows(network, fixed=fixed, moving=moving, device=device.type, precision=precision)

    return best_seconds({"": run}, 2)[""]


def benchmark(network: ULAENet, device: torch.device, weights: Path | None, repeats: int = 3) -> dict:
    """Everything of this file, as one dictionary."""
    fixed, moving, fixed_labels, moving_labels = load_pair()
    runs = ways(network, fixed, moving, device)
    flows = {name: run() for name, run in runs.items()}
    dice = {}
    if moving_labels is not None:
        dice = {name: overlap(compose_all(found), fixed_labels, moving_labels) for name, found in flows.items()}
    differences = {name: difference(found, flows[PLAIN]) for name, found in flows.items() if name != PLAIN}
    del flows
    arguments = ["--device", device.type, *(["--weights", str(weights)] if weights else [])]
    fastest = list(runs)[-1]
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads",
        "torch": torch.__version__,
        "seconds": best_seconds(runs, repeats),
        "seconds, memory kept": {name: alone("--kept", name, [*arguments, f"--repeats={repeats}"]) for name in runs},
        "megabytes": {name: alone("--peak", name, arguments) for name in runs},
        "difference": differences,
        "dice": dice,
        "milliseconds": {name: where_time_goes(run, device) for name, run in runs.items()},
        "seconds by size": {
            " x ".join(map(str, size)): seconds_at(size, network, fixed, moving, device, fastest) for size in SIZES
        },
    }


def report(result: dict) -> str:
    """The result as text."""
    plain_seconds, plain_memory = result["seconds"][PLAIN], result["megabytes"][PLAIN]
    lines = [f"{result['device']}, torch {result['torch']}, grid {' x '.join(map(str, FULL))}", ""]
    lines.append(
        "way           seconds  faster  memory kept  faster  peak MB  of plain     mean   99.9 %  largest    Dice"
    )
    for name, seconds in result["seconds"].items():
        memory, kept = (result[kind].get(name, float("nan")) for kind in ("megabytes", "seconds, memory kept"))
        gap = result["difference"].get(name, {})
        figures = [gap.get(k, float("nan")) for k in ("mean", "99.9 %", "largest of any step")]
        lines.append(
            f"{name:12} {seconds:8.2f} {plain_seconds / seconds:7.1f} {kept:12.2f} {plain_seconds / kept:7.1f} "
            f"{memory:8.0f} {memory / plain_memory:9.2f} "
            + " ".join(f"{figure:8.5f}" for figure in figures)
            + f" {result['dice'].get(name, float('nan')):7.4f}"
        )
    lines += ["", "milliseconds            " + "".join(f"{name:>12}" for name in result["milliseconds"])]
    for kind in [*KINDS, "the rest"]:
        lines.append(f"{kind:24}" + "".join(f"{times[kind]:12.0f}" for times in result["milliseconds"].values()))
    lines += ["", "grid                     seconds  microseconds per thousand voxels"]
    for size, seconds in result["seconds by size"].items():
        voxels = np.prod([int(n) for n in size.split(" x ")])
        lines.append(f"{size:22} {seconds:9.2f} {seconds / voxels * 1e9:9.0f}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=SHIPPED if SHIPPED.is_file() else None)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--tricks", action="store_true", help="switch each trick of the fast path off in turn")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    parser.add_argument("--kept", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", module="torch.profiler")
    network, device = load_network(options.weights), choose_device(options.device)
    if options.tricks:
        keep_freed_memory()
        torch.set_num_threads(1)
        fixed, moving, *_ = load_pair()
        print(tricks_table(network, fixed, moving, options.repeats))
        return 0
    if options.peak or options.kept:
        fixed, moving, *_ = load_pair()
        run = ways(network, fixed, moving, device)[options.peak or options.kept]
        if options.kept:
            keep_freed_memory()
        print(best_seconds({"": run}, options.repeats)[""] if options.kept else measure_peak(run, device))
        return 0
    result = benchmark(network, device, options.weights, options.repeats)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    print(report(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
