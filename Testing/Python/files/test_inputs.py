"""The checksum of an input, which tells whether a result was made from it."""

from __future__ import annotations

import hashlib

from ULAERegistrationLib.files.inputs import digest


def test_the_checksum_of_a_file_is_what_every_other_program_gives(tmp_path):
    (tmp_path / "scan.nii.gz").write_bytes(b"voxels")
    assert digest(tmp_path / "scan.nii.gz") == hashlib.sha256(b"voxels").hexdigest()
    assert digest(tmp_path / "nowhere.nii.gz") == ""


def test_the_checksum_of_several_files_changes_with_each_of_them(tmp_path):
    for name in ("a.dcm", "b.dcm"):
        (tmp_path / name).write_bytes(b"slice")
    before = digest(tmp_path)
    (tmp_path / "b.dcm").write_bytes(b"another slice")
    assert digest(tmp_path) != before
