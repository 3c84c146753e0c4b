"""Writes the simulated subject that ships as sample data, and prints the checksums for `sampleData.py`.

    python Testing/tools/make_sample_data.py

To be run again when the template or the simulation changes; a test compares the file with the simulation.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import SimpleITK as sitk

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))


def main() -> None:
    from ULAERegistrationLib.simulation import simulate

    subject = ROOT / "ULAERegistration" / "Resources" / "SampleData" / "ULAESimulatedSubject.nii.gz"
    sitk.WriteImage(simulate().subject, str(subject), useCompression=True)
    for path in (ROOT / "ULAERegistrationLib" / "models" / "template.nii.gz", subject):
        print(path.name, "SHA256:" + hashlib.sha256(path.read_bytes()).hexdigest())


if __name__ == "__main__":
    main()
