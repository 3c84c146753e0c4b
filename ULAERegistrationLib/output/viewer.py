"""The interactive viewer of a report: all slices of every stage, for a browser, without a network.

Each stage is a JPEG picture of all its axial slices side by side, from which `viewer.html` reads the volume and cuts
the three planes.
"""

from __future__ import annotations

import json
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..flows.warp import warp
from ..tensors import array_of, tensor_of
from .canonical_view import CanonicalView
from .jpeg import jpeg
from .slices import Plane, planes_through

MARGIN = 4  # voxels shown around the brain
COLUMNS = 12  # slices side by side in a picture
FLOW_STEP = 4  # voxels between the samples of a flow; the browser interpolates between them
FLOW_LEVELS = 127  # of a signed byte


@dataclass(frozen=True, eq=False)
class StageVolume:
    """A stage of the registration within the part of the grid that is shown.

    Attributes:
        name: what it is called in the viewer.
        volume: intensities for display, uint8 `[L, P, S]`.
        flow: the displacement from this stage to the moving image, float32 `[3, L, P, S]` in voxels, every `FLOW_STEP`
            voxels; None where there is none.
    """

    name: str
    volume: np.ndarray
    flow: np.ndarray | None = None


def viewer(view: CanonicalView) -> str:
    """Return the viewer as a part of an HTML page, which fetches nothing: pictures, style and program are in it.

    Args:
        view: the registration.
    """
    planes = planes_through(view.brain, MARGIN)
    found = stages(view, planes[0])
    with ThreadPoolExecutor() as pool:  # pictures are written without holding Python's lock
        encoded = list(pool.map(_encoded, found))
    data = {
        "size": found[0].volume.shape,
        "columns": COLUMNS,
        "start": [plane.index - plane.box[plane.axis].start for plane in reversed(planes)],
        "flowStep": FLOW_STEP,
        "stages": encoded,
    }
    page = Path(__file__).with_name("viewer.html").read_text(encoding="utf-8")
    return f'<script type="application/json" id="viewer-data">{json.dumps(data)}</script>\n{page}'


def stages(view: CanonicalView, plane: Plane) -> list[StageVolume]:
    """Compute the moving image after the alignment and after each step, and the fixed image, in the box of a plane."""
    box = plane.box
    origin = (box[0].start, box[1].start, box[2].start)
    moving = tensor_of(view.moving)[None, None]
    found = [StageVolume("Moving", _gray(view.moving[box], view.moving_white))]
    for count, total in enumerate(view.totals, start=1):
        flow = tensor_of(np.ascontiguousarray(total[:, *box]))[None]
        seen = array_of(warp(moving, flow, origin=origin)[0, 0])
        coarse = array_of(flow[0, :, ::FLOW_STEP, ::FLOW_STEP, ::FLOW_STEP])
        found.append(StageVolume(f"φ{count}", _gray(seen, view.moving_white), coarse))
    return [*found, StageVolume("Fixed", _gray(view.fixed[box], view.fixed_white))]


def _gray(volume: np.ndarray, white: float) -> np.ndarray:
    return (np.clip(volume / white, 0, 1) * 255 + 0.5).astype(np.uint8)


def _encoded(stage: StageVolume) -> dict[str, object]:
    """Return a stage as JSON holds it: the picture as a data address, the flow as signed bytes in base64."""
    encoded: dict[str, object] = {
        "name": stage.name,
        "image": "data:image/jpeg;base64," + _base64(jpeg(side_by_side(stage.volume))),
    }
    if stage.flow is not None:
        largest = max(float(np.abs(stage.flow).max()), 1e-6)
        encoded["flowSize"] = stage.flow.shape[1:]
        encoded["flowScale"] = largest / FLOW_LEVELS
        encoded["flow"] = _base64(np.rint(stage.flow / largest * FLOW_LEVELS).astype(np.int8).tobytes())
    return encoded


def side_by_side(volume: np.ndarray) -> np.ndarray:
    """Lay out the axial slices of a volume `[L, P, S]` in one picture `[row, column]`, `COLUMNS` in a row.

    Within a slice, rows run to posterior and columns to the left; slices run to superior.
    """
    length, depth, height = volume.shape
    rows = -(-height // COLUMNS)
    padded = np.zeros((rows * COLUMNS, depth, length), np.uint8)
    padded[:height] = volume.transpose(2, 1, 0)
    tiles = padded.reshape(rows, COLUMNS, depth, length).transpose(0, 2, 1, 3)
    return tiles.reshape(rows * depth, COLUMNS * length)


def _base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")
