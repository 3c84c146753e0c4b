"""A registration seen in three slices of the canonical frame; only these slices are computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..flows.warp import warp
from .slices import Plane, planes_through

if TYPE_CHECKING:
    from ..result import Registration


class CanonicalView:
    """What the figures are made of, computed only where they look.

    Args:
        registration: its `fixed_canonical`, `moving_canonical`, `brain`, `steps` (each with `flow`), `flow` and
            `alignment` are read.
    """

    def __init__(self, registration: Registration) -> None:
        self.fixed = registration.fixed_canonical
        self.moving = registration.moving_canonical
        self.brain = registration.brain
        self.flows = [*(step.flow for step in registration.steps), registration.flow]
        self.alignment = registration.alignment
        self.planes = planes_through(self.brain)
        # One display window per image: two scanners' greys differ, and it is the anatomy that is compared.
        self.fixed_white, self.moving_white = (
            max(float(np.percentile(image[self.brain], 99.5)), 1e-3) for image in (self.fixed, self.moving)
        )

    def fixed_picture(self, plane: Plane) -> np.ndarray:
        """The fixed image, for display in [0, 1]."""
        return np.clip(plane.cut(self.fixed) / self.fixed_white, 0, 1)

    def stages(self, plane: Plane) -> list[np.ndarray]:
        """M, M1, M2 and W, for display in [0, 1]: the moving image sampled once through the flows so far."""
        moving = torch.from_numpy(self.moving)[None, None]
        maps = [self._flow(plane, self.flows[-1]) * 0]
        maps += [self._composed(plane, count) for count in range(1, len(self.flows) - 1)]
        maps += [self._flow(plane, self.flows[-1])]
        seen = [warp(moving, flow + _place(plane)).squeeze(2 + plane.axis)[0, 0].numpy() for flow in maps]
        return [np.clip(plane.oriented(plane.cropped(picture)) / self.moving_white, 0, 1) for picture in seen]

    def in_plane(self, plane: Plane, flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How far a flow goes to the right and down on the screen, mm."""
        right, down = plane.cut(flow[plane.across]), plane.cut(flow[plane.along])
        return right, down if plane.along == 1 else -down

    def around(self, plane: Plane, function: Callable[[Tensor], Tensor]) -> np.ndarray:
        """A function of the whole map that looks one voxel far (a Jacobian), on the plane."""
        part = slice(max(plane.index - 1, 0), plane.index + 2)
        thick = np.moveaxis(np.moveaxis(self.flows[-1], plane.axis + 1, 0)[part], 0, plane.axis + 1)
        values = function(torch.from_numpy(np.ascontiguousarray(thick))[None])[0].numpy()
        return plane.oriented(plane.cropped(np.take(values, plane.index - part.start, axis=plane.axis)))

    def _composed(self, plane: Plane, count: int) -> Tensor:
        """The first `count` flows composed (equation 2), on the plane alone."""
        composed = self._flow(plane, self.flows[count - 1])
        for flow in reversed(self.flows[: count - 1]):
            earlier = torch.from_numpy(flow)[None]
            composed = warp(earlier, composed + _place(plane), padding="border") + composed
        return composed

    def _flow(self, plane: Plane, flow: np.ndarray) -> Tensor:
        part = np.take(flow, [plane.index], axis=plane.axis + 1)
        return torch.from_numpy(np.ascontiguousarray(part))[None]


def _place(plane: Plane) -> Tensor:
    """Where a slab of one voxel lies: what must be added to its flow, because its own grid starts at 0."""
    place = torch.zeros(1, 3, 1, 1, 1)
    place[0, plane.axis] = plane.index
    return place
