"""JPEG pictures, written by SimpleITK, as Slicer lacks other packages that do."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk

QUALITY = 85  # of 100


def jpeg(picture: np.ndarray) -> bytes:
    """Return the content of a JPEG file.

    Args:
        picture: uint8, grey `[row, column]` or in colours `[row, column, RGB]`.
    """
    image = sitk.GetImageFromArray(picture, isVector=picture.ndim == 3)
    with tempfile.TemporaryDirectory(prefix="ulae-") as folder:
        file = Path(folder) / "picture.jpg"
        sitk.WriteImage(image, str(file), useCompression=True, compressionLevel=QUALITY)
        return file.read_bytes()
