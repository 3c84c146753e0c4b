"""What may be different with a moving image: turned, of another size, coarse, noisy, of other brightness, marked, cut.

Each perturbation knows where it moves the points of the image, so that labels follow without being sampled twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import SimpleITK as sitk
from verdict_cases import centre_of, extent, pulled, rescaled, turned, with_values

AXIS = (0.48, 0.6, 0.64)  # of the rotations: far from every axis of the body
SLICE_MM = 3
CUT = 0.1  # of the brain's height, or of its voxels
BIAS = 3.0  # how much brighter the near end of the brain is than the far one, as beside a surface coil
SPOT, SPOT_MM = 12.0, 8.0  # as a clip, or a fresh bleeding
OFFSET = 32768  # what signed numbers gain where they are stored as unsigned ones
TOWARDS_COIL = (0.6, -0.48, 0.64)  # the right way round: left, front, top


@dataclass(frozen=True)
class Perturbation:
    """One change of a moving image.

    Attributes:
        name: as the table shows it.
        image: the changed image.
        move: where the change takes a point of the original image (LPS mm); invertible.
    """

    name: str
    image: Callable[[sitk.Image], sitk.Image]
    move: Callable[[sitk.Image], sitk.Transform] = field(default=lambda image: sitk.Transform())


def labels_through(
    labels: sitk.Image, fixed: sitk.Image, transform: sitk.Transform, move: sitk.Transform
) -> sitk.Image:
    """Carry the labels of the original moving image to the fixed grid, sampled once (nearest neighbour).

    Args:
        labels: of the moving image before its perturbation.
        fixed: the image whose grid the result has.
        transform: what a registration found, fixed world to the world of the perturbed image (LPS mm).
        move: of the perturbation.
    """
    whole = sitk.CompositeTransform([move.GetInverse(), transform])
    return sitk.Resample(labels, fixed, whole, sitk.sitkNearestNeighbor, 0, labels.GetPixelID())


def rotation(image: sitk.Image, degrees: float) -> sitk.VersorRigid3DTransform:
    """A rotation about `AXIS` through the middle of an image."""
    return sitk.VersorRigid3DTransform(AXIS, float(np.radians(degrees)), (0.0, 0.0, 0.0), centre_of(image).tolist())


def scaling(image: sitk.Image, factor: float) -> sitk.AffineTransform:
    """The map of points that a voxel size `factor` times as large brings about."""
    transform = sitk.AffineTransform(3)
    transform.Scale(factor)
    return transform


def thick_slices(image: sitk.Image) -> sitk.Image:
    """Slices of `SLICE_MM`, each the mean of what it covers."""
    number = round(SLICE_MM / image.GetSpacing()[2])
    return sitk.BinShrink(sitk.Cast(image, sitk.sitkFloat32), [1, 1, number])


def noisy(image: sitk.Image, percent: float) -> sitk.Image:
    """Rician noise in the brain, in percent of the intensity of white matter (its 95th percentile)."""
    values = sitk.GetArrayFromImage(image).astype(np.float32)
    sigma = percent / 100 * np.percentile(values[values > 0], 95)
    random = np.random.default_rng(0)
    real, imaginary = (random.normal(0, sigma, values.shape) for _ in range(2))
    return _in_brain(image, np.hypot(values + real, imaginary))


def with_gamma(image: sitk.Image, gamma: float) -> sitk.Image:
    """Intensities to the power of `gamma`; the brightest stays as it is."""
    values = sitk.GetArrayFromImage(image).astype(np.float32)
    return _in_brain(image, values.max() * (values / values.max()) ** gamma)


def biased(image: sitk.Image) -> sitk.Image:
    """Brightness that falls smoothly by the factor `BIAS` from one end of the brain to the other, obliquely."""
    values = sitk.GetArrayFromImage(image).astype(np.float32)
    place = _places(image) @ TOWARDS_COIL
    low, high = place[values > 0].min(), place[values > 0].max()
    values *= BIAS ** ((place - high) / (high - low))
    return _in_brain(image, values * (255 / np.percentile(values[values > 0], 99.9)))


def with_spot(image: sitk.Image) -> sitk.Image:
    """A ball of `SPOT_MM` within one hemisphere, `SPOT` times as bright as white matter (its 90th percentile)."""
    values = sitk.GetArrayFromImage(image).astype(np.float32)
    brain = values > 0
    middle = _places(image)[brain].mean(0) + np.array([30.0, 0.0, 20.0])
    values[np.linalg.norm(_places(image) - middle, axis=-1) < SPOT_MM] = SPOT * np.percentile(values[brain], 90)
    return with_values(image, values)


def cropped(image: sitk.Image, end: str) -> sitk.Image:
    """A field of view that ends within the brain, by `CUT` of its height."""
    first, last = extent(image)
    cut = round((last - first + 1) * CUT)
    return image[:, :, first + cut :] if end == "bottom" else image[:, :, : last - cut + 1]


def without_corner(image: sitk.Image) -> sitk.Image:
    """A brain whose left occipital corner is gone, `CUT` of its voxels."""
    values = sitk.GetArrayFromImage(image)
    place = _places(image) @ (1.0, 1.0, 0.0)
    values[place > np.quantile(place[values > 0], 1 - CUT)] = 0
    return with_values(image, values)


def _places(image: sitk.Image) -> np.ndarray:
    """World coordinates of the voxels of an image without rotation, [z, y, x, 3], LPS mm."""
    return np.stack(np.indices(image.GetSize()[::-1])[::-1], -1) * image.GetSpacing() + image.GetOrigin()


def _in_brain(image: sitk.Image, values: np.ndarray) -> sitk.Image:
    """Values of the brain, rounded; the background of a stripped image stays empty, and its brain does not."""
    inside = sitk.GetArrayViewFromImage(image) > 0
    return with_values(image, (np.rint(values).clip(1, 255) * inside).astype(np.uint8))


AS_IT_IS = Perturbation("as it is", lambda image: image)
NOISE = tuple(Perturbation(f"{level} % noise", lambda image, level=level: noisy(image, level)) for level in (3, 6, 10))
TURNED = tuple(
    Perturbation(
        f"turned by {angle}°",
        lambda image, angle=angle: pulled(image, rotation(image, angle)),
        lambda image, angle=angle: rotation(image, angle),
    )
    for angle in (5, 10, 15)
)
TURNED_IN_HEADER = Perturbation(
    "turned by 15°, in its header alone",
    lambda image: turned(image, rotation(image, 15)),
    lambda image: rotation(image, 15),
)
SCALED = tuple(
    Perturbation(
        f"{'larger' if factor > 1 else 'smaller'} by 10 %",
        lambda image, factor=factor: rescaled(image, [factor] * 3),
        lambda image, factor=factor: scaling(image, factor),
    )
    for factor in (1.1, 0.9)
)
GAMMAS = tuple(
    Perturbation(f"gamma {gamma}", lambda image, gamma=gamma: with_gamma(image, gamma)) for gamma in (0.7, 1.4)
)
PERTURBATIONS = (
    AS_IT_IS,
    *TURNED,
    TURNED_IN_HEADER,
    *SCALED,
    Perturbation("slices of 3 mm", thick_slices),
    *NOISE,
    *GAMMAS,
    Perturbation("bias field, 3 : 1", biased),
    Perturbation("a spot of 2.1 ml, 12 times as bright", with_spot),
    Perturbation("every intensity higher by 32768", lambda image: sitk.Cast(image, sitk.sitkInt32) + OFFSET),
    Perturbation("top 10 % cut off", lambda image: cropped(image, "top")),
    Perturbation("bottom 10 % cut off", lambda image: cropped(image, "bottom")),
    Perturbation("left occipital 10 % missing", without_corner),
)
# Those for which one image against itself has an answer that is known.
OF_ITSELF = (AS_IT_IS, *NOISE, *TURNED, *SCALED)
