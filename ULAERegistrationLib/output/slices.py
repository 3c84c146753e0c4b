"""Panels of slices through a brain: planes, orientation letters, and a figure with panels of exact size.

The convention is radiological: the patient's left is on the viewer's right. Everything is drawn with matplotlib's
object interface, so that no global state changes and any thread may draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage


BACKGROUND = "#000000"
FOREGROUND = "#e6e8eb"
INCHES_PER_MM = 1 / 70
DOTS_PER_INCH = 125
GAP = 0.06  # inches
MARGIN = 0.12
TITLE = 0.27
BAR = 0.75
PNG_LEVEL = 1  # of zlib: half of the time of its usual 6, for files a sixth larger


@dataclass(frozen=True)
class Plane:
    """One slice through the canonical grid and its orientation on the screen.

    Attributes:
        name: "axial", "coronal" or "sagittal".
        axis: the array axis that the plane is normal to.
        index: its voxel index along that axis.
        box: the part of the grid that is shown, one Python slice per axis.
    """

    name: str
    axis: int
    index: int
    box: tuple[slice, slice, slice]

    @property
    def across(self) -> int:
        """The array axis that runs from left to right on the screen."""
        return 1 if self.axis == 0 else 0

    @property
    def along(self) -> int:
        """The array axis shown vertically: P grows downwards, S upwards."""
        return 1 if self.axis == 2 else 2

    @property
    def letters(self) -> tuple[str, str, str, str]:
        """The orientation letters at the left, right, top and bottom of the picture."""
        return (*("RL" if self.across == 0 else "AP"), *("AP" if self.along == 1 else "SI"))

    @property
    def size(self) -> tuple[int, int]:
        """The width and height in voxels of 1 mm."""
        return tuple(self.box[axis].stop - self.box[axis].start for axis in (self.across, self.along))

    def cut(self, volume: np.ndarray) -> np.ndarray:
        """Return this slice of a volume [L, P, S] as a picture: [row, column], the top row first."""
        return self.oriented(self.cropped(np.take(volume, self.index, axis=self.axis)))

    def cropped(self, section: np.ndarray) -> np.ndarray:
        """Crop a slice of the whole grid (in array order, without the plane's own axis) to the part that is shown."""
        return section[tuple(part for axis, part in enumerate(self.box) if axis != self.axis)]

    def oriented(self, section: np.ndarray) -> np.ndarray:
        """Turn a slice in array order to its orientation on the screen, [row, column]."""
        return section.T if self.along == 1 else section.T[::-1]


def planes_through(brain: np.ndarray, margin: int = 8) -> tuple[Plane, Plane, Plane]:
    """Choose an axial, a coronal and a sagittal plane through a brain, cropped to it.

    The sagittal plane lies an eighth of the brain's width left of the middle, where it shows cortex, not the gap
    between the hemispheres.

    Args:
        brain: bool [L, P, S].
        margin: of the crop around the brain, voxels.
    """
    ends = []
    for axis, length in enumerate(brain.shape):
        found = np.flatnonzero(brain.any(axis=tuple(a for a in range(3) if a != axis)))
        ends.append((int(found[0]), int(found[-1]) + 1) if len(found) else (0, length))
    first, second, third = (
        slice(max(a - margin, 0), min(b + margin, n)) for (a, b), n in zip(ends, brain.shape, strict=True)
    )
    box = (first, second, third)
    middle = [(a + b) // 2 for a, b in ends]
    left = middle[0] + (ends[0][1] - ends[0][0]) // 8
    return (
        Plane("axial", 2, middle[2], box),
        Plane("coronal", 1, middle[1], box),
        Plane("sagittal", 0, left, box),
    )


def canvas(
    rows: Sequence[Sequence[Plane]], titled: Sequence[int] = (0,), bar: bool = False
) -> tuple[Figure, list[list[Axes]]]:
    """Create a dark figure with one panel per plane, every panel at the same scale.

    Args:
        rows: the plane of each panel.
        titled: the rows with space above them for titles.
        bar: whether to leave space for colour bars on the right.

    Returns:
        The figure, and its panels by row.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    widths = [max(row[i].size[0] for row in rows) * INCHES_PER_MM for i in range(len(rows[0]))]
    heights = [max(plane.size[1] for plane in row) * INCHES_PER_MM for row in rows]
    above = [TITLE if number in titled else 0 for number in range(len(rows))]
    width = 2 * MARGIN + sum(widths) + GAP * (len(widths) - 1) + (BAR if bar else 0)
    height = 2 * MARGIN + sum(heights) + GAP * (len(heights) - 1) + sum(above)
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    axes: list[list[Axes]] = []
    top = height - MARGIN
    for row, row_height, title in zip(rows, heights, above, strict=True):
        top -= title + row_height
        axes.append([])
        left = MARGIN
        for plane, column_width in zip(row, widths, strict=True):
            w, h = (side * INCHES_PER_MM for side in plane.size)
            x, y = left + (column_width - w) / 2, top + (row_height - h) / 2
            panel = figure.add_axes((x / width, y / height, w / width, h / height))
            panel.set_axis_off()
            panel.set(xlim=(-0.5, plane.size[0] - 0.5), ylim=(plane.size[1] - 0.5, -0.5))
            axes[-1].append(panel)
            left += column_width + GAP
        top -= GAP
    return figure, axes


def title(panel: Axes, text: str, where: Literal["left", "center", "right"] = "center") -> None:
    """Write a title above a panel."""
    # Where `y` is given, matplotlib does not look for ticks that a title must not cover, which takes it half a second.
    panel.set_title(text, color=FOREGROUND, fontsize=10, pad=5, y=1.0, loc=where)


def show(panel: Axes, picture: np.ndarray, **how: Any) -> AxesImage:
    """Draw a picture [row, column] or [row, column, RGB] into a panel, voxels square."""
    return panel.imshow(picture, interpolation="bilinear", aspect="auto", extent=_extent(picture), **how)


def gray(panel: Axes, picture: np.ndarray, brightness: float = 1.0) -> AxesImage:
    """Draw a slice of an image with intensities in [0, 1]."""
    return show(panel, picture, cmap="gray", vmin=0, vmax=1 / brightness)


def letters(panel: Axes, plane: Plane) -> None:
    """Write the orientation letters at a panel's four edges."""
    from matplotlib.patheffects import withStroke

    ends = ((0.02, 0.5, "left"), (0.98, 0.5, "right"), (0.5, 0.98, "center"), (0.5, 0.02, "center"))
    for letter, (x, y, side) in zip(plane.letters, ends, strict=True):
        vertical = {0.98: "top", 0.02: "bottom"}.get(y, "center")
        text = panel.text(x, y, letter, color=FOREGROUND, fontsize=9, ha=side, va=vertical, transform=panel.transAxes)
        text.set_path_effects([withStroke(linewidth=2.5, foreground=BACKGROUND)])


def colour_bar(panel: Axes, image: AxesImage, label: str, ticks: dict[float, str] | None = None) -> None:
    """Draw a colour bar at the figure's right edge, as high as the panel."""
    figure = panel.get_figure(root=True)
    assert figure is not None
    width = figure.get_figwidth()
    at = panel.get_position()
    bar = figure.add_axes(((width - BAR) / width, at.y0, 0.12 / width, at.height))
    figure.colorbar(image, cax=bar)
    bar.set_ylabel(label, color=FOREGROUND, fontsize=9)
    bar.tick_params(colors=FOREGROUND, labelsize=8, length=2)
    bar.spines["outline"].set_visible(False)
    if ticks:
        bar.set_yticks(list(ticks), list(ticks.values()))


def png(figure: Figure) -> bytes:
    """Return the content of a PNG file of the figure."""
    file = BytesIO()
    how = {"compress_level": PNG_LEVEL}
    figure.savefig(file, format="png", facecolor=figure.get_facecolor(), pil_kwargs=how)
    return file.getvalue()


def _extent(picture: np.ndarray) -> tuple[float, float, float, float]:
    height, width = picture.shape[:2]
    return (-0.5, width - 0.5, height - 0.5, -0.5)
