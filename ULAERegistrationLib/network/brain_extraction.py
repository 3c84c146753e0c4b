"""Find the brain in a scan of a whole head: any contrast, orientation, spacing and field of view.

A small U-Net segments the brain on a cubic grid along the body's axes: once or twice at full resolution, around where
the brain is taken to be; in a scan larger than the grid it is located first, at a lower resolution.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from ..errors import RegistrationError
from ..geometry.affine import middle
from ..geometry.brain import darkest_shown, volume_litres, without_holes
from ..geometry.orientation import keep_stored_forms
from ..tensors import array_of, tensor_of
from .brain_net import ARCHITECTURE, BRAIN_WEIGHTS, SIZE, SPACING, BrainNet, normalise
from .weight_files import read_weights

SMALLEST_LITRES = 0.1  # minimum volume of a brain; half of a newborn's is larger
STILL = 8.0  # mm; where the brain that was found lies further from the grid's centre, the grid is centred on it
BRAIN_PROBABILITY = 0.375  # above which a voxel is brain; by the validation heads, whose masks are small at .5
CERTAIN = 0.8  # probability that at least one voxel of a brain must reach


def network_view(image: sitk.Image, centre: np.ndarray | None = None, spacing: float = SPACING) -> sitk.Image:
    """Resample a scan to the network's grid, whose axes are those of the body.

    Args:
        image: the scan.
        centre: of the grid, LPS mm; None takes the middle of the scan.
        spacing: of the grid, mm.

    Returns:
        float32 image of `SIZE` voxels a side, axes to L, P, S; outside the scan, and where it is darker than
        `darkest_shown`, it has that value.
    """
    factors = [int(max(spacing // step, 1)) for step in image.GetSpacing()]
    lowest = darkest_shown(image)
    scan = sitk.Clamp(image, sitk.sitkFloat32, lowest)
    fine = sitk.BinShrink(scan, [min(f, n) for f, n in zip(factors, image.GetSize(), strict=True)])
    if centre is None:
        centre = middle(image)
    origin = np.asarray(centre) - spacing * (SIZE - 1) / 2
    return sitk.Resample(
        fine,
        [SIZE] * 3,
        sitk.Transform(),
        sitk.sitkLinear,
        origin.tolist(),
        [spacing] * 3,
        np.eye(3).ravel().tolist(),
        lowest,
        sitk.sitkFloat32,
    )


def _extent(image: sitk.Image) -> float:
    """Compute the longest side of the box along the body's axes that contains the scan, mm."""
    sides = np.array(image.GetSize()) * np.array(image.GetSpacing())
    return float((np.abs(np.array(image.GetDirection()).reshape(3, 3)) @ sides).max())


def brain_probability(view: sitk.Image, network: BrainNet) -> sitk.Image:
    """Compute the probability of brain in each voxel, as the mean over the view and its left-right mirror image.

    Args:
        view: a scan on the network's grid, as `network_view` returns it.
        network: the network with its weights.

    Returns:
        float32 image in [0, 1] on the grid of `view`.
    """
    values = tensor_of(sitk.GetArrayFromImage(view).transpose(2, 1, 0))[None, None]
    seen = normalise(values)
    with torch.inference_mode():
        probability = (network(seen).sigmoid() + network(seen.flip(2)).sigmoid().flip(2)) / 2
    image = sitk.GetImageFromArray(np.ascontiguousarray(array_of(probability[0, 0]).transpose(2, 1, 0)))
    image.CopyInformation(view)
    return image


def extract_brain(image: sitk.Image, model: str | Path | None = None) -> sitk.Image:
    """Mask the brain in a scan: cerebrum, cerebellum, brain stem, and the fluid inside and between them.

    The same scan gives the same mask on every call.

    Args:
        image: a scan of a head or of a brain, any contrast, orientation, spacing and field of view.
        model: a `.safetensors` file of weights, with its card beside it; None takes the shipped weights.

    Returns:
        uint8 image of zeros and ones on the grid of `image`: one connected piece without holes.

    Raises:
        RegistrationError: where no brain is found or the weights cannot be used.
    """
    network, centre = load_brain_network(model), middle(image)
    if _extent(image) > SIZE * SPACING:
        centre = _brain_centre(brain_probability(network_view(image, centre, _extent(image) / SIZE), network))
    probability = brain_probability(network_view(image, centre), network)
    found = _brain_centre(probability)
    if np.linalg.norm(found - centre) >= STILL:
        probability = brain_probability(network_view(image, found), network)
    if sitk.GetArrayViewFromImage(probability).max() < CERTAIN:
        raise RegistrationError(_NOT_FOUND)
    on_scan = sitk.Resample(probability, image, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    mask = without_holes(_largest_component(on_scan > BRAIN_PROBABILITY))
    if volume_litres(mask) < SMALLEST_LITRES:
        raise RegistrationError(_NOT_FOUND)
    return keep_stored_forms(image, mask)


def _brain_centre(probability: sitk.Image) -> np.ndarray:
    return centre_of_mass(_largest_component(probability > 0.5))


_NOT_FOUND = "No brain was found in this scan; give a mask of its brain, or check that it shows a head."


def _largest_component(mask: sitk.Image) -> sitk.Image:
    pieces = sitk.RelabelComponent(sitk.ConnectedComponent(mask), sortByObjectSize=True)
    return sitk.Cast(pieces == 1, sitk.sitkUInt8)


def centre_of_mass(mask: sitk.Image) -> np.ndarray:
    """Compute the centre of mass of a mask's non-zero voxels, LPS mm.

    Raises:
        RegistrationError: where the mask is empty.
    """
    indices = np.argwhere(sitk.GetArrayViewFromImage(mask))
    if len(indices) == 0:
        raise RegistrationError(_NOT_FOUND)
    return np.array(mask.TransformContinuousIndexToPhysicalPoint(indices.mean(0)[::-1].tolist()))


def load_brain_network(path: str | Path | None = None) -> BrainNet:
    """Load the network with its weights, in evaluation mode; those of a file are kept for the next call.

    Args:
        path: a `.safetensors` file with its card beside it; None takes the shipped weights.

    Raises:
        RegistrationError: where the file is missing, damaged, changed since its card was written, or of another
            network.
    """
    return _load(Path(path) if path else BRAIN_WEIGHTS)


@cache
def _load(path: Path) -> BrainNet:
    network = BrainNet()
    weights, _ = read_weights(path, network, ARCHITECTURE)
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False)
