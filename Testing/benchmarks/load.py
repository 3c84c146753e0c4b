"""Register again and again in one process, to see whether memory, handles, threads or files grow.

    python Testing/benchmarks/load.py --times 50
    python Testing/benchmarks/load.py --times 20 --worker    # each in a process of its own, as the module does

The pair is the simulated one with voxels of 3 mm, and the network runs on voxels of 4 mm, so that most of the time goes
into what surrounds it. Printed are, after every registration, the resident memory in MB, open handles, threads, child
processes and temporary files of ours. In the end the least of the last third is compared with the least of the first,
because freed memory goes back to the system by and by.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
from pathlib import Path

import psutil
import SimpleITK as sitk

from ULAERegistrationLib.files.written import write_checked
from ULAERegistrationLib.network.weights import SHIPPED, load_network, save_network
from ULAERegistrationLib.process.job import Job, JobDescription
from ULAERegistrationLib.settings import RegistrationSettings
from ULAERegistrationLib.simulation import simulate

SPACING, VOXEL_MM = 3.0, 4
GROWTH_MB = 60.0  # more than this is a leak


def coarse(image: sitk.Image) -> sitk.Image:
    """The image with voxels of `SPACING` mm."""
    spacing = image.GetSpacing()
    size = [int(side * step / SPACING) for side, step in zip(image.GetSize(), spacing, strict=True)]
    grid = [size, sitk.Transform(), sitk.sitkLinear, image.GetOrigin(), [SPACING] * 3, image.GetDirection()]
    return sitk.Resample(image, *grid)


def measured() -> dict[str, float]:
    """What this process holds."""
    gc.collect()
    process = psutil.Process()
    return {
        "MB": round(process.memory_info().rss / 2**20, 1),
        "handles": process.num_fds() if hasattr(process, "num_fds") else process.num_handles(),
        "threads": process.num_threads(),
        "children": len(process.children(recursive=True)),
        "files": len(list(Path(tempfile.gettempdir()).glob("ulae-*"))),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=50, help="default: 50")
    parser.add_argument("--worker", action="store_true", help="each in a process of its own")
    options = parser.parse_args()
    pair = simulate()
    fixed, moving = coarse(pair.subject), coarse(pair.template)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "coarse.safetensors"
        save_network(load_network(SHIPPED)[0], model, {"voxel_mm": VOXEL_MM})
        settings = RegistrationSettings(preset="fast", precision="float32", device="cpu", model=str(model))
        seen = []
        for number in range(1, options.times + 1):
            began = time.monotonic()
            if options.worker:
                in_another_process(fixed, moving, settings)
            else:
                from ULAERegistrationLib import register

                register(fixed, moving, settings).save(Path(folder) / "result")
            seen.append(measured())
            print(json.dumps({"number": number, "s": round(time.monotonic() - began, 1), **seen[-1]}), flush=True)
    third = max(1, len(seen) // 3)
    growth = {
        name: round(min(one[name] for one in seen[-third:]) - min(one[name] for one in seen[:third]), 1)
        for name in seen[0]
    }
    print(json.dumps({"growth": growth}))
    return int(growth["MB"] > GROWTH_MB or any(growth[name] > 0 for name in ("handles", "children", "files")))


def in_another_process(fixed: sitk.Image, moving: sitk.Image, settings: RegistrationSettings) -> None:
    """Register as the module does."""
    with Job() as job:
        write_checked(fixed, job.folder / "fixed.nrrd", compress=False)
        write_checked(moving, job.folder / "moving.nrrd", compress=False)
        job.start(JobDescription(fixed="fixed.nrrd", moving="moving.nrrd", settings=settings, warped=True))
        assert job.wait() == "done", job.error


if __name__ == "__main__":
    raise SystemExit(main())
