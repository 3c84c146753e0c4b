"""The brain of a whole head is found, whatever the scan."""

from __future__ import annotations

from unittest.mock import Mock

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.geometry.canonical import template, template_mask
from ULAERegistrationLib.geometry.cut import cut_sides
from ULAERegistrationLib.network import brain_extraction, brain_net
from ULAERegistrationLib.network.brain_extraction import extract_brain, load_brain_network, network_view
from ULAERegistrationLib.network.brain_net import ARCHITECTURE, BRAIN_WEIGHTS, BrainNet, normalise
from ULAERegistrationLib.network.weight_files import read_weights, save_weights

pytestmark = pytest.mark.slow

MADE = 0.85  # Dice a made head reaches at least; it is crude, real heads have bars of their own


def ellipsoid(points: np.ndarray, centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
    return (((points - np.array(centre)) / np.array(radii)) ** 2).sum(-1) < 1


def made_head(spacing: tuple[float, float, float] = (2.0, 2.0, 2.0), white: float = 0.8, grey: float = 0.55) -> tuple:
    """A head and its brain: ellipsoids of skin, skull, fluid, cortex, white matter and ventricles above a neck."""
    size = np.ceil(np.array((190.0, 230.0, 240.0)) / spacing).astype(int)
    indices = np.stack(np.meshgrid(*(np.arange(n) for n in size), indexing="ij"), -1)
    points = (indices - (size - 1) / 2) * spacing  # L, P, S in mm
    values = np.full(size, 0.02)
    up = 25
    values[ellipsoid(points, (0, 10, -70), (50, 55, 90))] = 0.4
    values[ellipsoid(points, (0, 0, up), (82, 102, 88))] = 0.9
    values[ellipsoid(points, (0, 0, up), (77, 97, 83))] = 0.08
    values[ellipsoid(points, (0, 0, up), (71, 90, 76))] = 0.2
    brain = ellipsoid(points, (0, 0, up), (68, 86, 72)) & (points[..., 2] > -30 + 0.2 * points[..., 1])
    values[brain] = grey
    values[brain & ellipsoid(points, (0, 0, up), (58, 76, 62))] = white
    values[ellipsoid(points, (-12, 0, up + 8), (6, 30, 12)) | ellipsoid(points, (12, 0, up + 8), (6, 30, 12))] = 0.2
    values += 0.02 * np.random.default_rng(0).standard_normal(values.shape)
    images = []
    for array in (1000 * np.abs(values), brain.astype(np.uint8)):
        image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
        image.SetSpacing(spacing)
        image.SetOrigin((-(size - 1) / 2 * spacing).tolist())
        images.append(image)
    return sitk.Cast(images[0], sitk.sitkInt16), images[1]


def dice(first: sitk.Image, second: sitk.Image) -> float:
    first, second = (sitk.GetArrayFromImage(image) > 0 for image in (first, second))
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def test_the_shipped_weights_are_loaded_once():
    assert load_brain_network() is load_brain_network(None) is load_brain_network(BRAIN_WEIGHTS)


@pytest.fixture(scope="module")
def head() -> tuple[sitk.Image, sitk.Image]:
    return made_head()


@pytest.fixture(scope="module")
def found(head) -> sitk.Image:
    """The mask of the made head."""
    return extract_brain(head[0])


def same_grid(first: sitk.Image, second: sitk.Image) -> bool:
    return (
        first.GetSize() == second.GetSize()
        and first.GetSpacing() == second.GetSpacing()
        and first.GetOrigin() == second.GetOrigin()
        and first.GetDirection() == second.GetDirection()
    )


def test_a_mask_is_ones_and_zeros_in_one_piece_without_holes_on_the_scans_own_grid(head, found):
    scan, brain = head
    mask = found
    assert same_grid(mask, scan)
    assert mask.GetPixelID() == sitk.sitkUInt8
    assert set(np.unique(sitk.GetArrayViewFromImage(mask))) == {0, 1}
    pieces = sitk.ConnectedComponentImageFilter()
    pieces.Execute(mask)
    assert pieces.GetObjectCount() == 1
    assert sitk.Hash(sitk.BinaryFillhole(mask)) == sitk.Hash(mask)
    assert dice(mask, brain) > MADE


def test_the_same_scan_gives_the_same_mask_again(head, found):
    assert sitk.Hash(extract_brain(head[0])) == sitk.Hash(found)


@pytest.mark.parametrize("orientation", ["RAS", "PIR", "ASL"])
def test_the_mask_does_not_depend_on_how_the_voxels_are_stored(head, found, orientation):
    stored = sitk.DICOMOrient(head[0], orientation)
    mask = sitk.DICOMOrient(extract_brain(stored), "LPS")
    assert dice(mask, found) > 0.999


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 5.0), (4.0, 1.5, 1.5)])
def test_thick_slices_are_no_obstacle(spacing):
    scan, brain = made_head(spacing)
    assert dice(extract_brain(scan), brain) > MADE


