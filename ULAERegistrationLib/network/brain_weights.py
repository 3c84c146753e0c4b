"""Read and write the brain extraction network's weights: a safetensors file and its card (JSON), checked on reading."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..errors import RegistrationError
from ..files.writing import check_input_file, whole_or_nothing

SHIPPED = Path(__file__).parents[1] / "models" / "ulae-brain.safetensors"


def save_weights(weights: dict[str, Tensor], path: Path, card: dict[str, Any]) -> None:
    """Write weights and their card, `<name>.json` with the SHA-256; each file is written completely or not at all."""
    from safetensors.torch import save

    path = Path(path)
    data = save({name: value.detach().cpu().contiguous() for name, value in weights.items()})
    text = json.dumps({**card, "sha256": hashlib.sha256(data).hexdigest()}, indent=2) + "\n"
    for target, content in ((path, data), (path.with_suffix(".json"), text.encode())):
        with whole_or_nothing(target) as partial:
            partial.write_bytes(content)


def read_weights(path: Path, network: nn.Module) -> dict[str, Tensor]:
    """Read weights, and check that they fit a network.

    Args:
        path: a `.safetensors` file with its card beside it.
        network: a network of the architecture that the weights are for.

    Returns:
        The tensors by name.

    Raises:
        RegistrationError: where the file is missing, damaged, changed since its card was written, or of another
            network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = Path(path)
    if path.suffix != ".safetensors":
        raise RegistrationError(f"The brain model {path} is not a .safetensors file; other formats are not read.")
    check_input_file(path, "The brain model")
    data = path.read_bytes()
    try:
        card = json.loads(path.with_suffix(".json").read_text())
        weights = load(data)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise RegistrationError(
            f"The brain model {path} or its card is damaged ({error}); fetch both again."
        ) from error
    if hashlib.sha256(data).hexdigest() != card.get("sha256"):
        raise RegistrationError(f"The brain model {path} differs from its card {path.stem}.json; fetch both again.")
    expected = {name: value.shape for name, value in network.state_dict().items()}
    if {name: value.shape for name, value in weights.items()} != expected:
        raise RegistrationError(f"The model {path} holds another network; give weights made for brain extraction.")
    return weights
