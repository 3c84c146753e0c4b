"""Choice of the brain extractor by name."""

from __future__ import annotations

import SimpleITK as sitk

from ..geometry.orientation import keep_stored_forms
from ..settings import Extractor
from .brain_extraction import extract_brain
from .deepbet import extract_brain_deepbet


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
