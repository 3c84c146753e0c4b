"""Figures of a registration: the paper's figures 3 and 4, before and after, and the deformation itself.

All show the same three slices of the canonical frame. Only these slices are computed, so all figures together take a
few seconds. matplotlib is imported when a figure is drawn; Slicer may lack it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..flows.jacobian import jacobian, smallest_jacobian
from ..quality_measures import displacement_mm
from .canonical_view import CanonicalView
from .slices import FOREGROUND, Plane, canvas, colour_bar, gray, letters, png, show, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


GRID_STEP = 7  # mm between the lines of a deformed grid
TILE = 20  # mm, side of a checkerboard's squares
GRID_COLOUR = "#ffcf6b"
FOLD_COLOUR = (1.0, 0.9, 0.0)
JACOBIAN_TICKS = {-2.0: "¼", -1.0: "½", 0.0: "1", 1.0: "2", 2.0: "4"}


@dataclass(frozen=True)
class ReportFigure:
    """A finished figure.

    Attributes:
        name: of its file, without ending.
        title, caption: what it shows and how to read it.
        alt: text for readers who cannot see it.
        png: the file's content.
    """

    name: str
    title: str
    caption: str
    alt: str
    png: bytes = field(repr=False)


def draw(view: CanonicalView) -> list[ReportFigure]:
    """Draw all figures of a registration, the most informative first.

    Raises:
        ModuleNotFoundError: where matplotlib is missing.
    """
    return [
        ReportFigure(
            "overlay",
            "Before and after",
            "Fixed brain in green, moving brain in magenta, after the linear alignment alone and after the whole "
            "registration. Where both agree the picture is grey. The patient's left is on the right.",
            "Three slices of both brains on top of each other, before and after registration.",
            png(overlay(view)),
        ),
        ReportFigure(
            "checkerboard",
            "Checkerboard",
            f"Fields of {TILE} mm alternate between the fixed and the moving brain. Where the brains match, edges run "
            "on from field to field.",
            "Checkerboard of both brains in three slices, before and after registration.",
            png(checkerboard(view)),
        ),
        ReportFigure(
            "steps",
            "The three accumulative steps",
            "Top: the moving image after the linear alignment (M) and after each step (M1, M2, W), and the fixed image "
            "(F). Middle: where each step, and all together, take a point on its way from the fixed to the moving "
            "image, within the plane; hue is the direction, brightness the length. Bottom: the same for a straight "
            f"grid of {GRID_STEP} mm, over the image that the step is applied to. After figure 3 of the paper.",
            "Moving image, intermediate warps and fixed image, above the flows as colours and as deformed grids.",
            png(steps(view)),
        ),
        ReportFigure(
            "differences",
            "What each step changes",
            "Absolute differences of intensity between one step and the next, and between both brains before and "
            "after. Brighter is more. After figure 4 of the paper.",
            "Absolute differences between the steps of the registration, and to the fixed image, in three planes.",
            png(differences(view)),
        ),
        ReportFigure(
            "deformation",
            "The deformation",
            "Top: Jacobian determinant of the non-linear map. Red: the moving brain is larger there and is compressed; "
            "blue: it is smaller and is stretched; beyond 4 and ¼ the colours stay the same; yellow: the map folds. "
            "Bottom: how far each point moves, without the linear part.",
            "Maps of the Jacobian determinant and of the displacement in three planes.",
            png(deformation(view)),
        ),
    ]


def overlay(view: CanonicalView) -> Figure:
    """Draw both brains in two colours, before (top) and after (bottom) the registration."""
    return _before_after(view, lambda fixed, moving: np.dstack([moving, fixed, moving]))


def checkerboard(view: CanonicalView) -> Figure:
    """Draw both brains in alternating squares, before (top) and after (bottom) the registration."""

    def mixed(fixed: np.ndarray, moving: np.ndarray) -> np.ndarray:
        rows, columns = np.indices(fixed.shape) // TILE
        return np.repeat(np.where((rows + columns) % 2, moving, fixed)[..., None], 3, axis=2)

    return _before_after(view, mixed)


def _before_after(view: CanonicalView, mix: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Figure:
    figure, rows = canvas([view.planes] * 2, titled=(0, 1))
    title(rows[0][0], "Before: linear alignment alone", "left")
    title(rows[1][0], "After registration", "left")
    for column, plane in enumerate(view.planes):
        fixed, (before, *_, after) = view.fixed_view(plane), view.views(plane)
        show(rows[0][column], mix(fixed, before))
        show(rows[1][column], mix(fixed, after))
        for row in rows:
            letters(row[column], plane)
    return figure


def steps(view: CanonicalView) -> Figure:
    """Draw the paper's figure 3 in the axial plane."""
    plane = view.planes[0]
    views = view.views(plane)
    pictures = [*views, view.fixed_view(plane)]
    titles = ["moving (M)", *(f"M{i}" for i in range(1, len(views) - 1)), "warped (W)", "fixed (F)"]
    flows = [view.in_plane(plane, flow) for flow in view.flows]
    names = [*(f"φ{i}" for i in range(1, len(flows))), "whole map φ"]
    full = max(float(np.percentile(np.hypot(*flows[-1]), 99.5)), 0.5)
    figure, (top, middle, bottom) = canvas([[plane] * len(pictures)] * 3, titled=(0, 1))
    for panel, picture, name in zip(top, pictures, titles, strict=True):
        title(panel, name)
        gray(panel, picture)
    letters(top[0], plane)
    for panel, flow, name in zip(middle[1:], flows, names, strict=True):
        title(panel, name)
        show(panel, colours(*flow, full))
        panel.contour(plane.cut(view.brain), levels=[0.5], colors=FOREGROUND, linewidths=0.7)
    # Each deformed grid is drawn over the image that its flow is applied to; that of the whole map over M.
    for panel, flow, picture in zip(bottom[1:], flows, [*views[:-1], views[0]], strict=True):
        gray(panel, picture, brightness=0.35)
        _grid_lines(panel, *flow)
    _key(middle[0], plane, full)
    gray(bottom[0], views[0], brightness=0.35)
    _grid_lines(bottom[0], *(np.zeros_like(views[0]),) * 2)
    return figure


