"""ULAE-net with its weights, and the card that describes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import RegistrationError
from ..shipped import MODELS
from .ulaenet import ULAENet
from .weight_files import read_weights, save_weights

SHIPPED = MODELS / "ulae-t1-brain.safetensors"
ARCHITECTURE = "ULAE-net"
VOXELS_MM = (1, 2, 4)  # which the canonical grid is a whole number of


@dataclass(frozen=True)
class Card:
    """The description of a weights file.

    Attributes:
        name: the file's name without its ending.
        voxel_mm: side of the voxels that the weights were trained on and that the network runs on: 1, 2 or 4 mm.
        details: the card's other entries: licence, data, recipe, measured accuracy, SHA-256.
    """

    name: str
    voxel_mm: int
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def licence(self) -> str:
        """The licence of the weights, or "unknown"."""
        return str(self.details.get("licence", "unknown"))


def save_network(network: ULAENet, path: Path, card: dict[str, Any]) -> None:
    """Write a network's weights and their card (see `save_weights`)."""
    save_weights(network.state_dict(), path, {"architecture": ARCHITECTURE, **card})


def load_network(path: str | Path | None = None) -> tuple[ULAENet, Card]:
    """Load the network with its weights, in evaluation mode, and their card.

    Args:
        path: a `.safetensors` file, whose card may be missing; None takes the shipped weights.

    Raises:
        RegistrationError: as `read_weights` raises it, and for a card with a voxel size that the network has not.
    """
    path = Path(path) if path else SHIPPED
    network = ULAENet()
    weights, details = read_weights(path, network, ARCHITECTURE)
    voxel_mm = details.get("voxel_mm", 1)
    if voxel_mm not in VOXELS_MM:
        raise RegistrationError(
            f"The card {path.stem}.json gives voxels of {voxel_mm!r} mm (voxel_mm); weights are for 1, 2 or 4 mm."
        )
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False), Card(path.stem, int(voxel_mm), details)
