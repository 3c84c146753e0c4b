"""Find the brain in a scan of a whole head: any contrast, orientation, spacing and field of view.

A small U-Net segments the brain on a cubic grid along the body's axes: once or twice at full resolution, around where
the brain is taken to be; in a scan larger than the grid it is located first, at a lower resolution. Blocks of 2 x 2 x 2
voxels of 2.4 mm are rearranged into eight channels of 4.8 mm at its input, and back at its output, so that most of the
computation runs on the coarser grid.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import RegistrationError
from ..geometry.brain import voxel_litres
from ..tensors import array_of, tensor_of
from .brain_weights import read_weights
from .fast.convolution import convolve

MODELS = Path(__file__).parents[1] / "models"
SHIPPED = MODELS / "ulae-brain.safetensors"
ARCHITECTURE = "BrainNet"
SPACING = 2.4  # mm, of the grid the network was trained on
SIZE = 96  # voxels a side: 230 mm
SMALLEST_LITRES = 0.1  # minimum volume of a brain; half of a newborn's is larger
STILL = 8.0  # mm; where the brain that was found lies further from the grid's centre, the grid is centred on it
BRAIN_PROBABILITY = 0.45  # above which a voxel is brain; by the validation heads, whose masks are small at .5
CERTAIN = 0.8  # probability that at least one voxel of a brain must reach


class _Convolution(nn.Conv3d):
    """A convolution by the fastest kernel, which torch does not take by itself where it has one thread."""

    def forward(self, x: Tensor) -> Tensor:
        padding = [width // 2 for width in self.kernel_size]
        return convolve(x, self.weight, self.bias, self.stride, padding, self.dilation)


class BrainNet(nn.Module):
    """A U-Net of four levels with added skip connections: 411,000 parameters.

    Args:
        channels: number of channels at each of the four levels, from 4.8 mm to 38 mm.
    """

    def __init__(self, channels: tuple[int, int, int, int] = (16, 32, 56, 64)) -> None:
        super().__init__()
        inputs = (8, *channels[:2])
        self.encoders = nn.ModuleList(
            nn.Sequential(_block(i, o), _block(o, o)) for i, o in zip(inputs, channels[:3], strict=True)
        )
        self.bottom = _block(channels[2], channels[3])
        self.narrowings = nn.ModuleList(
            _Convolution(i, o, 1) for i, o in zip(channels[:0:-1], channels[2::-1], strict=True)
        )
        self.decoders = nn.ModuleList(_block(o, o) for o in channels[2::-1])
        self.head = _Convolution(channels[0], 8, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Compute the logits of brain.

        Args:
            image: `[batch, 1, L, P, S]` in [0, 1], each side a multiple of 16.

        Returns:
            `[batch, 1, L, P, S]`.
        """
        features, skipped = _fold(image).contiguous(memory_format=torch.channels_last_3d), []
        for encoder in self.encoders:
            features = encoder(features)
            skipped.append(features)
            features = F.max_pool3d(features, 2)
        features = self.bottom(features)
        for narrowing, decoder in zip(self.narrowings, self.decoders, strict=True):
            features = decoder(skipped.pop() + F.interpolate(narrowing(features), scale_factor=2, mode="nearest"))
        return _unfold(self.head(features))


def _block(inputs: int, outputs: int) -> nn.Sequential:
    # With one group per channel this is instance normalisation, but faster than torch's own.
    return nn.Sequential(
        _Convolution(inputs, outputs, 3, padding=1, bias=False),
        nn.GroupNorm(outputs, outputs),
        nn.LeakyReLU(0.1, inplace=True),
    )


