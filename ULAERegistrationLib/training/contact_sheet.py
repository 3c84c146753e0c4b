"""A picture of many brains beside each other, by which one sees at a glance whether they lie right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..geometry.canonical import template_brain
from ..output.slices import BACKGROUND, FOREGROUND, planes_through, png

OUTLINE = np.array((255, 96, 64), np.uint8)
TITLE = 18  # pixels above each brain
GAP = 6  # between the slices of a brain, and between brains
DOTS_PER_INCH = 100


def contact_sheet(files: Sequence[Path]) -> bytes:
    """Draw brains in three slices each, under their names, with the outline of the template's brain.

    Args:
        files: one or more `<person>_t1.nii.gz`, uint8 on the canonical grid.

    Returns:
        The content of a PNG file, a pixel for each mm.
    """
    pictures = [_three_slices(sitk.GetArrayFromImage(sitk.ReadImage(str(file))).transpose(2, 1, 0)) for file in files]
    height, width = (side + extra for side, extra in zip(pictures[0].shape, (TITLE + GAP, GAP), strict=False))
    columns = max(1, round(math.sqrt(len(files) * height / width)))
    rows = math.ceil(len(files) / columns)
    sheet = np.zeros((rows * height + GAP, columns * width + GAP, 3), np.uint8)
    places = [(GAP + number // columns * height, GAP + number % columns * width) for number in range(len(files))]
    for picture, (top, left) in zip(pictures, places, strict=True):
        sheet[top + TITLE : top + TITLE + picture.shape[0], left : left + picture.shape[1]] = picture
    figure = Figure(figsize=(sheet.shape[1] / DOTS_PER_INCH, sheet.shape[0] / DOTS_PER_INCH), dpi=DOTS_PER_INCH)
    figure.set_facecolor(BACKGROUND)
    FigureCanvasAgg(figure)
    figure.figimage(sheet)
    for file, (top, left) in zip(files, places, strict=True):
        x, y = left / sheet.shape[1], 1 - (top + TITLE / 2) / sheet.shape[0]
        name = file.name.removesuffix("_t1.nii.gz")
        figure.text(x, y, name, color=FOREGROUND, fontsize=9, va="center", parse_math=False)
    return png(figure)


def _three_slices(brain: np.ndarray) -> np.ndarray:
    """Draw the axial, coronal and sagittal slice through the template's brain, uint8 [row, column, RGB].

    Args:
        brain: uint8 [L, P, S] on the canonical grid.
    """
    inside = template_brain()
    slices = []
    for plane in planes_through(inside):
        grey, within = plane.cut(brain), plane.cut(inside)
        around = [np.roll(within, step, axis) for axis in (0, 1) for step in (-1, 1)]
        picture = np.repeat(grey[..., None], 3, axis=2)
        picture[within & ~np.logical_and.reduce(around)] = OUTLINE
        slices.append(picture)
    height = max(len(picture) for picture in slices)
    return np.hstack([np.pad(picture, ((0, height - len(picture)), (0, GAP), (0, 0))) for picture in slices])
