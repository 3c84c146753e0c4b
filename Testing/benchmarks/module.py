"""From the click on Register to the nodes: CPU seconds of each stage, by the real module in the tests' stand-in.

    python Testing/benchmarks/module.py FIXED MOVING [--preset Fast]

The volumes are loaded before; what the two processes use is noted whenever the message beside the progress bar changes,
so that a stage that is done between two looks is counted with the one before it. CPU seconds mean something on a busy
machine too, with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "Testing"), str(ROOT)]

import psutil  # noqa: E402
import standin  # noqa: E402

LOOK_SECONDS = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fixed")
    parser.add_argument("moving")
    parser.add_argument("--preset", default="Fast", help="as the panel names it")
    options = parser.parse_args()
    app = standin.start()
    import slicer
    from standin import loader

    panel = loader.load_module(ROOT / "ULAERegistration" / "ULAERegistration.py").widgetRepresentation().self()
    from ULAERegistrationParts import licence

    licence.setAccepted(True)  # of this application's own settings, which end with it
    panel.enter()
    volumes = slicer.modules.volumes.logic()
    nodes = [volumes.AddArchetypeVolume(file, Path(file).name, 0) for file in (options.fixed, options.moving)]
    panel.ui.fixedVolumeSelector.setCurrentNode(nodes[0])
    panel.ui.movingVolumeSelector.setCurrentNode(nodes[1])
    panel.ui.presetComboBox.setCurrentText(options.preset)

    stages: dict[str, tuple[float, float]] = {}
    began = [time.process_time(), time.perf_counter()]

    def note(stage: str, cpu: float) -> None:
        now = time.perf_counter()
        before = stages.get(stage, (0.0, 0.0))
        stages[stage] = before[0] + cpu, before[1] + now - began[1]
        began[1] = now

    panel.ui.registerButton.click()
    note("inputs written, process started", time.process_time() - began[0])
    run = panel.registerPanel.run
    process = psutil.Process(run._job._process[0].pid)
    stage, used, latest, own = "process starting", 0.0, 0.0, time.process_time()
    while run.state == "running":
        with contextlib.suppress(psutil.Error):
            latest = max(latest, sum(process.cpu_times()[:2]))
        if run.message and run.message != stage:
            note(stage, latest - used)
            stage, used = run.message, latest
        own = time.process_time()
        app.processEvents()
        time.sleep(LOOK_SECONDS)
    note(stage, latest - used)
    used = latest
    stages["nodes made"] = time.process_time() - own, 0.0
    shown = sum(cpu for cpu, _ in stages.values())
    while not run.complete:
        with contextlib.suppress(psutil.Error):
            latest = max(latest, sum(process.cpu_times()[:2]))
        app.processEvents()
        time.sleep(LOOK_SECONDS)
    if run.state != "done":
        raise SystemExit(run.error + run.log)
    print("| stage | CPU, s | wall, s |\n|---|---|---|")
    for name, (cpu, wall) in stages.items():
        print(f"| {name} | {cpu:.2f} | {wall:.2f} |")
    print(f"| from the click to the nodes | {shown:.2f} | {run.seconds:.2f} |")
    print(f"| steps and report, after that | {latest - used:.2f} | {time.perf_counter() - began[1]:.2f} |")


if __name__ == "__main__":
    main()