def test_an_oblique_scan_is_looked_at_along_the_axes_of_the_body(head):
    scan, brain = head
    turn = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.3, 0.2, -0.25)
    grid = sitk.Image(120, 130, 130, sitk.sitkUInt8)
    grid.SetSpacing((2.0, 2.0, 2.0))
    grid.SetDirection(turn.GetMatrix())
    middle = np.array(grid.TransformContinuousIndexToPhysicalPoint([59.5, 64.5, 64.5]))
    grid.SetOrigin((-middle).tolist())
    how = (grid, sitk.Transform(), sitk.sitkNearestNeighbor)
    oblique, reference = sitk.Resample(scan, *how), sitk.Resample(brain, *how)
    assert dice(extract_brain(oblique), reference) > MADE


@pytest.mark.parametrize(("white", "grey"), [(0.35, 0.5), (0.6, 0.75)])
def test_other_contrasts_than_t1_work(white, grey):
    scan, brain = made_head(white=white, grey=grey)
    assert dice(extract_brain(scan), brain) > MADE


def test_the_scale_and_the_offset_of_the_intensities_do_not_matter(head, found):
    other = sitk.Cast(head[0], sitk.sitkFloat32) * 3.7 - 1024
    assert dice(extract_brain(other), found) > 0.999


@pytest.mark.parametrize("value", [-1000, -32768])
def test_a_voxel_that_has_overflowed_does_not_matter(head, found, value):
    """One such voxel became the intensity around the scan, and so the dark end of what the network saw."""
    other = sitk.Image(head[0])
    values = sitk.GetArrayFromImage(other)
    z, y, x = np.unravel_index(values.argmax(), values.shape)
    other[int(x), int(y), int(z)] = value
    assert dice(extract_brain(other), found) > 0.99


def test_a_head_without_its_top_has_a_mask_of_what_is_there(head):
    scan, brain = (image[:, :, :80] for image in head)
    assert dice(extract_brain(scan), brain) > MADE


def test_a_scan_larger_than_the_networks_view_is_looked_at_twice(head, monkeypatch):
    looks = Mock(wraps=brain_extraction.brain_probability)
    monkeypatch.setattr(brain_extraction, "brain_probability", looks)
    padded = sitk.ConstantPad(head[0], (0, 0, 90), (0, 0, 0), 0)
    mask = extract_brain(padded)
    assert looks.call_count == 2
    assert same_grid(mask, padded)
    assert dice(mask[:, :, 90:], head[1]) > MADE


def test_a_stripped_brain_keeps_its_mask():
    assert dice(extract_brain(template()), template_mask()) > 0.95


@pytest.mark.parametrize("value", [0, 100])
def test_an_empty_scan_is_refused_in_one_sentence(value):
    with pytest.raises(RegistrationError, match="No brain was found in this scan; give a mask"):
        extract_brain(sitk.Image(40, 40, 40, sitk.sitkInt16) + value)


