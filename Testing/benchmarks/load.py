"""Register again and again in one process, to see whether memory, handles, threads or files grow.

    python Testing/benchmarks/load.py --times 50
    python Testing/benchmarks/load.py --times 20 --worker    # each in a process of its own, as the module does
    python Testing/benchmarks/load.py --times 20 --panel     # clicked in the module's panel, in the stand-in for Slicer

The pair is the simulated one with voxels of 3 mm, and the network runs on voxels of 4 mm, so that most of the time goes
into what surrounds it. Every fifth result is saved, figures included; a worker writes its transform and warped volume.
Printed are, after every registration, the resident memory in MB once what was freed has been returned to the system
("MB"), what had been freed and not yet returned ("freed MB", which varies and is no leak), open handles, threads, child
processes and temporary files of ours. In the end the most of the last third is compared with the most of the first.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import SimpleITK as sitk

from ULAERegistrationLib.files.written import write_checked
from ULAERegistrationLib.memory import return_freed_memory
from ULAERegistrationLib.network.weights import SHIPPED, load_network, save_network
from ULAERegistrationLib.process.job import Job, JobDescription
from ULAERegistrationLib.settings import RegistrationSettings
from ULAERegistrationLib.simulation import simulate

SPACING, VOXEL_MM = 3.0, 4
SAVED_EVERY = 5
TESTING = Path(__file__).parents[1]
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
    before = process.memory_info().rss / 2**20
    return_freed_memory()
    held = process.memory_info().rss / 2**20
    return {
        "MB": round(held, 1),
        "freed MB": round(before - held, 1),
        "handles": process.num_fds() if hasattr(process, "num_fds") else process.num_handles(),
        "threads": process.num_threads(),
        "children": len(process.children(recursive=True)),
        "files": len(list(Path(tempfile.gettempdir()).glob("ulae-*"))),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=50, help="default: 50")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--worker", action="store_true", help="each in a process of its own")
    way.add_argument("--panel", action="store_true", help="clicked in the module's panel")
    options = parser.parse_args()
    pair = simulate()
    fixed, moving = coarse(pair.subject), coarse(pair.template)
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder  # so that the temporary files of other programs are not counted
        model = Path(folder) / "coarse.safetensors"
        save_network(load_network(SHIPPED)[0], model, {"voxel_mm": VOXEL_MM})
        settings = RegistrationSettings(preset="fast", precision="float32", device="cpu", model=str(model))
        click = clicked_in_the_panel(fixed, moving, model) if options.panel else None
        seen = []
        for number in range(1, options.times + 1):
            began = time.monotonic()
            if click:
                click()
            elif options.worker:
                in_another_process(fixed, moving, settings)
            else:
                from ULAERegistrationLib import register

                registration = register(fixed, moving, settings)
                if number % SAVED_EVERY == 0:
                    registration.save(Path(folder) / "result")
                del registration
            seen.append(measured())
            print(json.dumps({"number": number, "s": round(time.monotonic() - began, 1), **seen[-1]}), flush=True)
    third = max(1, len(seen) // 3)
    growth = {
        name: round(max(one[name] for one in seen[-third:]) - max(one[name] for one in seen[:third]), 1)
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


def clicked_in_the_panel(fixed: sitk.Image, moving: sitk.Image, model: Path) -> Callable[[], None]:
    """What registers the pair by a click in the module's panel; each result takes the place of the one before."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
    sys.path.insert(0, str(TESTING))
    import standin

    app = standin.start()
    from standin import loader
    from standin.clicking import add_volume, finish, let_go

    frame = loader.load_module(TESTING.parent / "ULAERegistration" / "ULAERegistration.py").widgetRepresentation()
    for name, image in (("fixed", fixed), ("moving", moving)):
        add_volume(app.mrmlScene(), image, name)
    frame._enter()
    panel = frame.self()
    panel.ui.presetComboBox.setCurrentText("Fast")
    panel.ui.deviceComboBox.setCurrentText("cpu")
    panel.ui.modelPathEdit.currentPath = str(model)

    def click() -> None:
        panel.ui.registerButton.click()
        run = finish(panel, app)
        assert run.state == "done", run.error + run.log
        del run
        let_go()

    return click


if __name__ == "__main__":
    raise SystemExit(main())
