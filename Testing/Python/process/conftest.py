"""What the tests of cohorts share: scans that nothing registers, and a table that names them."""

from __future__ import annotations

import pytest
import SimpleITK as sitk


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
