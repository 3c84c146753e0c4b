"""The sources of the brains that the weights and the template were made from, their licence and citations."""

from __future__ import annotations

from collections.abc import Iterable

# The validation people of the project's own data, fixed by name: never used in training or in the template.
VALIDATION_PEOPLE = ("nirep-na04", "nirep-na16", "oasis-1113", "oasis-1125")
LICENCE = "CC BY-NC 4.0 (research use), because part of the data is non-commercial"
NEURITE_OASIS = "neurite OASIS: Hoopes A et al., HyperMorph, IPMI 2021; doi:10.1007/978-3-030-78191-0_1."
# The citations that each source requires, by the prefix of its people's names.
SOURCES: dict[str, tuple[str, ...]] = {
    "nirep": (
        "NIREP NA0: Christensen GE et al., Introduction to the Non-rigid Image Registration Evaluation Project "
        "(NIREP), WBIR 2006.",
    ),
    "oasis": (
        "OASIS: Marcus DS et al., Open Access Series of Imaging Studies (OASIS): cross-sectional MRI data in young, "
        "middle aged, nondemented, and demented older adults, J Cogn Neurosci 19(9), 2007; grants P50 AG05681, "
        "P01 AG03991, R01 AG021910, P20 MH071616, U24 RR021382; doi:10.1162/jocn.2007.19.9.1498.",
        "OASIS scans 1101-1128 as packaged for the MICCAI 2012 Grand Challenge and Workshop on Multi-Atlas Labeling; "
        "their labels by Neuromorphometrics, Inc.",
        NEURITE_OASIS,
    ),
    "vxm": (NEURITE_OASIS,),
    "fcon": (
        "1000 Functional Connectomes Project: Biswal BB et al., Toward discovery science of human brain function, "
        "PNAS 107(10), 2010; doi:10.1073/pnas.0911855107 (Beijing, Cambridge, ICBM).",
    ),
    "ds2748": (
        "OpenNeuro ds002748 v1.0.5: Bezmaternykh DD et al., 2021; doi:10.18112/openneuro.ds002748.v1.0.5 (CC0).",
    ),
    "jhu": (
        "JHU Eve atlas: Oishi K et al., Atlas-based whole brain white matter analysis using LDDMM, NeuroImage 46, "
        "2009.",
    ),
    "mne": (
        "MNE sample: Gramfort A et al., MNE software for processing MEG and EEG data, NeuroImage 86, 2014; "
        "doi:10.1016/j.neuroimage.2013.10.027.",
    ),
    "brainchop": (
        "brainchop sample: Masoud M et al., Brainchop: in-browser MRI volumetric segmentation and rendering, JOSS "
        "2023; doi:10.21105/joss.05098.",
    ),
}
LABEL_MAPS = (
    "Label maps of heads: Billot B et al., SynthSeg, Medical Image Analysis 86, 2023; doi:10.1016/j.media.2023.102789 "
    "(Apache-2.0)."
)


def source_of(person: str) -> str:
    """Return the source of a person's scan and labels: "nirep" for "nirep-na04", "own" for a name without a hyphen."""
    source, hyphen, _ = person.partition("-")
    return source if hyphen else "own"


def citations_of(sources: Iterable[str], label_maps: bool) -> list[str]:
    """Return the citations for what was made from people of these sources, in the order of `SOURCES`.

    Args:
        sources: their names; unknown ones add nothing.
        label_maps: whether images synthesised from label maps were trained on too.
    """
    named = set(sources)
    found = [citation for source, citations in SOURCES.items() if source in named for citation in citations]
    return list(dict.fromkeys([*found, *([LABEL_MAPS] if label_maps else [])]))
