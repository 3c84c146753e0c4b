"""The whole way from a command to its files: seconds, peak memory, and what lies on the disk.

    python Testing/benchmarks/whole.py FIXED MOVING [--threads 2] [--presets fast accurate] [--picture FILE.png]

Each row is one `ulae register` in a process of its own, timed from its start to its end on an idle machine. The stages
are those that it reports; "start, files" is the rest. The picture has a bar for each row.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """What one command took.

    Attributes:
        name: what it was.
        seconds: from its start to its end.
        memory: the most resident memory that it had, GB.
        disk: what it left on the disk, MB.
        stages: seconds by stage, whose sum is `seconds`.
    """

    name: str
    seconds: float
    memory: float
    disk: float
    stages: dict[str, float]


def run(arguments: list[str], threads: int) -> tuple[float, float, dict[str, float]]:
    """Run a command; returns its seconds, the most resident memory (GB), and the seconds of its stages."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "ULAERegistrationLib", *arguments, "--json"],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.PIPE,
        text=True,
    )
    output = process.stdout.read()
    # Not the sum over its children, which share their memory with it until another program is started in them.
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(process.returncode)
    seconds = time.perf_counter() - began
    stages = json.loads(output)["seconds"]
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)  # bytes, or KiB
    return seconds, peak / 1e9, {**stages, "start, files": seconds - sum(stages.values())}


def draw(rows: list[Row], path: Path) -> None:
    """Draw a bar of stages for each row, the first on top."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.6 + 0.6 * len(rows)), layout="constrained")
    axes = figure.subplots()
    colours = {name: f"C{number}" for number, name in enumerate(max((row.stages for row in rows), key=len))}
    for place, row in enumerate(reversed(rows)):
        start = 0.0
        for name, seconds in row.stages.items():
            axes.barh(place, seconds, left=start, color=colours[name], edgecolor="white")
            if seconds > 0.03 * rows[-1].seconds:
                axes.text(start + seconds / 2, place, f"{seconds:.1f}", ha="center", va="center", fontsize=8)
            start += seconds
        axes.text(start + 0.2, place, f"{row.seconds:.1f} s, {row.memory:.2f} GB", va="center", fontsize=8)
    axes.set_yticks(range(len(rows)), [row.name for row in reversed(rows)], fontsize=8)
    axes.set(xlabel="seconds", xlim=(0, 1.25 * max(row.seconds for row in rows)))
    handles = [axes.barh(0, 0, color=colour) for colour in colours.values()]
    figure.legend(handles, colours, ncols=len(colours), loc="outside upper center", fontsize=8, frameon=False)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fixed")
    parser.add_argument("moving")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--presets", nargs="+", default=["fast", "accurate"])
    parser.add_argument("--picture", type=Path, help="draw the table to this file")
    options = parser.parse_args()
    rows = []
    print("| | wall, s | peak memory, GB | on disk, MB | of it, s |\n|---|---|---|---|---|")
    for preset in options.presets:
        for everything in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                result = Path(folder)
                targets = ["-o", str(result / "all")]
                if not everything:
                    targets = ["--transform", str(result / "t.h5"), "--warped", str(result / "w.nii.gz")]
                arguments = ["register", options.fixed, options.moving, "--preset", preset, *targets]
                seconds, memory, stages = run(arguments, options.threads)
                size = sum(path.stat().st_size for path in result.rglob("*") if path.is_file()) / 1e6
            what = "everything (`-o`)" if everything else "transform and warped volume"
            rows.append(Row(f"{preset}, {what}".replace("`", ""), seconds, memory, size, stages))
            of_it = ", ".join(f"{name} {value:.1f}" for name, value in stages.items())
            print(f"| {preset}, {what} | {seconds:.1f} | {memory:.2f} | {size:.0f} | {of_it} |", flush=True)
    if options.picture:
        draw(rows, options.picture)


if __name__ == "__main__":
    main()
