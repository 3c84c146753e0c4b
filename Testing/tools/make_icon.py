"""Draw the module's icon: a straight line bent more with each of three steps, and the grid that goes with it.

python Testing/tools/make_icon.py    # from the repository's root; writes ULAERegistration.png and the module's icon
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

ROOT = Path(__file__).parents[2]
SIZES = {
    ROOT / "ULAERegistration.png": 256,
    ROOT / "ULAERegistration" / "Resources" / "Icons" / "ULAERegistration.png": 128,
}
GROUND, EDGE = "#14304f", "#8fa9c4"  # the edge sets the dark ground off from a dark window
STAGES = ("#9fc3ea", "#ffe0a3", "#ffb84d", "#ff8c1a")  # the moving image, and after each step
ROWS = (0.25, 0.5, 0.75)
COLUMNS = (0.17, 0.385, 0.60, 0.80)
BEND = 0.075  # of the icon's width, of the last line


def bent(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bend points, more to the right, where more steps have been taken."""
    steps = np.clip((x - COLUMNS[0]) / (COLUMNS[-1] - COLUMNS[0]), 0, 1.15)
    return x + BEND * steps * np.sin(2 * np.pi * y), y + 0.8 * BEND * steps * np.sin(2 * np.pi * (x - 0.05))


def draw(size: int) -> Figure:
    """Draw the icon, `size` pixels wide and high, on a transparent ground."""
    figure = Figure(figsize=(1, 1), dpi=size)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_axis_off()
    form = "round,pad=0,rounding_size=0.18"
    place = {"xy": (0.03, 0.03), "width": 0.94, "height": 0.94, "boxstyle": form}
    ground = axes.add_patch(FancyBboxPatch(**place, facecolor=GROUND, edgecolor="none"))
    along = np.linspace(-0.1, 1.1, 200)
    for row in ROWS:
        axes.plot(*bent(along, np.full_like(along, row)), color="#d7e3f0", linewidth=3.2, clip_path=ground)
    for column, colour in zip(COLUMNS, STAGES, strict=True):
        line = bent(np.full_like(along, column), along)
        axes.plot(*line, color=GROUND, linewidth=8.0, clip_path=ground)  # parts the crossings
        axes.plot(*line, color=colour, linewidth=5.0, clip_path=ground)
    axes.add_patch(FancyBboxPatch(**place, facecolor="none", edgecolor=EDGE, linewidth=1.6, zorder=5))
    return figure


if __name__ == "__main__":
    for path, size in SIZES.items():
        draw(size).savefig(path, transparent=True)
