"""Brains are packed as they lie in the canonical frame; what lies otherwise is refused."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib.cli.main import main
from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.geometry.canonical import canonical_grid, template
from ULAERegistrationLib.training.data import Brains, pack


def write(folder, person: str, image: sitk.Image, labels: sitk.Image | None = None) -> None:
    for part, volume in (("t1", image), ("seg", labels)):
        if volume is not None:
            sitk.WriteImage(volume, str(folder / f"{person}_{part}.nii.gz"))


def refused(folder) -> str:
    with pytest.raises(RegistrationError) as refusal:
        pack(folder, folder / "pack.npz")
    assert not (folder / "pack.npz").exists()
    return str(refusal.value)


@pytest.mark.slow
def test_brains_on_the_canonical_grid_are_packed_with_their_labels(tmp_path):
    write(tmp_path, "nirep-na01", template(), template() > 100)
    counts = pack(tmp_path, tmp_path / "pack.npz")
    assert (counts["people"], counts["labelled"], counts["heads"]) == (1, 1, 0)
    brains = Brains(tmp_path / "pack.npz")
    values = sitk.GetArrayViewFromImage(template()).transpose(2, 1, 0)
    assert np.abs(255 * brains.image("nirep-na01")[0, 0].numpy() - values).max() <= 12
    assert np.array_equal(brains.labels("nirep-na01").numpy(), values > 100)


def test_labels_that_a_scale_factor_moved_are_packed_as_the_numbers_that_they_were(tmp_path):
    labels = sitk.Cast(template() > 100, sitk.sitkFloat32) * 2.9998
    write(tmp_path, "ann", canonical_grid(), labels)
    pack(tmp_path, tmp_path / "pack.npz")
    assert set(np.unique(Brains(tmp_path / "pack.npz").labels("ann").numpy())) == {0, 3}


def test_labels_with_fractional_values_are_not_packed(tmp_path):
    write(tmp_path, "ann", canonical_grid(), sitk.Cast(template() > 100, sitk.sitkFloat32) * 4.6)
    assert "The label map of ann holds values that are not whole numbers" in refused(tmp_path)


def test_a_brain_that_was_cut_short_is_not_packed(tmp_path):
    """ITK reads voxels that are missing as zeros, without a word."""
    write(tmp_path, "ann", template())
    file = tmp_path / "ann_t1.nii.gz"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    sentence = refused(tmp_path)
    assert sentence.startswith("The image of ann ")
    assert "is cut short or damaged" in sentence


def turned(image: sitk.Image) -> None:
    image.SetDirection((0, 1, 0, 1, 0, 0, 0, 0, 1))


@pytest.mark.parametrize(
    "change",
    [
        turned,
        lambda image: image.SetOrigin((-80, -78, -73)),
        lambda image: image.SetSpacing((1, 1, 1.2)),
    ],
)
@pytest.mark.parametrize("part", ["image", "labels"])
def test_what_lies_otherwise_is_not_packed(tmp_path, change, part):
    volumes = {"image": canonical_grid(), "labels": canonical_grid()}
    change(volumes[part])
    write(tmp_path, "ann", **volumes)
    assert f"The {part} of ann lie" in refused(tmp_path)


def test_a_brain_of_another_size_is_not_packed(tmp_path):
    write(tmp_path, "ann", sitk.Image(16, 16, 16, sitk.sitkUInt8))
    assert refused(tmp_path) == (
        "The image of ann lies on another grid (16 x 16 x 16 voxels of 1 x 1 x 1 mm, origin 0 0 0, directions "
        "1 0 0 0 1 0 0 0 1); brains are trained on in the canonical frame (160 x 192 x 160 voxels of 1 x 1 x 1 mm, "
        "origin -80 -78 -74, directions 1 0 0 0 1 0 0 0 1)."
    )


def test_an_image_whose_values_a_byte_does_not_hold_is_not_packed(tmp_path):
    write(tmp_path, "ann", sitk.Cast(canonical_grid(), sitk.sitkInt16) + 300)
    assert "The image of ann is not of 8 bits" in refused(tmp_path)


def test_a_file_that_is_no_image_is_not_packed(tmp_path):
    (tmp_path / "ann_t1.nii.gz").write_text("no image")
    assert refused(tmp_path) == "The image of ann cannot be read; give ann_t1.nii.gz as a NIfTI file."


def test_a_folder_without_brains_is_no_pack(tmp_path, capsys):
    assert main(["train", "--pack", str(tmp_path), "-o", str(tmp_path / "pack.npz")]) == 1
    assert "There are no brains in" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_pack_or_a_damaged_one_is_refused_in_a_sentence(tmp_path, packed, capsys):
    file = tmp_path / "pack.npz"

    def refused(content: bytes) -> bool:
        file.write_bytes(content)
        assert main(["train", str(file), "-o", str(tmp_path / "run")]) == 1
        assert not (tmp_path / "run").exists()
        said = capsys.readouterr().err
        return said.startswith(f"ulae: {file} cannot be read as packed data") and said.count("\n") == 1

    whole = packed.read_bytes()
    assert refused(b"no pack")
    assert refused(b"")
    assert refused(whole[: len(whole) // 2])
    middle = len(whole) // 2
    assert refused(whole[:middle] + bytes(200) + whole[middle + 200 :])
    np.savez(file, image=np.zeros(3))
    assert refused(file.read_bytes())
