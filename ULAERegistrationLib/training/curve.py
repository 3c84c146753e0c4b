"""The course of training as a picture: of one run while it goes, or of several, each begun from the one before.

python -m ULAERegistrationLib.training.curve first.csv second.csv -o curve.png
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path


def write_curve(rows: list[dict], folder: Path) -> None:
    """Write the course of a run to `curve.csv` and, where matplotlib is there, as a picture to `curve.png`."""
    write_rows(rows, folder / "curve.csv")
    try:
        draw_curve(rows, folder / "curve.png")
    except ImportError:  # machines that train may lack it
        return


def write_rows(rows: list[dict], path: Path) -> None:
    """Write rows of the same columns to a CSV file."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def draw_curve(rows: list[dict], path: Path, hours_of: str = "seconds") -> None:
    """Plot loss, validation Dice and folding against hours of training.

    Args:
        rows: the lines of `curve.csv`, in order.
        path: of the picture.
        hours_of: the column of the time: "seconds" (elapsed) or "cpu_seconds".
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.2), layout="constrained")
    panels = figure.subplots(1, 3)
    hours = [row[hours_of] / 3600 for row in rows]
    for panel, prefix, title in zip(
        panels, ("loss", "dice_", "folding_"), ("loss (last step)", "validation Dice", "folding, %"), strict=True
    ):
        for name in rows[0]:
            if name.startswith(prefix):
                panel.plot(hours, [row[name] for row in rows], marker=".", label=name.removeprefix(prefix) or None)
        for before, after, x in zip(rows, rows[1:], hours[1:], strict=False):
            if before["phase"] != after["phase"]:
                panel.axvline(x, color="0.8", linewidth=1)
        panel.set(title=title, xlabel="hours of CPU time" if hours_of == "cpu_seconds" else "hours")
        panel.grid(alpha=0.3)
    if panels[1].get_legend_handles_labels()[0]:  # nobody may validate
        panels[1].legend(frameon=False)
    figure.savefig(path, dpi=110)


def joined(files: Sequence[Path]) -> list[dict]:
    """Join the lines of several runs' `curve.csv` to one run's; phases and CPU time continue from file to file."""
    rows: list[dict] = []
    for file in files:
        with Path(file).open() as lines:
            found = [{name: float(value) for name, value in line.items()} for line in csv.DictReader(lines)]
        phases, seconds = (rows[-1]["phase"] + 1, rows[-1]["cpu_seconds"]) if rows else (0, 0)
        rows += [row | {"phase": row["phase"] + phases, "cpu_seconds": row["cpu_seconds"] + seconds} for row in found]
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    draw_curve(joined(options.runs), options.output, "cpu_seconds")
