"""Size (voxels of 1 mm) and origin (LPS mm) of the canonical grid, for modules that must not import SimpleITK."""

from __future__ import annotations

CANONICAL_SIZE = (160, 192, 160)
CANONICAL_ORIGIN = (-80.0, -78.0, -74.0)
