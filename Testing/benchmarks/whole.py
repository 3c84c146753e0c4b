"""The whole way from a command to its files: seconds, peak memory, and what lies on the disk.

    python Testing/benchmarks/whole.py FIXED MOVING [--threads 2] [--presets fast accurate]

Each row is one `ulae register` in a process of its own, timed from its start to its end on an idle machine. The stages
are those that `quality.json` reports; "start, files" is the rest.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

CHECK_SECONDS = 0.05  # between two looks at the memory


def run(arguments: list[str], threads: int) -> tuple[float, float]:
    """Run a command; returns its seconds and the most resident memory that it and its children had, GB."""
    began = time.perf_counter()
    process = psutil.Popen(
        [sys.executable, "-m", "ULAERegistrationLib", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.DEVNULL,
    )
    peak = 0
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            peak = max(peak, sum(one.memory_info().rss for one in [process, *process.children(recursive=True)]))
        time.sleep(CHECK_SECONDS)
    if process.returncode:
        raise SystemExit(process.returncode)
    return time.perf_counter() - began, peak / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fixed")
    parser.add_argument("moving")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--presets", nargs="+", default=["fast", "accurate"])
    options = parser.parse_args()
    print("| | wall, s | peak memory, GB | on disk, MB | of it, s |\n|---|---|---|---|---|")
    for preset in options.presets:
        for everything in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                result = Path(folder)
                targets = ["-o", str(result / "all")]
                if not everything:
                    targets = ["--transform", str(result / "t.h5"), "--warped", str(result / "w.nii.gz")]
                arguments = ["register", options.fixed, options.moving, "--preset", preset, "--quiet", *targets]
                seconds, memory = run(arguments, options.threads)
                size = sum(path.stat().st_size for path in result.rglob("*") if path.is_file()) / 1e6
                stages = ""
                if everything:
                    found = json.loads((result / "all" / "quality.json").read_text())["seconds"]
                    found["start, files"] = seconds - sum(found.values())
                    stages = ", ".join(f"{name} {value:.1f}" for name, value in found.items())
            what = "everything (`-o`)" if everything else "transform and warped volume"
            print(f"| {preset}, {what} | {seconds:.1f} | {memory:.2f} | {size:.0f} | {stages} |", flush=True)


if __name__ == "__main__":
    main()
