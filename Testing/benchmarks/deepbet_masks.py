"""Brain extraction by deepbet's networks, for `brain_masks.py`: its weights in our own modules, its code never run.

Source: L. Fisch et al., "deepbet: Fast brain extraction of T1-weighted MRI using Convolutional Neural Networks",
Computers in Biology and Medicine 179, 2024; weights of the package deepbet 1.0.2 (MIT licence), which the user
installs.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.tensors import array_of, tensor_of

VERSION = "1.0.2"
INSTALL = f"pip install --no-deps deepbet=={VERSION}"
FILES = {  # weights files in the package, with their SHA-256
    "data/models/bbox_model.pt": "39a7b2b5f799faa1391ea97bfcdc0b9299f20d84f2316a4ff8918dc4685e40aa",
    "data/models/model.pt": "de8ee7c69654d0dd3935dc4a5d84571d8ecf4637a6bfc01df399c4c2bc86e0fd",
}
COARSE, FINE = 128, 256  # voxels a side of the two networks' input
MARGIN = 0.1  # added to the bounding box on either side, as a fraction of its side
NOT_FOUND = "No brain was found in this scan by deepbet; give a mask of its brain, or check that it shows a head."


class LinkNet(nn.Module):
    """The network that deepbet's weights belong to: a residual encoder and a decoder with added skip connections.

    Every convolution but the last is followed by an instance normalisation without parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv3d(1, 16, 7, stride=2, padding=3, bias=False)
        self.down = nn.ModuleList(
            nn.Sequential(_Residual(i, o, stride), _Residual(o, o, 1))
            for i, o, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2), (64, 128, 2))
        )
        self.up = nn.ModuleList(
            _Up(i, o, stride) for i, o, stride in ((128, 64, 2), (64, 32, 2), (32, 16, 2), (16, 16, 1))
        )
        self.enlarge = nn.ConvTranspose3d(16, 8, 3, stride=2, padding=1, output_padding=1)
        self.mix = nn.Conv3d(8, 8, 3, padding=1)
        self.last = nn.ConvTranspose3d(8, 2, 2, stride=2)

    def forward(self, image: Tensor) -> Tensor:
        """Compute the probability of brain, `[1, 1, R, A, S]`.

        Args:
            image: `[1, 1, R, A, S]`, standardised, each side a multiple of 32.
        """
        features = F.max_pool3d(_active(self.first(image)), 3, stride=2, padding=1)
        skipped = [features]
        for pair in self.down:
            features = pair(features)
            skipped.append(features)
        features = skipped.pop()
        for up in self.up:
            features = up(features) + skipped.pop()
        features = _active(self.mix(_active(self.enlarge(features))))
        return self.last(features).softmax(1)[:, 1:]


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.one = nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.two = nn.Conv3d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = nn.Conv3d(inputs, outputs, 1, stride=stride, bias=False) if inputs != outputs else None

    def forward(self, features: Tensor) -> Tensor:
        shortcut = features if self.shortcut is None else F.instance_norm(self.shortcut(features))
        return (F.instance_norm(self.two(_active(self.one(features)))) + shortcut).relu_()


