"""Transform files are what ITK reads, without a change of sign."""

from __future__ import annotations

import gzip
import struct
import sys

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from in_world import mapped

from ULAERegistrationLib.applying import apply_transform
from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.files import h5_transforms, transform_headers
from ULAERegistrationLib.files.transform_headers import look_at_transform
from ULAERegistrationLib.files.transforms import read_transform, write_transform
from ULAERegistrationLib.files.volumes import write_image
from ULAERegistrationLib.geometry.inverse import inverse


@pytest.mark.slow
@pytest.mark.parametrize("name", ["transform.h5", "transform.nii.gz"])
def test_a_written_transform_reads_back_without_a_sign_change(tmp_path, oblique, name) -> None:
    path = tmp_path / name
    write_transform(oblique.transform, path, oblique.fixed)
    assert [file.name for file in tmp_path.iterdir()] == [name]
    if name.endswith(".h5"):
        others = sitk.ReadTransform(str(path))
    else:
        others = sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
        with gzip.open(path) as file:
            header = file.read(348)
        assert struct.unpack("<h", header[68:70]) == (1007,)  # NIFTI_INTENT_VECTOR, as ANTs writes its warps
        assert struct.unpack("<6h", header[40:52])[4:] == (1, 3)
    accuracy = 1e-9 if name.endswith(".h5") else 0.05  # the whole map, or one field of it
    expected = mapped(oblique.transform, oblique.points)
    np.testing.assert_allclose(mapped(others, oblique.points), expected, atol=accuracy)
    np.testing.assert_allclose(mapped(read_transform(path), oblique.points), expected, atol=accuracy)


