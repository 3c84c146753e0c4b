"""Whose brains the weights and the template are made of, and on what terms."""

from __future__ import annotations

# Frozen, by person: never trained on, never averaged.
VALIDATION_PEOPLE = ("nirep-na04", "nirep-na16", "oasis-1113", "oasis-1125")
LICENCE = "CC BY-NC 4.0 (research use), because part of the data is non-commercial"
CITATIONS = [
    "NIREP NA0: Christensen GE et al., Introduction to the Non-rigid Image Registration Evaluation Project "
    "(NIREP), WBIR 2006.",
    "OASIS: Marcus DS et al., Open Access Series of Imaging Studies (OASIS): cross-sectional MRI data in young, "
    "middle aged, nondemented, and demented older adults, J Cogn Neurosci 19(9), 2007; grants P50 AG05681, "
    "P01 AG03991, R01 AG021910, P20 MH071616, U24 RR021382.",
    "OASIS scans 1101-1128 as packaged for the MICCAI 2012 Grand Challenge and Workshop on Multi-Atlas Labeling.",
    "neurite OASIS: Hoopes A et al., HyperMorph, IPMI 2021.",
    "1000 Functional Connectomes Project: Biswal BB et al., Toward discovery science of human brain function, "
    "PNAS 107(10), 2010 (Beijing, Cambridge, ICBM).",
    "JHU Eve atlas: Oishi K et al., Atlas-based whole brain white matter analysis using LDDMM, NeuroImage 46, 2009.",
    "MNE sample: Gramfort A et al., MNE software for processing MEG and EEG data, NeuroImage 86, 2014.",
    "Label maps of heads: Billot B et al., SynthSeg, Medical Image Analysis 86, 2023 (Apache-2.0).",
    "brainchop sample: Masoud M et al., Brainchop: in-browser MRI volumetric segmentation and rendering, JOSS 2023.",
]
