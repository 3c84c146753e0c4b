"""What the result of a pair was made from, so that it counts as done only as long as that has not changed.

The record lies beside the result, in `made_from.json`. It holds the SHA-256 of every input and of the weights, the
settings, the version of this program, which is not compared, and the names of the files of the result.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..files.inputs import digest
from ..files.writing import RECORD, files_in
from ..settings import RegistrationSettings

# Settings that say where a registration runs, or name a file, whose checksum is compared instead.
NOT_COMPARED = ("device", "model")


@dataclass(frozen=True)
class MadeFrom:
    """What a result was made from.

    Attributes:
        inputs: SHA-256 of the content of each input, by its column in the table; of one that the result has replaced,
            of what it was replaced by.
        settings: of the registration, without `NOT_COMPARED`.
        weights: SHA-256 of the weights, by what they are for.
    """

    inputs: Mapping[str, str]
    settings: Mapping[str, Any]
    weights: Mapping[str, str]

    @classmethod
    def of(cls, files: Mapping[str, Path], settings: RegistrationSettings) -> MadeFrom:
        """Read the inputs and the weights of a registration.

        Args:
            files: the inputs by column. What cannot be read counts as changed, so that the registration says why.
            settings: of the registration.
        """
        # Imported here because these load torch.
        from ..network.brain_net import BRAIN_WEIGHTS
        from ..network.weights import SHIPPED

        return cls(
            inputs={column: digest(path) for column, path in files.items()},
            settings={name: value for name, value in asdict(settings).items() if name not in NOT_COMPARED},
            weights={
                "registration": digest(Path(settings.model or SHIPPED)),
                "brain extraction": digest(BRAIN_WEIGHTS),
            },
        )

    def once_written(self, files: Mapping[str, Path], target: Path, written: Path) -> MadeFrom:
        """Return this as the next run will find it: some inputs may be files of the result, which replaces them.

        Such is a mask that was corrected in the result; the new one holds the same voxels in other bytes.

        Args:
            files: the inputs by column.
            target: the folder of the result.
            written: where its files lie before they are moved there.
        """
        new = {target.resolve() / name: written / name for name in files_in(written)}
        replaced = {column: digest(new[path.resolve()]) for column, path in files.items() if path.resolve() in new}
        return replace(self, inputs={**self.inputs, **replaced})

    def changes(self, earlier: MadeFrom) -> str:
        """Name what differs from an earlier result; empty where nothing does."""
        inputs = [name.replace("_", " ") for name in _different(self.inputs, earlier.inputs)]
        settings = [f"setting {name}" for name in _different(self.settings, earlier.settings)]
        weights = [f"weights of the {name}" for name in _different(self.weights, earlier.weights)]
        return ", ".join([*inputs, *settings, *weights])


def has_result(folder: Path) -> bool:
    """Tell whether a folder holds a complete result; one that may not be looked into, another user's say, does not."""
    return os.path.isfile(folder / "quality.json")  # where Path.is_file may raise


def read_record(folder: Path) -> MadeFrom | None:
    """Read what the result in a folder was made from; None where that is not known."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return MadeFrom(record["inputs"], record["settings"], record["weights"])
    except (OSError, ValueError, KeyError, TypeError):  # of an older version, or damaged
        return None


def version_of(folder: Path) -> str:
    """Return the version of this program that made the result in a folder, as its record says, or "unknown".

    A result of another version stays: a cohort takes hours to register again.
    """
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return str(record.get("version", "unknown"))


def write_record(folder: Path, made_from: MadeFrom) -> None:
    """Write the record of the result whose files lie in a folder."""
    record = {**asdict(made_from), "version": __version__, "files": [*files_in(folder), RECORD]}
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _different(now: Mapping[str, Any], earlier: Mapping[str, Any]) -> list[str]:
    return [name for name in {**earlier, **now} if now.get(name) != earlier.get(name) or now.get(name) == ""]
