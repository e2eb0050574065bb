"""Training data from the samples in a Trial Datastore.

========================  ===================================================  =========================================
`write_jsonl`             a JSON object per tick and actor                     needs nothing
`write_parquet`           a row per tick and actor, in nested columns          ``cogment-datastore[parquet]``
`write_minari`            a Minari dataset per actor, an episode per trial     ``cogment-datastore[minari]``
`frames`, `load_frame`    pandas DataFrames, in batches or as one              ``cogment-datastore[pandas]``
`batches`, `load_arrays`  NumPy arrays, in batches or all at once              ``cogment-datastore[pandas]``
========================  ===================================================  =========================================

A `Selection` says which data is wanted. ``load_...`` are plain functions; the others are to be awaited, or called by
`run`, which is a plain function, too.
"""

from __future__ import annotations

from cogment_datastore.exports.blocking import load_arrays, load_frame, run
from cogment_datastore.exports.errors import ExportError, MissingExtraError
from cogment_datastore.exports.jsonl import write_jsonl
from cogment_datastore.exports.minari import write_minari
from cogment_datastore.exports.parquet import write_parquet
from cogment_datastore.exports.selection import Progress, Selection
from cogment_datastore.exports.tables import batches, frames

__all__ = [
    "ExportError",
    "MissingExtraError",
    "Progress",
    "Selection",
    "batches",
    "frames",
    "load_arrays",
    "load_frame",
    "run",
    "write_jsonl",
    "write_minari",
    "write_parquet",
]