def differences(view: CanonicalView) -> Figure:
    """Draw the paper's figure 4, and the difference between both brains before and after."""
    figure, rows = canvas([[plane] * 5 for plane in view.planes], bar=True)
    titles = ("|M1 − M|", "|M2 − M1|", "|W − M2|", "|F − M| before", "|F − W| after")
    for panel, name in zip(rows[0], titles, strict=True):
        title(panel, name)
    for row, plane in zip(rows, view.planes, strict=True):
        fixed, views = view.fixed_view(plane), view.views(plane)
        pairs = [*zip(views[1:], views[:-1], strict=True), (fixed, views[0]), (fixed, views[-1])]
        for panel, (a, b) in zip(row, pairs, strict=True):
            image = show(panel, np.abs(a - b), cmap="inferno", vmin=0, vmax=0.5)
        letters(row[0], plane)
    colour_bar(rows[0][-1], image, "difference of intensity")
    return figure


def deformation(view: CanonicalView) -> Figure:
    """Draw the Jacobian determinant (logarithmic, white is 1) and the displacement inside the brain."""
    figure, (top, bottom) = canvas([view.planes] * 2, titled=(0, 1), bar=True)
    title(top[0], "Jacobian determinant", "left")
    title(bottom[0], "Displacement", "left")
    lengths = [displacement_mm(np.stack([plane.cut(c) for c in view.flow]), view.alignment) for plane in view.planes]
    longest = max(
        1.0,
        *(
            float(length[plane.cut(view.brain)].max(initial=0))
            for length, plane in zip(lengths, view.planes, strict=True)
        ),
    )
    for column, plane in enumerate(view.planes):
        inside = plane.cut(view.brain)
        logarithm = np.log2(np.maximum(view.around(plane, jacobian), 1e-3))
        folds = view.around(plane, smallest_jacobian) <= 0
        volume = show(top[column], _inside(logarithm, inside), cmap="RdBu_r", vmin=-2, vmax=2)
        show(top[column], np.dstack([np.full(folds.shape, c) for c in FOLD_COLOUR] + [(folds & inside).astype(float)]))
        length = show(bottom[column], _inside(lengths[column], inside), cmap="viridis", vmin=0, vmax=longest)
        letters(top[column], plane)
        letters(bottom[column], plane)
    colour_bar(top[-1], volume, "Jacobian determinant", JACOBIAN_TICKS)
    colour_bar(bottom[-1], length, "displacement (mm)")
    return figure


def colours(right: np.ndarray, down: np.ndarray, full: float) -> np.ndarray:
    """Convert a flow within the plane to colours: hue is the direction, brightness the length.

    Args:
        right, down: displacement on the screen, mm.
        full: the length of full brightness, mm.

    Returns:
        [row, column, RGB] in [0, 1]; black means no displacement.
    """
    from matplotlib.colors import hsv_to_rgb

    hue = (np.arctan2(-down, right) / (2 * np.pi)) % 1
    # The square root makes small displacements visible.
    brightness = np.sqrt(np.clip(np.hypot(right, down) / full, 0, 1))
    return hsv_to_rgb(np.stack([hue, np.full_like(hue, 0.85), brightness], axis=-1))


def _key(panel: Axes, plane: Plane, full: float) -> None:
    """Draw a colour wheel in the middle of an empty panel."""
    width, height = plane.size
    radius = 0.3 * min(plane.size)
    x, y = np.meshgrid(np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2)
    wheel = colours(x, y, radius)
    show(panel, wheel * (np.hypot(x, y) <= radius)[..., None])
    letters(panel, plane)
    title(panel, "direction and length")
    panel.text(0.5, 0.12, f"rim: {full:.1f} mm", color=FOREGROUND, fontsize=9, ha="center", transform=panel.transAxes)


def _grid_lines(panel: Axes, right: np.ndarray, down: np.ndarray) -> None:
    from matplotlib.collections import LineCollection

    rows, columns = np.indices(right.shape)
    points = np.stack([columns + right, rows + down], axis=-1)
    start = GRID_STEP // 2
    lines = [*points[start::GRID_STEP], *points[:, start::GRID_STEP].swapaxes(0, 1)]
    panel.add_collection(LineCollection(lines, colors=GRID_COLOUR, linewidths=0.6))


def _inside(values: np.ndarray, mask: np.ndarray) -> np.ma.MaskedArray:
    return np.ma.masked_array(values, ~mask)
