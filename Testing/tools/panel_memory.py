"""Registers the same small pair many times in the panel and prints what the application holds after each run.

    python Testing/tools/panel_memory.py [RUNS]

Fixed and moving are two real scans at half their resolution, with a label map that is carried along; the computing
process is told its answer (standin/worker.py), for what is measured is the application.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "Testing"), str(ROOT)]

import psutil  # noqa: E402
import SimpleITK as sitk  # noqa: E402
import standin  # noqa: E402


def main() -> None:
    runs = int(next((word for word in sys.argv[1:] if word.isdigit()), 20))
    app = standin.start()
    import slicer
    from standin import loader
    from standin.clicking import add_volume, behave, let_go, wait_until

    frame = loader.load_module(ROOT / "ULAERegistration" / "ULAERegistration.py").widgetRepresentation()
    from ULAERegistrationParts import licence

    licence.setAccepted(True)
    frame._enter()
    panel = frame.self()
    behave(panel)
    data = Path(os.environ.get("ULAE_DATA", ROOT.parent / "shared" / "data")) / "raw"
    images = [sitk.BinShrink(sitk.ReadImage(str(data / f"{name}_t1.nii.gz")), [2] * 3) for name in PAIR]
    for image, name in zip(images, ("fixed", "moving"), strict=True):
        add_volume(slicer.mrmlScene, image, name)
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    from ULAERegistrationLib.mrml.volumes import set_volume

    set_volume(labels, sitk.Cast(images[1] > 100, sitk.sitkUInt8))
    panel.enter()
    panel.ui.carrySelector.check(labels)
    process = psutil.Process()
    for number in range(1, runs + 1):
        panel.ui.registerButton.click()
        wait_until(app, lambda: not panel.registerPanel.isRunning())
        assert panel.registerPanel.run.state == "done", panel.registerPanel.run.error
        let_go()
        alive = sum(type(one).__name__ == "Run" for one in gc.get_objects())
        print(f"run {number:2d}: {process.memory_info().rss / 2**20:6.0f} MB, {alive} run(s) alive", flush=True)
    frame._exit()


PAIR = ("nirep/na16", "oasis/1101")

if __name__ == "__main__":
    main()
