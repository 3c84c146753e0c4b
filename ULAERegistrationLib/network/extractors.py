"""Choice of the brain extractor by name."""

from __future__ import annotations

import SimpleITK as sitk

from ..geometry.orientation import keep_stored_forms
from ..settings import Extractor
from .brain_extraction import extract_brain, load_brain_network
from .deepbet import extract_brain_deepbet, load_deepbet


def check_extractor(extractor: Extractor) -> None:
    """Check that the weights of an extractor are there, before anything is computed.

    Raises:
        RegistrationError: where they are missing or damaged.
    """
    load_deepbet() if extractor == "deepbet" else load_brain_network()


def extract_brain_with(extractor: Extractor, image: sitk.Image) -> sitk.Image:
    """Mask the brain in a scan by the extractor of that name.

    Args:
        extractor: "ulae" or "deepbet".
        image: the scan.

    Returns:
        uint8 image of zeros and ones on the grid of `image`.

    Raises:
        RegistrationError: where no brain is found, or the extractor's weights are missing or damaged.
    """
    mask = extract_brain_deepbet(image) if extractor == "deepbet" else extract_brain(image)
    return keep_stored_forms(image, mask)