def _fold(image: Tensor) -> Tensor:
    """Rearrange blocks of 2 x 2 x 2 voxels to channels: `[batch, 1, L, P, S]` to `[batch, 8, L/2, P/2, S/2]`."""
    batch, _, *size = image.shape
    left, posterior, superior = (n // 2 for n in size)
    blocks = image.reshape(batch, left, 2, posterior, 2, superior, 2)
    return blocks.permute(0, 2, 4, 6, 1, 3, 5).reshape(batch, 8, left, posterior, superior)


def _unfold(channels: Tensor) -> Tensor:
    """Apply the inverse of `_fold`."""
    batch, _, *size = channels.shape
    blocks = channels.reshape(batch, 2, 2, 2, *size).permute(0, 4, 1, 5, 2, 6, 3)
    return blocks.reshape(batch, 1, *(2 * n for n in size))


def normalise(values: Tensor) -> Tensor:
    """Scale intensities to [0, 1] in a way that hardly depends on how much air the scan shows.

    0 is the first percentile of all values, 1 the 98th percentile of those above the mean.

    Args:
        values: `[batch, 1, L, P, S]` of one scan, finite.
    """
    few = values[..., ::2, ::2, ::2].flatten()
    bright = few[few > few.mean()]
    if len(bright) == 0:
        return torch.zeros_like(values)
    low, high = _percentile(few, 0.01), _percentile(bright, 0.98)
    return ((values - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)


def _percentile(values: Tensor, share: float) -> Tensor:
    return values.kthvalue(1 + round(share * (len(values) - 1))).values


def network_view(image: sitk.Image, centre: np.ndarray | None = None, spacing: float = SPACING) -> sitk.Image:
    """Resample a scan to the network's grid, whose axes are those of the body.

    Args:
        image: the scan.
        centre: of the grid, LPS mm; None takes the middle of the scan.
        spacing: of the grid, mm.

    Returns:
        float32 image of `SIZE` voxels a side, axes to L, P, S; outside the scan it has the scan's lowest value.
    """
    factors = [int(max(spacing // step, 1)) for step in image.GetSpacing()]
    scan = sitk.Cast(image, sitk.sitkFloat32)
    fine = sitk.BinShrink(scan, [min(f, n) for f, n in zip(factors, image.GetSize(), strict=True)])
    if centre is None:
        centre = _middle(image)
    origin = np.asarray(centre) - spacing * (SIZE - 1) / 2
    lowest = float(sitk.GetArrayViewFromImage(fine).min())
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


def _middle(image: sitk.Image) -> np.ndarray:
    return np.array(image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()]))


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
    network, centre = load_brain_network(model), _middle(image)
    if _extent(image) > SIZE * SPACING:
        centre = _brain_centre(brain_probability(network_view(image, centre, _extent(image) / SIZE), network))
    probability = brain_probability(network_view(image, centre), network)
    found = _brain_centre(probability)
    if np.linalg.norm(found - centre) >= STILL:
        probability = brain_probability(network_view(image, found), network)
    if sitk.GetArrayViewFromImage(probability).max() < CERTAIN:
        raise RegistrationError(_NOT_FOUND)
    on_scan = sitk.Resample(probability, image, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    mask = sitk.BinaryFillhole(_largest_piece(on_scan > BRAIN_PROBABILITY))
    if sitk.GetArrayViewFromImage(mask).sum() * voxel_litres(mask) < SMALLEST_LITRES:
        raise RegistrationError(_NOT_FOUND)
    return mask


def _brain_centre(probability: sitk.Image) -> np.ndarray:
    return centre_of_mass(_largest_piece(probability > 0.5))


_NOT_FOUND = "No brain was found in this scan; give a mask of its brain, or check that it shows a head."


def _largest_piece(mask: sitk.Image) -> sitk.Image:
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


@cache
def load_brain_network(path: str | Path | None = None) -> BrainNet:
    """Load the network with its weights, in evaluation mode.

    Args:
        path: a `.safetensors` file with its card beside it; None takes the shipped weights.

    Raises:
        RegistrationError: where the file is missing, damaged, changed since its card was written, or of another
            network.
    """
    network = BrainNet()
    network.load_state_dict(read_weights(Path(path) if path else SHIPPED, network))
    return network.eval().requires_grad_(False)
