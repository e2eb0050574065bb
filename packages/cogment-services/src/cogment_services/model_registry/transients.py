"""Transient versions: the newest are kept, within bounds, and forgotten with the process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from cogment_core.api.model_registry_pb2 import ModelVersionInfo
from cogment_services.model_registry.upload import Upload

__all__ = ["Transient", "TransientVersions"]


@dataclass(frozen=True)
class Transient:
    """A version that is not stored."""

    info: ModelVersionInfo
    """What was said of it."""
    upload: Upload
    """Its data."""


class TransientVersions:
    """A bounded number of versions, of bounded size, in the order in which they were used.

    When there are too many, those go first that are not the newest of their model, and of them the one that was not
    used for the longest time. The one that was added last always stays.

    Args:
        max_items: How many versions are kept.
        max_bytes: How many bytes they have together.
    """

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._bytes = 0
        self._versions: OrderedDict[tuple[int, int], Transient] = OrderedDict()

    def __len__(self) -> int:
        return len(self._versions)

    def add(self, key: int, version: Transient) -> None:
        """Keep a version of the model with this key."""
        self._versions[key, version.info.version_number] = version
        self._bytes += version.upload.size
        while len(self._versions) > 1 and (len(self) > self._max_items or self._bytes > self._max_bytes):
            self._remove(self._least_wanted())

    def get(self, key: int, number: int) -> Transient | None:
        """A version, None if it is not there (any more). It counts as used."""
        version = self._versions.get((key, number))
        if version is not None:
            self._versions.move_to_end((key, number))
        return version

    def of(self, key: int, start: int = 0) -> Iterator[ModelVersionInfo]:
        """The versions of a model from number ``start`` on, in their order."""
        for number in sorted(number for model, number in self._versions if model == key and number >= start):
            yield self._versions[key, number].info

    def newest(self, key: int) -> int:
        """The highest number of a version that is there; 0 if there is none."""
        return max((number for model, number in self._versions if model == key), default=0)

    def forget(self, key: int) -> None:
        """Drop the versions of a model."""
        for place in [place for place in self._versions if place[0] == key]:
            self._remove(place)

    def _least_wanted(self) -> tuple[int, int]:
        places = list(self._versions)[:-1]  # without the one that was just added
        newest = dict(sorted(self._versions.keys()))
        return next((place for place in places if newest[place[0]] != place[1]), places[0])

    def _remove(self, place: tuple[int, int]) -> None:
        version = self._versions.pop(place)
        self._bytes -= version.upload.size
        version.upload.discard()