def test_a_box_of_noise_has_no_brain():
    noise = sitk.GetImageFromArray(np.random.default_rng(0).random((64, 64, 64), np.float32))
    noise.SetSpacing((3.0, 3.0, 3.0))
    with pytest.raises(RegistrationError, match="No brain was found"):
        extract_brain(noise)


def test_the_network_is_small_and_its_weights_stay_under_two_megabytes():
    assert sum(p.numel() for p in BrainNet().parameters()) < 450_000
    assert BRAIN_WEIGHTS.stat().st_size < 2_000_000


def test_folding_loses_nothing():
    values = torch.randn(2, 1, 8, 6, 4)
    assert torch.equal(brain_net._unfold(brain_net._fold(values)), values)


def test_intensities_become_zero_to_one_and_a_flat_image_zero():
    values = normalise(100 * torch.randn(1, 1, 16, 16, 16) + 50)
    assert (values.min(), values.max()) == (0, 1)
    assert not normalise(torch.full((1, 1, 8, 8, 8), 7.0)).any()
    values = torch.rand(1, 1, 16, 16, 16)
    torch.testing.assert_close(normalise(1e-12 * values), normalise(values))  # diffusivities, say


def test_the_networks_view_shows_every_point_of_the_body_where_it_is(head):
    scan = sitk.DICOMOrient(head[0], "PIR")
    view = network_view(scan)
    point = (20.0, 10.0, 30.0)
    expected = scan[scan.TransformPhysicalPointToIndex(point)]
    assert view[view.TransformPhysicalPointToIndex(point)] == pytest.approx(expected, rel=0.2)
    assert view.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)


def test_weights_that_differ_from_their_card_are_refused(tmp_path):
    file = tmp_path / "brain.safetensors"
    save_weights(BrainNet().state_dict(), file, {})
    assert read_weights(file, BrainNet(), ARCHITECTURE)[0].keys() == BrainNet().state_dict().keys()
    with pytest.raises(RegistrationError, match="another network"):
        read_weights(file, torch.nn.Linear(2, 2), ARCHITECTURE)
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(RegistrationError, match="fetch both files again"):
        extract_brain(sitk.Image(8, 8, 8, sitk.sitkInt16), file)
    with pytest.raises(RegistrationError, match="does not exist"):
        extract_brain(sitk.Image(8, 8, 8, sitk.sitkInt16), tmp_path / "none.safetensors")


@pytest.mark.parametrize("name", ["subj01_t1", "subj05_t1"])
def test_a_real_head_reaches_its_bar(data_folder, name):
    folder = data_folder / "heads" / "nichart"
    if not folder.is_dir():
        pytest.skip(f"no whole heads at {folder}")
    labels = sitk.ReadImage(str(folder / f"{name}_labels.nii.gz"))
    mask = extract_brain(sitk.ReadImage(str(folder / f"{name}.nii.gz")))
    assert dice(mask, labels) > 0.93


def test_the_brain_is_found_in_a_slab_of_a_head_and_cut_off_at_both_ends(data_folder):
    """40 mm from top to bottom."""
    folder = data_folder / "heads" / "nichart"
    if not folder.is_dir():
        pytest.skip(f"no whole heads at {folder}")
    labels = sitk.DICOMOrient(sitk.ReadImage(str(folder / "subj05_t1_labels.nii.gz")), "LPS")
    head = sitk.DICOMOrient(sitk.ReadImage(str(folder / "subj05_t1.nii.gz")), "LPS")
    slices = np.flatnonzero(sitk.GetArrayViewFromImage(labels).any((1, 2)))
    middle, half = int(slices.mean()), round(20 / head.GetSpacing()[2])
    mask = extract_brain(head[:, :, middle - half : middle + half])
    assert dice(mask, labels[:, :, middle - half : middle + half]) > 0.92
    assert cut_sides(mask) == ["bottom", "top"]
