"""What the tests of training share."""

from __future__ import annotations

from dataclasses import fields

import pytest

from ULAERegistrationLib.training.augmentation import Augmentation


@pytest.fixture(scope="session")
def still() -> Augmentation:
    """An augmentation that changes nothing but the pose that both images share."""
    changes = {field.name: 0 for field in fields(Augmentation) if not field.name.startswith("shared")}
    return Augmentation(**changes)
