"""`SampleData`: the part of Slicer's module that other modules register their data sets with, and load them from.

Signatures, the rules on lengths and the way to the loaded node are those of Slicer 5.10 to 5.12: a data set without
`uris` cannot be registered, and `downloadSample` fetches the files of `uris` into the cache and never calls a
`customDownloader`, which the module's own buttons alone do.
"""

from __future__ import annotations

import hashlib
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import slicer

FIELDS = ("fileNames", "nodeNames", "loadFiles", "loadFileTypes", "checksums")


@dataclass
class SampleDataSource:
    """One data set; a single string stands for a list of one."""

    sampleName: str | None = None
    sampleDescription: str | None = None
    uris: list | str | None = None
    fileNames: list | str | None = None
    nodeNames: list | str | None = None
    checksums: list | str | None = None
    loadFiles: list | bool | None = None
    customDownloader: object = None
    thumbnailFileName: str | None = None
    loadFileTypes: list | str | None = None
    loadFileProperties: dict | None = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.uris, str):
            for name in ("uris", *FIELDS):
                setattr(self, name, [getattr(self, name)])
        elif isinstance(self.uris, list | tuple):
            for name in FIELDS[1:]:
                if getattr(self, name) is None:
                    setattr(self, name, [None] * len(self.uris))
        lengths = [len(getattr(self, name)) for name in ("uris", *FIELDS)]  # TypeError where something is None
        if len(set(lengths)) != 1:
            raise ValueError(f"All fields of a data set must have the same length, and have {lengths}")


class SampleDataLogic:
    """Registers and loads data sets; they are kept in `slicer.modules.sampleDataSources`, by category."""

    @staticmethod
    def registerCustomSampleDataSource(
        category="Custom",
        sampleName=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileTypes=None,
        loadFiles=None,
        loadFileProperties={},  # noqa: B006 - as in Slicer
        checksums=None,
        loadFileType=None,
    ):
        sources = slicer.modules.__dict__.setdefault("sampleDataSources", {}).setdefault(category, [])
        source = SampleDataSource(
            sampleName=sampleName,
            uris=uris,
            fileNames=fileNames,
            nodeNames=nodeNames,
            checksums=checksums,
            loadFiles=loadFiles,
            customDownloader=customDownloader,
            thumbnailFileName=thumbnailFileName,
            loadFileTypes=loadFileTypes or loadFileType,
            loadFileProperties=loadFileProperties,
        )
        if source not in sources:
            sources.append(source)

    def downloadSample(self, sampleName: str):
        return self.downloadSamples(sampleName)[0]

    def downloadSamples(self, sampleName: str) -> list:
        for sources in getattr(slicer.modules, "sampleDataSources", {}).values():
            for source in sources:
                if source.sampleName == sampleName:
                    return self.downloadFromSource(source)
        return []

    def downloadFromSource(self, source: SampleDataSource) -> list:
        files = zip(source.uris, source.fileNames, source.nodeNames, source.checksums, strict=True)
        return [self._load(self.downloadFileIntoCache(uri, name, sum_), node) for uri, name, node, sum_ in files]

    def downloadFileIntoCache(self, uri: str, name: str, checksum: str | None = None) -> str:
        folder = Path(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory())
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        urllib.request.urlretrieve(uri, path)
        if checksum and checksum != "SHA256:" + hashlib.sha256(path.read_bytes()).hexdigest():
            path.unlink()  # and Slicer then fails to load what is not there
        return str(path)

    @staticmethod
    def _load(path: str, name: str):
        node = slicer.modules.volumes.logic().AddArchetypeVolume(path, name, 0)
        if node is not None:
            node.CreateDefaultDisplayNodes()
        return node