def test_displacements_are_stored_in_the_bits_that_they_have(tmp_path, oblique, monkeypatch) -> None:
    """A flow has 32: half of the file that SimpleITK writes, which is written where h5py is missing. Both are exact."""
    expected = mapped(oblique.transform, oblique.points)
    write_transform(oblique.transform, tmp_path / "32.h5")
    parts = [oblique.transform.GetNthTransform(number).Downcast() for number in range(3)]
    field = parts[1].GetDisplacementField()
    voxels = field.GetNumberOfPixels()
    longer = sitk.GetImageFromArray(sitk.GetArrayFromImage(field) * (1 + 1e-12), isVector=True)
    longer.CopyInformation(field)
    moved = sitk.DisplacementFieldTransform(longer)
    write_transform(moved, tmp_path / "64.h5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    write_transform(oblique.transform, tmp_path / "without.h5")
    for name, size in (("32.h5", 12), ("64.h5", 24), ("without.h5", 24)):
        assert (tmp_path / name).stat().st_size == pytest.approx(size * voxels, rel=0.01)
    for name in ("32.h5", "without.h5"):
        np.testing.assert_array_equal(mapped(read_transform(tmp_path / name), oblique.points), expected)
    np.testing.assert_array_equal(
        mapped(read_transform(tmp_path / "64.h5"), oblique.points), mapped(moved, oblique.points)
    )


def test_a_chain_of_several_fields_is_stored_in_its_order(tmp_path, oblique) -> None:
    affine, field, back = (oblique.transform.GetNthTransform(number).Downcast() for number in range(3))
    small = sitk.DisplacementFieldTransform(field.GetDisplacementField()[::9, ::8, ::7])
    for chain in (small, sitk.CompositeTransform([small, affine, field, back, small])):
        write_transform(chain, tmp_path / "chain.h5")
        for found in (read_transform(tmp_path / "chain.h5"), sitk.ReadTransform(str(tmp_path / "chain.h5"))):
            np.testing.assert_array_equal(mapped(found, oblique.points), mapped(chain, oblique.points))


def bend() -> sitk.DisplacementFieldTransform:
    z, y, x = np.indices((12, 12, 12))
    waves = np.stack([np.sin(y / 3), np.cos(z / 3), np.sin(x / 3)], axis=-1).astype(np.float32).astype(float)
    return sitk.DisplacementFieldTransform(sitk.GetImageFromArray(waves, isVector=True))


@pytest.mark.parametrize("h5py_is_there", [True, False])
def test_chains_of_chains_that_were_read_are_stored_and_map_as_before(tmp_path, monkeypatch, h5py_is_there) -> None:
    if not h5py_is_there:
        monkeypatch.setattr(h5_transforms, "_h5py", lambda: None)
    turn = sitk.Euler3DTransform((5.0, 5.0, 5.0), 0.1, 0.2, 0.3, (1.0, 0.0, -1.0))
    for name, parts in (("1.h5", [turn, bend()]), ("2.h5", [sitk.ScaleTransform(3, (1.1, 0.9, 1.2)), bend()])):
        write_transform(sitk.CompositeTransform(parts), tmp_path / name)
    first, second = (read_transform(tmp_path / name) for name in ("1.h5", "2.h5"))
    both = sitk.CompositeTransform([second, sitk.CompositeTransform([sitk.CompositeTransform(3), first])])
    write_transform(both, tmp_path / "both.h5")
    again = read_transform(tmp_path / "both.h5")
    for point in np.random.default_rng(0).uniform(2, 9, (20, 3)).tolist():
        expected = second.TransformPoint(first.TransformPoint(point))
        assert again.TransformPoint(point) == pytest.approx(expected, abs=1e-9)
        assert expected != pytest.approx(first.TransformPoint(second.TransformPoint(point)), abs=0.1)


@pytest.mark.parametrize("nothing", [sitk.CompositeTransform(3), sitk.CompositeTransform([sitk.CompositeTransform(3)])])
def test_a_chain_of_no_parts_is_stored_as_the_identity_that_it_is(tmp_path, nothing) -> None:
    write_transform(nothing, tmp_path / "nothing.h5")
    assert read_transform(tmp_path / "nothing.h5").TransformPoint((1.0, 2.0, 3.0)) == (1.0, 2.0, 3.0)
    assert inverse(nothing).TransformPoint((1.0, 2.0, 3.0)) == (1.0, 2.0, 3.0)


def test_a_field_marked_as_displacements_in_ras_is_understood(tmp_path) -> None:
    """NIfTI's intent 1006 holds RAS components by definition; ITK turns them."""
    vectors = np.broadcast_to(np.float32([1, 2, 3]), (9, 9, 9, 3))
    write_image(sitk.GetImageFromArray(np.ascontiguousarray(vectors), isVector=True), tmp_path / "field.nii.gz")
    with gzip.open(tmp_path / "field.nii.gz") as file:
        content = bytearray(file.read())
    content[68:70] = struct.pack("<h", 1006)
    with gzip.open(tmp_path / "field.nii.gz", "wb") as file:
        file.write(content)
    assert read_transform(tmp_path / "field.nii.gz").TransformPoint((4.0, 4.0, 4.0)) == (3.0, 2.0, 7.0)


def test_without_a_fixed_image_linear_transforms_and_chains_are_kept_in_h5_only(tmp_path, oblique) -> None:
    linear, points = oblique.alignment.fixed_to_moving, oblique.points
    write_transform(linear, tmp_path / "linear.h5")
    np.testing.assert_allclose(
        mapped(read_transform(tmp_path / "linear.h5"), points), mapped(linear, points), atol=1e-9
    )
    with pytest.raises(RegistrationError, match=r"\.h5 instead"):
        write_transform(oblique.transform, tmp_path / "chain.nii.gz")
    with pytest.raises(RegistrationError, match="end its name with"):
        write_transform(linear, tmp_path / "linear.mat")
    assert [file.name for file in tmp_path.iterdir()] == ["linear.h5"]


def test_what_is_no_transform_is_refused_in_one_sentence(tmp_path, oblique) -> None:
    (tmp_path / "text.h5").write_text("not a transform")
    write_image(oblique.fixed, tmp_path / "scan.nii.gz")
    for name, why in (("text.h5", "is not a transform"), ("scan.nii.gz", "three components"), ("no.h5", "not exist")):
        with pytest.raises(RegistrationError, match=why) as refusal:
            read_transform(tmp_path / name)
        assert "\n" not in str(refusal.value)


def in_text(*transforms: str) -> str:
    parts = "".join(f"#Transform {number}\n{text}\n" for number, text in enumerate(transforms))
    return f"#Insight Transform File V1.0\n{parts}"


CENTERED = """Transform: CenteredAffineTransform_double_3_3
Parameters: 1.1 0.1 0 0 0.9 0.2 0 0 1 10 20 30 1 2 3
FixedParameters: 10 20 30"""
PLAIN = """Transform: AffineTransform_double_3_3
Parameters: 1 0 0 0.1 1 0 0 0 1 5 6 7
FixedParameters: 0 0 0"""
COMPOSITE = "Transform: CompositeTransform_double_3_3"


@pytest.mark.parametrize(
    "text",
    [
        in_text(CENTERED),
        in_text(COMPOSITE, CENTERED, PLAIN),
        in_text(COMPOSITE, PLAIN, CENTERED),
        in_text(COMPOSITE, CENTERED, CENTERED),
    ],
)
def test_classes_that_simpleitk_reads_and_cannot_give_out_become_affine(tmp_path, text) -> None:
    """SimpleITK #2499: such a transform maps points, and fails where a part of it is asked for."""
    (tmp_path / "t.tfm").write_text(text)
    points = np.random.default_rng(0).uniform(-90, 90, (20, 3))
    found = read_transform(tmp_path / "t.tfm")
    parts = {"Centered": sitk.AffineTransform([1.1, 0.1, 0, 0, 0.9, 0.2, 0, 0, 1], [1.0, 2, 3], [10.0, 20, 30])}
    parts["Affine"] = sitk.AffineTransform([1, 0, 0, 0.1, 1, 0, 0, 0, 1], [5.0, 6, 7])
    names = [line.split()[1] for line in text.splitlines() if line.startswith("Transform: ")]
    chain = [part for name in names for key, part in parts.items() if name.startswith(key)]
    expected = mapped(sitk.CompositeTransform(chain), points)
    np.testing.assert_allclose(mapped(found, points), expected, atol=1e-9)
    np.testing.assert_allclose(mapped(inverse(found), expected), points, atol=1e-9)


POLAR = """Transform: AzimuthElevationToCartesianTransform_double_3_3
Parameters: 1 1 1 1
FixedParameters: 1 1 1 1 1"""


@pytest.mark.parametrize("text", [in_text(POLAR), in_text(COMPOSITE, POLAR), in_text(COMPOSITE, PLAIN, POLAR)])
def test_a_class_that_is_neither_linear_nor_given_out_is_refused_in_one_sentence(tmp_path, text) -> None:
    """It was taken for a linear map, of a composite transform."""
    (tmp_path / "t.tfm").write_text(text)
    with pytest.raises(RegistrationError, match=r"not a transform that ITK can read|of a class that is not read here"):
        read_transform(tmp_path / "t.tfm")


@pytest.mark.parametrize("name", ["warp.nii", "warp.nii.gz", "warp.mha", "warp.nrrd"])
def test_a_displacement_field_is_read_from_any_image(tmp_path, name) -> None:
    """uniGradICON #87."""
    field = sitk.GetImageFromArray(np.random.default_rng(0).normal(size=(6, 7, 8, 3)).astype(np.float32), isVector=True)
    sitk.WriteImage(field, str(tmp_path / name))
    expected = [x + u for x, u in zip((3, 4, 5), field[3, 4, 5], strict=True)]
    np.testing.assert_allclose(read_transform(tmp_path / name).TransformPoint((3.0, 4.0, 5.0)), expected, atol=1e-5)


@pytest.mark.parametrize(
    "transform",
    [
        sitk.Euler3DTransform((1.0, 2.0, 3.0), 0.1, -0.2, 0.15, (3.0, -4.0, 5.0)),
        sitk.VersorRigid3DTransform((0.0, 0.0, 1.0), 0.2, (1.0, 2.0, 3.0), (11.3, -20.7, 33.1)),
        sitk.Similarity3DTransform(1.1, (0.0, 0.6, 0.8), 0.3, (1.0, 2.0, 3.0), (11.3, -20.7, 33.1)),
        sitk.ScaleVersor3DTransform((1.1, 0.9, 1.0), (0.0, 0.0, 1.0), 0.1, (1.0, 1.0, 1.0), (7.3, 1.9, -3.3)),
        sitk.ScaleSkewVersor3DTransform((1.1, 0.9, 1.0), (0.0, 0.1, 0.0, 0.0, 0.2, 0.0), (0.0, 0.0, 1.0), 0.1),
    ],
)
def test_linear_transforms_of_every_class_are_written_read_and_inverted(tmp_path, transform) -> None:
    """ITK computes their offsets anew from their centres, and inverts some of them not at all."""
    points = np.random.default_rng(0).normal(0, 80, (20, 3))
    write_transform(transform, tmp_path / "there.h5")
    there = read_transform(tmp_path / "there.h5")
    np.testing.assert_allclose(mapped(there, points), mapped(transform, points), atol=1e-9)
    write_transform(inverse(there), tmp_path / "back.h5")
    np.testing.assert_allclose(mapped(read_transform(tmp_path / "back.h5"), mapped(there, points)), points, atol=1e-9)


def test_transforms_that_no_scan_can_use_are_refused_in_one_sentence(tmp_path) -> None:
    field = np.zeros((6, 7, 8, 3), np.float32)
    field[2, 3, 4, 1] = np.nan
    sitk.WriteImage(sitk.GetImageFromArray(field, isVector=True), str(tmp_path / "nan.nii.gz"))
    sitk.WriteTransform(
        sitk.DisplacementFieldTransform(sitk.GetImageFromArray(field.astype(float), isVector=True)),
        str(tmp_path / "nan.h5"),
    )
    (tmp_path / "nan.tfm").write_text(in_text(PLAIN.replace("1 0 0 0.1", "nan 0 0 0.1")))
    (tmp_path / "word.tfm").write_text(in_text(PLAIN.replace("1 0 0 0.1", "nan1 0 0 0.1")))  # at which ITK crashes
    (tmp_path / "flat.tfm").write_text(in_text(PLAIN.replace("0 0 1 5 6 7", "0 0 0 5 6 7")))
    sitk.WriteTransform(sitk.Euler2DTransform(), str(tmp_path / "plane.tfm"))
    sitk.WriteTransform(sitk.TranslationTransform(3), str(tmp_path / "cut.h5"))
    (tmp_path / "cut.h5").write_bytes((tmp_path / "cut.h5").read_bytes()[:3000])
    for name, why in {
        **{"nan.nii.gz": "NaN", "nan.h5": "no numbers", "flat.tfm": "no inverse", "plane.tfm": "2 dimensions"},
        **dict.fromkeys(("nan.tfm", "word.tfm", "cut.h5"), "is not a transform"),
    }.items():
        with pytest.raises(RegistrationError, match=why) as refusal:
            read_transform(tmp_path / name)
        assert str(refusal.value).isprintable(), name


def test_any_transform_warps_the_other_way_too(tmp_path) -> None:
    """A B-spline has no inverse of its own, so it is sampled."""
    image = sitk.GaussianSource(sitk.sitkFloat32, [40, 42, 44], [6] * 3, [18, 20, 22])
    spline = sitk.BSplineTransformInitializer(image, [4, 4, 4])
    spline.SetParameters(np.random.default_rng(0).uniform(-1.5, 1.5, len(spline.GetParameters())).tolist())
    warped = apply_transform(spline, image, image)
    back = apply_transform(spline, warped, image, inverse=True)
    inside = np.s_[8:-8, 8:-8, 8:-8]
    apart = np.abs(sitk.GetArrayFromImage(back) - sitk.GetArrayFromImage(image))[inside]
    moved = np.abs(sitk.GetArrayFromImage(warped) - sitk.GetArrayFromImage(image))[inside]
    assert apart.mean() < 0.15 * moved.mean()


def test_a_text_transform_too_long_to_be_looked_at_whole_is_not_refused_for_a_number_cut_in_two(tmp_path, monkeypatch):
    file = tmp_path / "long.tfm"
    sitk.WriteTransform(sitk.TranslationTransform(3, (1.5, -2.5, 3.5)), str(file))
    content = file.read_bytes()
    end = content.index(b"-2.5") + len("-")
    monkeypatch.setattr(transform_headers, "LONGEST", end)
    assert look_at_transform(file) == content[:end]


def test_a_matlab_transform_is_looked_at_whole(tmp_path, monkeypatch) -> None:
    """A B-spline of 40 control points along each side has more than the beginning that is looked at of other files."""
    file = tmp_path / "long.mat"
    sitk.WriteTransform(sitk.AffineTransform(3), str(file))
    monkeypatch.setattr(transform_headers, "LONGEST", 60)
    look_at_transform(file)


def test_a_displacement_field_in_nifti_2_is_read(tmp_path) -> None:
    field = np.random.default_rng(0).normal(0, 3, (9, 10, 11, 1, 3)).astype(np.float32)
    for kind, name in ((nibabel.Nifti1Image, "one.nii.gz"), (nibabel.Nifti2Image, "two.nii.gz")):
        image = kind(field, np.diag([2.0, 2.0, 2.0, 1.0]))
        image.header["intent_code"] = 1007
        nibabel.save(image, tmp_path / name)
    points = np.random.default_rng(1).uniform(-12, 0, (20, 3)) * (1, 1, -1)
    one, two = (read_transform(tmp_path / name) for name in ("one.nii.gz", "two.nii.gz"))
    np.testing.assert_allclose(mapped(two, points), mapped(one, points))
    assert np.linalg.norm(mapped(two, points) - points, axis=1).max() > 1
