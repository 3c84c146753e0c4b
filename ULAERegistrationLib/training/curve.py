"""The course of a training run as a picture."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure


def draw_curve(rows: list[dict], path: Path) -> None:
    """Loss, validation Dice and folding against hours of training.

    Args:
        rows: the lines of `curve.csv`, in order.
    """
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    panels = figure.subplots(1, 3)
    hours = [row["seconds"] / 3600 for row in rows]
    for panel, prefix, title in zip(
        panels, ("loss", "dice_", "folding_"), ("loss (last step)", "validation Dice", "folding, %"), strict=True
    ):
        for name in rows[0]:
            if name.startswith(prefix):
                panel.plot(hours, [row[name] for row in rows], marker=".", label=name.removeprefix(prefix) or None)
        for before, after, x in zip(rows, rows[1:], hours[1:], strict=False):
            if before["stage"] != after["stage"]:
                panel.axvline(x, color="0.8", linewidth=1)
        panel.set(title=title, xlabel="hours")
        panel.grid(alpha=0.3)
    panels[1].legend(frameon=False)
    figure.savefig(path, dpi=110)
