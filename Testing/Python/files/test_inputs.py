"""The checksum of an input, which tells whether a result was made from it."""

from __future__ import annotations

import hashlib

import pytest

from ULAERegistrationLib.files.inputs import digest


def test_the_checksum_of_a_file_is_what_every_other_program_gives(tmp_path):
    (tmp_path / "scan.nii.gz").write_bytes(b"voxels")
    assert digest(tmp_path / "scan.nii.gz") == hashlib.sha256(b"voxels").hexdigest()
    assert digest(tmp_path / "nowhere.nii.gz") == ""
    assert digest(tmp_path) == ""  # a folder without a scan


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("scan.nrrd", b"NRRD0004\nencoding: raw\n\n\ndata file: %d\ndata file: notes.txt\n"),
        ("scan.mha", b"NDims = 3\nElementDataFile = LOCAL\nnotes.txt\n%d\n"),
        ("scan.hdr", b"a header"),
    ],
)
def test_what_only_lies_beside_a_scan_or_looks_like_a_name_among_its_voxels_does_not_count(tmp_path, name, header):
    for file, content in ((name, header), ("scan.img", b"voxels"), ("notes.txt", b"a"), ("scan.json", b"{}")):
        (tmp_path / file).write_bytes(content)
    before = digest(tmp_path / name)
    for file in ("notes.txt", "scan.json"):
        (tmp_path / file).write_bytes(b"others")
    assert digest(tmp_path / name) == before
