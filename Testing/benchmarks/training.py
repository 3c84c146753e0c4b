"""What a training step costs: seconds and peak memory on each grid, float32 and bfloat16, in processes of their own.

    python Testing/benchmarks/training.py runs/brains.npz [--device cpu] [--steps 5] [--grids 4 2 1]

The first row is the baseline: float32 with the memory of every step handed back to the kernel.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SETUPS = (("float32", "given back"), ("float32", "kept"), ("bfloat16", "kept"))
WINDOWS = {4: (5, 5, 3), 2: (7, 5, 3), 1: (11, 9, 7)}


def measure(data: Path, device: str, voxel_mm: int, precision: str, memory: str, steps: int) -> dict[str, float]:
    """Mean seconds of a step after two others, and the process's peak memory in GB (on CUDA: what torch held)."""
    import torch

    from ULAERegistrationLib.evaluation.peak_memory import peak_gb
    from ULAERegistrationLib.memory import keep_freed_memory
    from ULAERegistrationLib.training.data import Brains
    from ULAERegistrationLib.training.recipe import Phase, TrainingSettings
    from ULAERegistrationLib.training.trainer import Trainer

    if memory == "kept":
        keep_freed_memory()
    phase = Phase(voxel_mm, steps + 2, 1e-4, WINDOWS[voxel_mm])
    settings = TrainingSettings(phases=(phase,), precision=precision)
    with tempfile.TemporaryDirectory() as folder:
        brains = Brains(data, device=device)
        run = Trainer(Path(folder), brains, settings, device, log=lambda line: None)
        images = brains.training_set(voxel_mm)
        for _ in range(2):
            run._step(images, phase)
        began = time.perf_counter()
        for _ in range(steps):
            run._step(images, phase)
        seconds = (time.perf_counter() - began) / steps
    gigabytes = torch.cuda.max_memory_allocated() / 1e9 if device.startswith("cuda") else peak_gb()
    return {"seconds": seconds, "gigabytes": gigabytes, "threads": torch.get_num_threads()}


def main() -> None:
    """Print a table with the ratio to each grid's baseline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--grids", type=int, nargs="+", default=[4, 2])
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        voxel_mm, precision, memory = options.one
        print(json.dumps(measure(options.data, options.device, int(voxel_mm), precision, memory, options.steps)))
        return
    print("| grid | convolutions | freed memory | s a step | times faster | peak GB |\n|---|---|---|---|---|---|")
    for voxel_mm in options.grids:
        baseline = None
        for precision, memory in SETUPS:
            program = [sys.executable, __file__, str(options.data), "--device", options.device]
            program += ["--steps", str(options.steps), "--one", str(voxel_mm), precision, memory]
            one = json.loads(subprocess.run(program, capture_output=True, text=True, check=True).stdout)
            baseline = baseline or one["seconds"]
            ratio = baseline / one["seconds"]
            grid = f"1/{voxel_mm}" if voxel_mm > 1 else "full"
            print(
                f"| {grid} | {precision} | {memory} | {one['seconds']:.2f} | {ratio:.2f} | {one['gigabytes']:.1f} |",
                flush=True,
            )
    print(f"\n{options.device}, {one['threads']} threads, {options.steps} steps each")


if __name__ == "__main__":
    main()
