"""Find the sides on which the field of view cuts a brain off."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from .canonical import template_mask

# A brain counts as cut off where its section with the face of the field of view is this fraction of its largest, or
# more. A neck that was left in stripping has .24 to .36 of it on the lowest face, and none of that in the template's
# brain; slabs of brains keep .63 and more there of .68 to 1.
CUT_SHARE = 0.15
SIDES = (("right", "left"), ("front", "back"), ("bottom", "top"))  # towards smaller and larger LPS coordinates


def cut_sides(mask: sitk.Image, to_canonical: sitk.Transform | None = None) -> list[str]:
    """Find the sides on which the field of view cuts the brain off.

    Args:
        mask: of the brain, zeros and ones.
        to_canonical: from the mask's world to the canonical world (LPS mm). With it, only what lies in the template's
            brain there counts.

    Returns:
        Those of "left", "right", "front", "back", "bottom", "top" where the brain's section with the face of the field
        of view is `CUT_SHARE` of its largest section or more. That face lies half a voxel beyond the outermost plane of
        voxels, whose own section is much larger where voxels are coarse: there the two outermost planes tell it.
    """
    values = sitk.GetArrayViewFromImage(mask) > 0
    direction = np.reshape(mask.GetDirection(), (3, 3))
    found = []
    for axis in range(3):
        least = CUT_SHARE * values.sum(axis=tuple(other for other in range(3) if other != 2 - axis)).max()
        body = int(np.abs(direction[:, axis]).argmax())
        first, last = SIDES[body] if direction[body, axis] > 0 else SIDES[body][::-1]
        for side, planes, outermost in ((first, slice(None, 2), 0), (last, slice(-2, None), 1)):
            index = [slice(None)] * 3
            index[axis] = planes
            end = mask[tuple(index)]
            is_cut = _section(end, axis, outermost) >= least > 0
            if is_cut and to_canonical is not None:
                known = sitk.Resample(template_mask(), end, to_canonical, sitk.sitkNearestNeighbor)
                is_cut = _section(sitk.Mask(end, known), axis, outermost) >= least
            if is_cut:
                found.append(side)
    return found


def _section(end: sitk.Image, axis: int, outermost: int) -> float:
    """Extrapolate the number of non-zero voxels from a scan's last two planes to the face of its field of view.

    Args:
        end: the two planes, a mask.
        axis: across them.
        outermost: which of the two, 0 or 1, lies at the face.
    """
    areas = np.count_nonzero(
        sitk.GetArrayViewFromImage(end), axis=tuple(other for other in range(3) if other != 2 - axis)
    )
    return 1.5 * float(areas[outermost]) - 0.5 * float(areas[1 - outermost])
