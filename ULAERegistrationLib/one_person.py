"""Tell whether two aligned scans show one person's brain, whatever their contrasts."""

from __future__ import annotations

import numpy as np

from .flows.self_similarity import distances_within, largest_distance_of_a_part
from .geometry.canonical import template_values
from .tensors import tensor_of

# Of 30 pairs of one person's scans (T1, contrast agent, T2, FLAIR, PD; slices of up to 4 mm; two visits) 29 have at
# most this, of 3,321 pairs of two people's T1 all have .84 and more, and more still at slices of 5 mm.
ONE_PERSON = 0.75
# The flows leave T1 scans of one person whose brain has not changed at .74 and more of their distance before, the same
# scans, one of them warped smoothly by 1.1 to 2.2 mm, at .57 and less, and a follow-up scan at .56 to .68, where they
# raise the Dice of regions (docs/contrasts.md). Scans that are not both T1 come down to .53 without a change.
SHAPE_CHANGED = 0.7
# Two copies of one scan, half a voxel apart along each axis, have .05 to .08, and scans of different days .2 and more.
ONE_SCAN = 0.1
# Rigidly aligned T1 scans of one person differ in a cube of 34 mm at most by this multiple of what they differ by in
# the whole brain: 2.4 to 5.7 where the brain has not changed or has changed everywhere, 8 to 19 where a part of it has
# moved by 3 to 8 mm (docs/contrasts.md).
PART, PART_CHANGED = 17, 7.0  # voxels of 2 mm

RIGID_ALONE = (
    "The two scans look like one person's, so a rigid alignment alone is the result; an affine alignment (alignment "
    "affine) registers changes in shape too, and moves what has not changed by a millimetre."
)
SHAPE_NOT_COMPARED = (
    "The two scans were not taken for two plain T1 scans, so it was not compared whether the brain has changed in "
    "shape; look at the result before you use it."
)
CHANGED_IN_PART = (
    "One part of the brain differs far more between the two scans than the rest, as where tissue has grown or was "
    "removed, and a rigid alignment does not follow that; look there, or register with an affine alignment."
)
SIZES_DIFFER = (
    "The two scans look like one person's, but the brain has not the same size in both, so one of the two voxel sizes "
    "may be wrong; an affine alignment makes up for it."
)
CHANGED = (
    "The two scans look like one person's, whose brain has changed in shape between them: flows after a rigid "
    "alignment bring them far closer."
)
TRY_RIGID = (
    "The two scans look like one person's; where the brain has not changed in shape between them, a rigid alignment "
    "(alignment rigid) is better, because the network moves such scans by more than a millimetre."
)


def closeness(fixed: np.ndarray, moving: np.ndarray) -> float:
    """Compare two scans with each other and with the template, by their self-similarity (MIND-SSC).

    The template is an average, and so as close to a person's brain as another person's brain is, or closer. Only what
    lies inside all three brains counts, so that neither the masks nor a scan's place in the template do.

    Args:
        fixed, moving: linearly aligned scans on the canonical grid, float32 [L, P, S] in [0, 1], 0 outside the brain;
            of any two contrasts.

    Returns:
        The distance between the two scans, divided by that of the template to the nearer of them: about 1 for two
        people, clearly less for one; nan where the brains do not overlap.
    """
    images = [tensor_of(np.ascontiguousarray(image))[None, None] for image in (fixed, moving, template_values())]
    distances = distances_within(*images)
    return (distances[0, 1] / distances[2, :2].min().clamp_min(1e-9)).item()


def has_changed_shape(fixed: np.ndarray, moving: np.ndarray, warped: np.ndarray) -> bool:
    """Tell whether flows bring one person's scans so much closer that the brain must have changed in shape.

    Args:
        fixed, moving: the rigidly aligned scans, in the form of `closeness`.
        warped: the moving scan, warped by the flows, in the same form.
    """
    before = closeness(fixed, moving)
    return before > ONE_SCAN and closeness(fixed, warped) < SHAPE_CHANGED * before


def differ_in_one_part(fixed: np.ndarray, moving: np.ndarray) -> bool:
    """Tell whether one part of the brain differs far more than the rest between rigidly aligned scans of one person.

    Args:
        fixed, moving: in the form of `closeness`.
    """
    first, second, average = (
        tensor_of(np.ascontiguousarray(image))[None, None] for image in (fixed, moving, template_values())
    )
    return largest_distance_of_a_part(first, second, [average], PART) > PART_CHANGED


def look_like_one_person(fixed: np.ndarray, moving: np.ndarray) -> bool:
    """Tell whether two scans seem to show one person's brain (see `closeness`)."""
    return closeness(fixed, moving) < ONE_PERSON
