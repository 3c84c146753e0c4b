"""`ulae convert` writes the same map in every form, in both directions."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
from in_world import mapped

from ULAERegistrationLib import read_transform, write_transform
from ULAERegistrationLib.cli.main import main


@pytest.fixture(scope="module")
def fixed() -> sitk.Image:
    """An image that lies obliquely in the world."""
    image = sitk.GaussianSource(size=[30, 26, 28], sigma=[8] * 3, mean=[28, 25, 27])
    image.SetSpacing((2.0, 2.0, 2.0))
    image.SetOrigin((-40.0, 15.0, -20.0))
    image.SetDirection(sitk.Euler3DTransform((0, 0, 0), 0.1, -0.2, 0.3).GetMatrix())
    return image


@pytest.fixture(scope="module")
def transform(fixed) -> sitk.CompositeTransform:
    """An affine part, a bend, and another affine part, as a registration stores it."""
    there, back = sitk.Euler3DTransform((0, 0, 0), 0.2, 0.1, 0.0, (5, -3, 8)), sitk.AffineTransform(3)
    back.Scale((1.1, 0.9, 1.05))
    z, y, x = np.indices((40, 40, 40)) / 8.0
    bend = np.stack([3 * np.sin(y), 2 * np.sin(z), 2 * np.sin(x)], axis=-1)
    field = sitk.GetImageFromArray(bend, isVector=True)
    field.SetSpacing((4.0, 4.0, 4.0))
    field.SetOrigin((-90.0, -60.0, -60.0))
    return sitk.CompositeTransform([back, sitk.DisplacementFieldTransform(field), there])


@pytest.fixture(scope="module")
def points(fixed) -> list[tuple[float, ...]]:
    places = np.random.default_rng(0).random((100, 3)) * (np.array(fixed.GetSize()) - 1)
    return [fixed.TransformContinuousIndexToPhysicalPoint(place.tolist()) for place in places]


@pytest.fixture
def files(transform, fixed, tmp_path):
    write_transform(transform, tmp_path / "t.h5")
    sitk.WriteImage(fixed, str(tmp_path / "fixed.nii.gz"))
    return tmp_path


@pytest.mark.parametrize("name", ["field.nii.gz", "field.nrrd"])
def test_every_form_is_the_same_map_to_itk_and_comes_back(files, transform, points, capsys, name: str) -> None:
    like = ["--like", str(files / "fixed.nii.gz")]
    assert main(["convert", str(files / "t.h5"), str(files / name), *like, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "DisplacementFieldTransform"
    theirs = sitk.DisplacementFieldTransform(sitk.ReadImage(str(files / name), sitk.sitkVectorFloat64))
    assert np.abs(mapped(theirs, points) - mapped(transform, points)).max() < 0.05
    assert main(["convert", str(files / name), str(files / "again.h5")]) == 0
    again = sitk.ReadTransform(str(files / "again.h5"))
    assert np.abs(mapped(again, points) - mapped(theirs, points)).max() < 1e-4


def test_the_inverse_is_converted_too(files, transform, points) -> None:
    assert main(["convert", str(files / "t.h5"), str(files / "back.h5"), "--inverse"]) == 0
    back = read_transform(files / "back.h5")
    assert np.abs(mapped(back, mapped(transform, points).tolist()) - points).max() < 0.1


@pytest.mark.parametrize("spacing", ["0", "-1", "nan", "inf"])
def test_a_spacing_that_is_none_is_wrong_usage(files, capsys, spacing) -> None:
    like = ["--like", str(files / "fixed.nii.gz"), "--spacing", spacing]
    assert main(["convert", str(files / "t.h5"), str(files / "none.nrrd"), *like]) == 2
    assert "The spacing of a field is 0.2 to 10 mm" in capsys.readouterr().err
    assert not (files / "none.nrrd").exists()


def test_a_field_is_laid_onto_the_grid_that_is_asked_for(files, fixed, points) -> None:
    like = ["--like", str(files / "fixed.nii.gz")]
    assert main(["convert", str(files / "t.h5"), str(files / "fine.nrrd"), *like]) == 0
    assert main(["convert", str(files / "fine.nrrd"), str(files / "coarse.nrrd"), *like, "--spacing", "4"]) == 0
    fine, coarse = (sitk.ReadImage(str(files / name), sitk.sitkVectorFloat64) for name in ("fine.nrrd", "coarse.nrrd"))
    assert coarse.GetSpacing() == pytest.approx((4, 4, 4), rel=0.1)
    apart = mapped(sitk.DisplacementFieldTransform(coarse), points) - mapped(
        sitk.DisplacementFieldTransform(fine), points
    )
    assert np.abs(apart).max() < 0.5


@pytest.mark.parametrize(
    ("output", "options", "sentence"),
    [
        ("t2.h5", ["--like", "fixed.nii.gz"], "holds the transform as it is"),
        ("field.nrrd", ["--spacing", "2"], "give that image too"),
    ],
)
def test_an_option_that_would_change_nothing_is_wrong_usage(files, capsys, monkeypatch, output, options, sentence):
    monkeypatch.chdir(files)
    assert main(["convert", "t.h5", output, *options]) == 2
    assert sentence in capsys.readouterr().err
    assert not (files / output).exists()


def test_a_field_without_a_grid_is_refused_in_a_sentence(files, capsys) -> None:
    assert main(["convert", str(files / "t.h5"), str(files / "field.nii.gz")]) == 1
    assert "give the image that it covers" in capsys.readouterr().err
    assert not (files / "field.nii.gz").exists()
    assert main(["convert", str(files / "t.h5"), str(files / "field.mat"), "--like", "no.nii.gz"]) == 1
    assert "end its name with .h5 or .nii.gz or .nrrd" in capsys.readouterr().err
