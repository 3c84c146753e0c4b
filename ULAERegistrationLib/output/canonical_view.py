"""A registration in three slices of the canonical frame; only these slices are computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..flows.warp import warp
from ..geometry.alignment import Alignment
from ..tensors import array_of, tensor_of
from .slices import Plane, planes_through


@dataclass(frozen=True, eq=False)
class CanonicalView:
    """The data of the figures, computed only in the slices that they show.

    Attributes:
        fixed, moving: the images on the canonical grid, float32 `[L, P, S]` in [0, 1]; moving after the alignment
            alone.
        brain: the fixed image's brain, bool `[L, P, S]`.
        steps: the flow of each step, float32 `[3, L, P, S]`, voxels.
        totals: the composition of each step with those before it (equation 2), in the same form; the last one is the
            whole map.
        alignment: converts displacements to the fixed image's millimetres; None leaves them in the canonical grid's.
    """

    fixed: np.ndarray
    moving: np.ndarray
    brain: np.ndarray
    steps: Sequence[np.ndarray]
    totals: Sequence[np.ndarray]
    alignment: Alignment | None = None
    _sampled: dict[tuple[int, int], list[np.ndarray]] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def planes(self) -> tuple[Plane, Plane, Plane]:
        """The axial, coronal and sagittal plane through the brain."""
        return planes_through(self.brain)

    @property
    def flow(self) -> np.ndarray:
        """The whole map."""
        return self.totals[-1]

    @property
    def flows(self) -> list[np.ndarray]:
        """The flow of each step, and the whole map."""
        return [*self.steps, self.flow]

    @cached_property
    def fixed_white(self) -> float:
        """The fixed image's intensity that is shown white."""
        return self._white(self.fixed)

    @cached_property
    def moving_white(self) -> float:
        """The moving image's intensity that is shown white, as two scanners' intensities differ."""
        return self._white(self.moving)

    def fixed_view(self, plane: Plane) -> np.ndarray:
        """Return a slice of the fixed image for display, in [0, 1]."""
        return np.clip(plane.cut(self.fixed) / self.fixed_white, 0, 1)

    def views(self, plane: Plane) -> list[np.ndarray]:
        """Return slices of M, M1, M2 and W for display, in [0, 1]; each samples the moving image once."""
        place = plane.axis, plane.index
        if place not in self._sampled:
            self._sampled[place] = self._slices(plane)
        return [np.clip(plane.oriented(plane.cropped(one)) / self.moving_white, 0, 1) for one in self._sampled[place]]

    def _slices(self, plane: Plane) -> list[np.ndarray]:
        """Sample whole slices of M, M1, M2 and W."""
        moving = tensor_of(self.moving)[None, None]
        origin = _origin(plane)
        maps = [tensor_of(np.take(total, [plane.index], axis=plane.axis + 1))[None] for total in self.totals]
        maps.insert(0, torch.zeros_like(maps[0]))
        return [array_of(warp(moving, flow, origin=origin).squeeze(2 + plane.axis)[0, 0]) for flow in maps]

    def in_plane(self, plane: Plane, flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return a flow's displacements to the right and down on the screen, mm of the canonical grid."""
        right, down = plane.cut(flow[plane.across]), plane.cut(flow[plane.along])
        return right, down if plane.along == 1 else -down

    def around(self, plane: Plane, function: Callable[[Tensor], Tensor]) -> np.ndarray:
        """Compute a function of the whole map on a plane; it may read neighbouring voxels, as a Jacobian does."""
        part = slice(max(plane.index - 1, 0), plane.index + 2)
        thick = np.moveaxis(np.moveaxis(self.flow, plane.axis + 1, 0)[part], 0, plane.axis + 1)
        values = array_of(function(tensor_of(thick)[None])[0])
        return plane.oriented(plane.cropped(np.take(values, plane.index - part.start, axis=plane.axis)))

    def _white(self, image: np.ndarray) -> float:
        return max(float(np.percentile(image[self.brain], 99.5)), 1e-3)


def _origin(plane: Plane) -> tuple[int, int, int]:
    """Return the voxel of the grid at which a plane begins."""
    first = [0, 0, 0]
    first[plane.axis] = plane.index
    return first[0], first[1], first[2]
