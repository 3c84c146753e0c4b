"""Cost against size: one painted pair of brains, resampled to more and more voxels, each registered by itself.

    python Testing/benchmarks/sizes.py [-o docs/images] [--threads 2] [--sides 128 192 256 384 512]

The network's grid is the same for scans of all sizes, so that only what reads, samples and writes them grows. Each row
is one `ulae register --preset fast` with transform and warped volume, in a process of its own. It writes `sizes.csv`
and `sizes.png`.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import SimpleITK as sitk

from ULAERegistrationLib.simulation import simulate

EXTENT = 192.0  # mm, side of the cube that every scan shows
COLUMNS = ("voxels along a side", "voxel, mm", "CPU, s", "wall, s", "peak memory, GB")
KILOBYTES = 1 if sys.platform == "darwin" else 1024  # the system's unit of the peak memory, bytes


def enlarged(image: sitk.Image, side: int) -> sitk.Image:
    """Resample an image to a cube of `side` voxels along each axis that shows `EXTENT` mm around its middle."""
    grid = sitk.Image([side] * 3, image.GetPixelID())
    spacing = EXTENT / side
    grid.SetSpacing([spacing] * 3)
    middle = image.TransformContinuousIndexToPhysicalPoint([(size - 1) / 2 for size in image.GetSize()])
    grid.SetOrigin([centre - (side - 1) / 2 * spacing for centre in middle])
    return sitk.Resample(image, grid, sitk.Transform(), sitk.sitkLinear)


def measured(side: int, threads: int) -> dict[str, float]:
    """Register the pair at one size; returns a row of the table."""
    with tempfile.TemporaryDirectory(prefix="ulae-") as folder:
        pair = simulate()
        files = []
        for name, image in (("fixed", pair.subject), ("moving", pair.template)):
            files.append(str(Path(folder) / f"{name}.nii.gz"))
            sitk.WriteImage(enlarged(image, side), files[-1], useCompression=True, compressionLevel=1)
        targets = ["--transform", str(Path(folder) / "t.h5"), "--warped", str(Path(folder) / "w.nii.gz")]
        command = [sys.executable, "-m", "ULAERegistrationLib", "register", *files, "--preset", "fast", *targets]
        began = time.perf_counter()
        process = subprocess.Popen([*command, "--quiet"], env={**os.environ, "OMP_NUM_THREADS": str(threads)})
        _, status, used = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"the registration of {side} voxels a side failed")
        values = (
            side,
            EXTENT / side,
            used.ru_utime + used.ru_stime,
            time.perf_counter() - began,
            used.ru_maxrss * KILOBYTES / 1e9,  # never below this program's own peak, which is half of the smallest
        )
    return dict(zip(COLUMNS, values, strict=True))


def draw(rows: list[dict[str, float]], path: Path) -> None:
    """Draw seconds and memory over the number of voxels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    voxels = [row[COLUMNS[0]] ** 3 / 1e6 for row in rows]
    for axes, column in ((left, "CPU, s"), (right, "peak memory, GB")):
        values = [row[column] for row in rows]
        axes.plot(voxels, values, "o-", color="#1f5fa8")
        for number, (row, x, y) in enumerate(zip(rows, voxels, values, strict=True)):
            place = (0, -14 if number % 2 else 7)  # the smallest sizes lie close together
            side = f"{row[COLUMNS[0]]:.0f}³"
            axes.annotate(side, (x, y), xytext=place, textcoords="offset points", ha="center", fontsize=8)
        axes.margins(x=0.08)
        axes.set(xlabel="voxels of each scan, millions", ylabel=column, ylim=(0, 1.1 * max(values)))
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parents[2] / "docs" / "images")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--sides", type=int, nargs="+", default=[128, 192, 256, 384, 512])
    options = parser.parse_args()
    rows = []
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS))
    for side in options.sides:
        rows.append(measured(side, options.threads))
        print("| " + " | ".join(f"{value:.4g}" for value in rows[-1].values()) + " |", flush=True)
    options.output.mkdir(parents=True, exist_ok=True)
    with (options.output / "sizes.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows({name: f"{value:.4g}" for name, value in row.items()} for row in rows)
    draw(rows, options.output / "sizes.png")


if __name__ == "__main__":
    main()
