"""Read and write ULAE-net's weights: a safetensors file and its card (JSON), checked on reading; never pickle."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import RegistrationError
from ..files.writing import check_input_file, whole_or_nothing
from .ulaenet import ULAENet

MODELS = Path(__file__).parents[1] / "models"
SHIPPED = MODELS / "ulae-t1-brain.safetensors"
ARCHITECTURE = "ULAE-net"


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
    """Write weights and their card, `<name>.json` with the SHA-256; each file is written completely or not at all."""
    from safetensors.torch import save

    path = Path(path)
    data = save({name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()})
    text = json.dumps({"architecture": ARCHITECTURE, **card, "sha256": hashlib.sha256(data).hexdigest()}, indent=2)
    for target, content in ((path, data), (path.with_suffix(".json"), (text + "\n").encode())):
        with whole_or_nothing(target) as partial:
            partial.write_bytes(content)


def load_network(path: str | Path | None = None) -> tuple[ULAENet, Card]:
    """Load the network with its weights, in evaluation mode, and their card.

    Args:
        path: a `.safetensors` file, whose card may be missing; None takes the shipped weights.

    Raises:
        RegistrationError: where the file is missing, damaged, changed since its card was written, or of another
            network, or where its values are not finite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = Path(path) if path else SHIPPED
    if path.suffix != ".safetensors":
        raise RegistrationError(f"The model {path} is not a .safetensors file; other formats are not read.")
    check_input_file(path, "The model")
    data = path.read_bytes()
    card = _read_card(path)
    if "sha256" in card and hashlib.sha256(data).hexdigest() != card["sha256"]:
        raise RegistrationError(f"The model {path} differs from its card {path.stem}.json; fetch both files again.")
    try:
        weights = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise RegistrationError(
            f"The model {path} is damaged or no safetensors file ({error}); fetch it again."
        ) from error
    network = ULAENet()
    expected = {name: value.shape for name, value in network.state_dict().items()}
    if {name: value.shape for name, value in weights.items()} != expected:
        raise RegistrationError(
            f"The model {path} holds another network than ULAE-net; give weights made by `ulae train`."
        )
    if any(not value.isfinite().all() for value in weights.values()):
        raise RegistrationError(f"The model {path} holds values that are not numbers; fetch it again.")
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False), Card(path.stem, int(card.get("voxel_mm", 1)), card)


def _read_card(path: Path) -> dict[str, Any]:
    file = path.with_suffix(".json")
    if not file.is_file():
        return {}
    try:
        card = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise RegistrationError(f"The card {file} cannot be read ({error}); fetch it again or remove it.") from error
    if not isinstance(card, dict) or card.get("architecture", ARCHITECTURE) != ARCHITECTURE:
        raise RegistrationError(
            f"The card {file} is not that of a {ARCHITECTURE} model; give weights made by `ulae train`."
        )
    return card