class _Up(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        narrow = inputs // 4
        self.narrow = nn.Conv3d(inputs, narrow, 1, bias=False)
        self.enlarge = nn.ConvTranspose3d(
            narrow, narrow, 3, stride=stride, padding=1, output_padding=stride - 1, bias=False
        )
        self.widen = nn.Conv3d(narrow, outputs, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        return _active(self.widen(_active(self.enlarge(_active(self.narrow(features))))))


def _active(features: Tensor) -> Tensor:
    return F.instance_norm(features).relu_()


def extract_brain_deepbet(image: sitk.Image) -> sitk.Image:
    """Mask the brain in a scan by deepbet.

    Args:
        image: a scan of a head, in any orientation; deepbet was made for T1.

    Returns:
        uint8 image of zeros and ones on the grid of `image`: one connected piece without holes.

    Raises:
        RegistrationError: where deepbet is not installed, its files are not those of `VERSION`, or no brain is found.
    """
    finder, network = load_deepbet()
    oriented = sitk.DICOMOrient(image, "RAS")
    scan = tensor_of(sitk.GetArrayFromImage(sitk.Cast(oriented, sitk.sitkFloat32)).transpose(2, 1, 0))
    scan = scan.nan_to_num()
    with torch.inference_mode():
        small = _resized(scan, [COARSE] * 3)
        low, high = small.quantile(0.005), small.quantile(0.995)
        found = _largest_piece(array_of(finder(_standardised(small, low, high)[None, None])[0, 0]) > 0.5)
        box = _box(found, scan.shape)
        seen = _standardised(_resized(scan[box], [FINE] * 3), low, high)
        probability = network(seen[None, None])[0, 0]
        inside = array_of(_resized(probability, scan[box].shape)) > 0.5
    mask = np.zeros(scan.shape, np.uint8)
    mask[box] = sitk.GetArrayFromImage(sitk.BinaryFillhole(sitk.GetImageFromArray(_largest_piece(inside))))
    result = sitk.GetImageFromArray(np.ascontiguousarray(mask.transpose(2, 1, 0)))
    result.CopyInformation(oriented)
    return sitk.Resample(result, image, sitk.Transform(), sitk.sitkNearestNeighbor)


def _resized(values: Tensor, size: list[int] | torch.Size) -> Tensor:
    return F.interpolate(values[None, None], size=tuple(size), mode="nearest-exact")[0, 0]


def _standardised(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    values = ((values - low) / (high - low)).clamp(0, 1)
    return 0.226 * (values - values.mean()) / values.std() + 0.449


def _largest_piece(mask: np.ndarray) -> np.ndarray:
    pieces = sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)), True)
    sizes = np.bincount(sitk.GetArrayViewFromImage(pieces).ravel())
    if len(sizes) < 2:
        raise RegistrationError(NOT_FOUND)
    return (sitk.GetArrayViewFromImage(pieces) == 1 + sizes[1:].argmax()).astype(np.uint8)


def _box(found: np.ndarray, shape: torch.Size) -> tuple[slice, ...]:
    """Return the bounding box of the brain on the scan's grid, with a margin.

    Planes of which less than 2 % are brain are left out.
    """
    box = []
    for axis in range(3):
        rows = np.flatnonzero(found.mean(tuple(k for k in range(3) if k != axis)) > 0.02)
        if len(rows) == 0:
            raise RegistrationError(NOT_FOUND)
        scale = shape[axis] / found.shape[axis]
        centre = round(scale * (rows[-1] + 1 + rows[0]) / 2)
        side = round((1 + 2 * MARGIN) * scale * (rows[-1] + 1 - rows[0]))
        box.append(slice(max(0, int(centre - side / 2)), min(shape[axis], int(centre + side / 2))))
    return tuple(box)


@cache
def load_deepbet() -> tuple[LinkNet, LinkNet]:
    """Load deepbet's two networks, the one that finds the brain and the one that outlines it, in evaluation mode.

    Raises:
        RegistrationError: where the package is not installed, or its files are others than those of its version.
    """
    try:
        package = metadata.distribution("deepbet")
    except metadata.PackageNotFoundError as error:
        raise RegistrationError(
            f"deepbet is not installed; run `{INSTALL}`, or choose the brain extraction that comes with this package."
        ) from error
    finder, network = (_read(Path(str(package.locate_file(name))), digest) for name, digest in FILES.items())
    return finder, network


def _read(file: Path, digest: str) -> LinkNet:
    """Read a network from a weights file of deepbet.

    The file is a zip archive whose entries `data/0`, `data/1`, ... are the plain float32 values of the tensors, in the
    order in which `LinkNet` declares them; so neither pickle nor TorchScript is needed.
    """
    data = file.read_bytes() if file.is_file() else b""
    if hashlib.sha256(data).hexdigest() != digest:
        raise RegistrationError(f"The file {file} is not that of deepbet {VERSION}; run `{INSTALL} --force-reinstall`.")
    network = LinkNet()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {name.split("/", 1)[1]: name for name in archive.namelist() if "/data/" in name}
        values = [archive.read(entries[f"data/{index}"]) for index in range(len(network.state_dict()))]
    weights = {
        name: tensor_of(np.frombuffer(one, "<f4")).view(parameter.shape)
        for (name, parameter), one in zip(network.state_dict().items(), values, strict=True)
    }
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False)
