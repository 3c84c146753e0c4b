"""Read and write a network's weights: a safetensors file and its card (JSON), checked on reading; never pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..errors import RegistrationError
from ..files.writing import check_input_file, whole_or_nothing


def save_weights(weights: Mapping[str, Tensor], path: Path, card: dict[str, Any]) -> None:
    """Write weights and their card, `<name>.json` with the SHA-256; each file is written completely or not at all."""
    from safetensors.torch import save

    path = Path(path)
    data = save({name: value.detach().cpu().contiguous() for name, value in weights.items()})
    text = json.dumps({**card, "sha256": hashlib.sha256(data).hexdigest()}, indent=2) + "\n"
    for target, content in ((path, data), (path.with_suffix(".json"), text.encode())):
        with whole_or_nothing(target) as partial:
            partial.write_bytes(content)


def read_weights(path: Path, network: nn.Module, architecture: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read weights and their card, and check that they fit a network.

    Args:
        path: a `.safetensors` file; its card may be missing.
        network: a network of the architecture that the weights are for.
        architecture: its name, as the card has it.

    Returns:
        The tensors by name, and the card; an empty one where it is missing.

    Raises:
        RegistrationError: where the file is missing, damaged, changed since its card was written, or of another
            network, or where its values are not finite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = Path(path)
    if path.suffix != ".safetensors":
        raise RegistrationError(f"The model {path} is not a .safetensors file; other formats are not read.")
    check_input_file(path, "The model")
    data = path.read_bytes()
    card = _read_card(path.with_suffix(".json"), architecture)
    if "sha256" in card and hashlib.sha256(data).hexdigest() != card["sha256"]:
        raise RegistrationError(f"The model {path} differs from its card {path.stem}.json; fetch both files again.")
    try:
        weights = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise RegistrationError(
            f"The model {path} is damaged or no safetensors file ({error}); fetch it again."
        ) from error
    expected = {name: value.shape for name, value in network.state_dict().items()}
    if {name: value.shape for name, value in weights.items()} != expected:
        raise RegistrationError(
            f"The model {path} holds another network than {architecture}; give weights that were trained for it."
        )
    if any(not value.isfinite().all() for value in weights.values()):
        raise RegistrationError(f"The model {path} holds values that are not numbers; fetch it again.")
    return weights, card


def _read_card(file: Path, architecture: str) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        card = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise RegistrationError(f"The card {file} cannot be read ({error}); fetch it again or remove it.") from error
    if not isinstance(card, dict) or card.get("architecture", architecture) != architecture:
        raise RegistrationError(
            f"The card {file} is not that of a model of {architecture}; give weights that were trained for it."
        )
    return card
