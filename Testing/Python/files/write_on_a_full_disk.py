"""Write every kind of file where there is no room for it, and print what is said of each as JSON.

python write_on_a_full_disk.py FOLDER [limited]: `limited` lets no file of this process grow beyond 20 kB.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.files.transforms import write_transform
from ULAERegistrationLib.files.volumes import write_image
from ULAERegistrationLib.files.writing import whole_folder_or_nothing, whole_or_nothing


def main(folder: Path, is_limited: bool) -> None:
    if is_limited:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    random = np.random.default_rng(0)
    image = sitk.GetImageFromArray(random.normal(size=(60, 61, 62)).astype(np.float32))
    field = sitk.GetImageFromArray(random.normal(size=(60, 61, 62, 3)), isVector=True)
    transform = sitk.CompositeTransform([sitk.AffineTransform(3), sitk.DisplacementFieldTransform(field)])
    # What a header with other codes is written by.
    coded = sitk.Image(image)
    for key in ("pixdim[0]", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"):
        coded.SetMetaData(key, "0")
    for key in ("pixdim[1]", "pixdim[2]", "pixdim[3]"):
        coded.SetMetaData(key, "1")
    for key, value in {"srow_x": "-1 0 0 0", "srow_y": "0 -1 0 0", "srow_z": "0 0 1 0"}.items():
        coded.SetMetaData(key, value)
    coded.SetMetaData("qform_code", "0")
    coded.SetMetaData("sform_code", "4")
    writers = {name: lambda path: write_image(image, path) for name in ("a.nii", "a.nii.gz", "a.nrrd", "a.mha")}
    writers |= {name: lambda path: write_image(coded, path) for name in ("coded.nii", "coded.nii.gz")}
    writers |= {name: lambda path: write_transform(transform, path, image) for name in ("t.h5", "t.nii.gz")}
    writers |= {"report.html": _text, "folder": _folder, "result": lambda path: _result(image, path)}
    said = {}
    for name, write in writers.items():
        try:
            write(folder / name)
        except RegistrationError as error:
            said[name] = str(error)
        else:
            said[name] = "was written"
    print(json.dumps(said))


def _text(path: Path) -> None:
    with whole_or_nothing(path) as partial:
        partial.write_text("x" * 1_000_000)


def _folder(path: Path) -> None:
    with whole_folder_or_nothing(path) as partial:
        (partial / "quality.json").write_text("{}")
        (partial / "figure.png").write_bytes(bytes(1_000_000))


def _result(image: sitk.Image, path: Path) -> None:
    with whole_folder_or_nothing(path) as partial:
        write_image(image, partial / "steps" / "warped.nii.gz")


if __name__ == "__main__":
    main(Path(sys.argv[1]), "limited" in sys.argv[2:])
