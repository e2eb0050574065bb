"""The Model Registry: models in numbered versions, stored, and pushed to those who follow them.

``server`` is what is run. ``service`` answers the calls, on the event loop, with the help of ``incoming`` (uploads) and
``subscribers``. What blocks is done in threads (``workers``): ``store`` is the only one who changes what there is, in
one thread, so that it needs no locks; ``upload`` and ``reader`` move bytes in others. Names are rows of ``database``,
data are files of ``blobs`` and ``scratch``, whose names nobody else chooses.
"""

from __future__ import annotations

from cogment_services.model_registry.server import ModelRegistryServer

__all__ = ["ModelRegistryServer"]
