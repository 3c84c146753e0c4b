"""JPEG pictures: by Pillow where it is there (matplotlib needs it), else by SimpleITK, which takes far longer."""

from __future__ import annotations

import tempfile
from io import BytesIO
from pathlib import Path

import numpy as np
import SimpleITK as sitk

QUALITY = 85  # of 100


def jpeg(picture: np.ndarray) -> bytes:
    """Return the content of a JPEG file.

    Args:
        picture: uint8, grey `[row, column]` or in colours `[row, column, RGB]`.
    """
    try:
        from PIL import Image
    except ModuleNotFoundError:  # in Slicer
        return _by_simpleitk(picture)
    file = BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _by_simpleitk(picture: np.ndarray) -> bytes:
    image = sitk.GetImageFromArray(picture, isVector=picture.ndim == 3)
    with tempfile.TemporaryDirectory(prefix="ulae-") as folder:
        file = Path(folder) / "picture.jpg"
        sitk.WriteImage(image, str(file), useCompression=True, compressionLevel=QUALITY)
        return file.read_bytes()
