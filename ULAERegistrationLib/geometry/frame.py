"""The canonical frame in numbers, for those who must not import SimpleITK."""

from __future__ import annotations

CANONICAL_SIZE = (160, 192, 160)
CANONICAL_ORIGIN = (-80.0, -78.0, -74.0)
