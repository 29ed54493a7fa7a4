"""Results on disk: one Parquet file a point and run, its provenance inside, and one tidy DataFrame out of many of them.

A sweep's folder has a manifest, ``sweep.json``, which names every file that belongs to it: nothing is found by a pattern.
"""

from workbench.results.comparison import compare
from workbench.results.files import encode, read, save
from workbench.results.manifest import read_manifest, write_manifest
from workbench.results.records import PUBLISHED, Point, Result, Sweep
from workbench.results.tables import load, samples

__all__ = [
    "PUBLISHED",
    "Point",
    "Result",
    "Sweep",
    "compare",
    "encode",
    "load",
    "read",
    "read_manifest",
    "samples",
    "save",
    "write_manifest",
]
