"""The flows of the accumulative steps together with their composition, which is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .warp import compose_all


@dataclass(frozen=True, eq=False)
class ComposedFlows:
    """Flows and their composition.

    Attributes:
        flows: phi1, phi2, ... of equation 2, each float32 `[1, 3, L, P, S]`, voxels of their own grid.
        total: their composition (`compose_all`), in the same form.
    """

    flows: list[Tensor]
    total: Tensor

    @classmethod
    def of(cls, flows: Sequence[Tensor]) -> ComposedFlows:
        """Compose flows."""
        return cls(list(flows), compose_all(flows))

    def zeros(self) -> ComposedFlows:
        """Return as many flows that move nothing."""
        return ComposedFlows([torch.zeros_like(flow) for flow in self.flows], torch.zeros_like(self.total))

    def to(self, device: torch.device) -> ComposedFlows:
        """Return the same flows on a device."""
        return ComposedFlows([flow.to(device) for flow in self.flows], self.total.to(device))
