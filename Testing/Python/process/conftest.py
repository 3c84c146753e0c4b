"""What the tests of cohorts share: scans, a table that names them, and a registration that takes no time."""

from __future__ import annotations

import pytest
import SimpleITK as sitk

from ULAERegistrationLib import registration
from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.output import thumbnail
from ULAERegistrationLib.process import pair


@pytest.fixture
def scan(tmp_path):
    image = sitk.GaussianSource(size=[30, 30, 30], sigma=[9] * 3, mean=[15] * 3)
    sitk.WriteImage(image, str(tmp_path / "scan.nii.gz"))
    sitk.WriteImage(2 * image, str(tmp_path / "bad.nii.gz"))
    return tmp_path / "scan.nii.gz"


@pytest.fixture
def table(scan):
    def write(*lines: str, header: str = "name,fixed,moving"):
        path = scan.parent / "cohort.csv"
        path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture
def quick(monkeypatch):
    """`register` that takes no time and does as the moving image's name says; tells which it was asked for."""
    asked = []

    def register(fixed, moving, settings, progress, **files):
        asked.append(files)
        progress(0.5, "Half way")
        if fixed.name == "bad.nii.gz":
            raise RegistrationError("The moving image shows no brain; choose another.")
        return Result("fixed_mask" in files)

    class Result:
        def __init__(self, has_mask):
            self.has_mask = has_mask

        def save(self, folder, warped_labels):
            if self.has_mask:
                (folder / "fixed_brain.nii.gz").write_bytes(b"the mask, written anew")
            if warped_labels is not None:
                sitk.WriteImage(warped_labels, str(folder / "warped_labels.nii.gz"))
            (folder / "quality.json").write_text(
                '{"verdict": "good", "reasons": ["They match."], "ncc_after": 0.61237}'
            )

        def warp_labels(self, labels):
            return labels

        def view(self):
            return None

    monkeypatch.setattr(registration, "register", register)
    monkeypatch.setattr(thumbnail, "thumbnail", lambda view: b"a picture")
    monkeypatch.setattr(pair, "read_volume", lambda path, role: path)
    monkeypatch.setattr(pair, "read_labels", lambda path, image, role: sitk.ReadImage(str(path)))
    return asked
