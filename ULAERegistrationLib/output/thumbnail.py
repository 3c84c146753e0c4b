"""A small picture of a registration, before and after side by side, for a page with many of them."""

from __future__ import annotations

import numpy as np

from .canonical_view import CanonicalView
from .jpeg import jpeg

GAP = 4  # pixels between the two pictures


def thumbnail(view: CanonicalView) -> bytes:
    """Return a JPEG picture of the axial slice, left after the alignment alone, right after the registration.

    The fixed brain is green and the moving brain magenta, so that the picture is grey where both agree.
    """
    plane = view.planes[0]
    fixed, (before, *_, after) = view.fixed_view(plane), view.views(plane)
    pictures = [np.dstack([moving, fixed, moving]) for moving in (before, after)]
    together = np.hstack([pictures[0], np.zeros((fixed.shape[0], GAP, 3)), pictures[1]])
    return jpeg((together * 255 + 0.5).astype(np.uint8))
