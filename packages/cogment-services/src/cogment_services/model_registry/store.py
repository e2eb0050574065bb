"""What models there are: the only place where that changes.

All of this blocks, and runs in one thread: what one call sees, no other changes meanwhile. Data are moved in and out
elsewhere, in files that this thread hands out and takes back.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import grpc

from cogment_core.api.model_registry_pb2 import ModelInfo, ModelVersionInfo
from cogment_core.errors import UsageError
from cogment_core.logs import logger
from cogment_services.model_registry.blobs import Blobs
from cogment_services.model_registry.database import Database, Model
from cogment_services.model_registry.names import unknown_model
from cogment_services.model_registry.pages import page_of
from cogment_services.model_registry.reader import DamagedError, VersionReader, describe
from cogment_services.model_registry.transients import Transient, TransientVersions
from cogment_services.model_registry.upload import Scratch, Upload
from cogment_services.refusals import Refusal

__all__ = ["Followers", "Store"]

MAX_NUMBER = 2**31 - 1
"""The highest number that can be asked for."""


class Followers(Protocol):
    """Those who are told, in the thread of the store, what has changed."""

    def version_created(self, info: ModelVersionInfo) -> None:
        """There is a new version."""
        ...

    def model_deleted(self, model_id: str) -> None:
        """There is no such model any more."""
        ...


class Store:
    """The models in a directory.

    Args:
        root: The directory; made if it is not there.
        cache_max_items: How many transient versions are kept.
        cache_max_bytes: How many bytes of them.
        followers: Who is told of changes.

    Raises:
        UsageError: The directory cannot be used, or another process uses it.
    """

    def __init__(self, root: Path, cache_max_items: int, cache_max_bytes: int, followers: Followers) -> None:
        self._followers = followers
        self._transients = TransientVersions(cache_max_items, cache_max_bytes)
        try:
            root.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._database = Database(root / "models.sqlite")
        except OSError as error:
            raise UsageError(f"models cannot be kept in {str(root)!r}: {error.strerror}") from error
        try:
            self._blobs = Blobs(root / "blobs")
            self.scratch = Scratch(root / "scratch")
            """Where data go that are to become those of a version; not only for the thread of the store."""
            self._clean_up()
        except BaseException:
            self._database.close()
            raise

    def _clean_up(self) -> None:
        unfinished, unused = self.scratch.clear(), self._blobs.sweep(self._database.uses)
        if unfinished or unused:
            logger.info("removed %d unfinished or transient and %d unused files of models", unfinished, unused)

    def close(self) -> None:
        """Let go of the directory, and forget transient versions."""
        self.scratch.clear()
        self._database.close()

    # --- models -------------------------------------------------------------------------------------------------

    def put_model(self, info: ModelInfo) -> None:
        """Make a model, or replace its user data."""
        with self._database.transaction():
            self._database.put_model(info)

    def delete_model(self, model_id: str) -> None:
        """Remove a model, its versions, and the data that no other version has.

        Raises:
            Refusal: There is no such model.
        """
        with self._database.transaction():
            key = self._find(model_id).key
            digests = self._database.hashes(key)
            self._database.delete_model(key)
        self._followers.model_deleted(model_id)
        self._transients.forget(key)
        self._remove_unused(digests)

    def models(self, offset: int, limit: int) -> list[ModelInfo]:
        """A page of all models, by name."""
        return page_of(self._database.model_infos(offset, limit), limit)

    def models_called(self, model_ids: Sequence[str]) -> list[ModelInfo]:
        """A page of the models with these names.

        Raises:
            Refusal: One of them is not there.
        """
        return page_of((self._info(model_id) for model_id in model_ids), len(model_ids))

    # --- versions in --------------------------------------------------------------------------------------------

    def check_model(self, model_id: str, code: grpc.StatusCode) -> None:
        """Refuse with ``code`` if there is no such model."""
        self._find(model_id, code)

    def add_version(self, info: ModelVersionInfo, upload: Upload, code: grpc.StatusCode) -> ModelVersionInfo:
        """Make the next version of a model of a finished upload, which is the store's from now on.

        Args:
            info: The version; its number and hash are not looked at.
            upload: Its data, synced to the disk if it is ``archived``.
            code: How to refuse if there is no such model.

        Returns:
            The version as it is kept.

        Raises:
            Refusal: There is no such model, or there are too many versions. There are no data any more either.
        """
        if not upload.take():
            raise Refusal(grpc.StatusCode.CANCELLED, "the upload was given up")
        kept = ModelVersionInfo()
        kept.CopyFrom(info)
        kept.data_hash = upload.data_hash
        kept.creation_timestamp = info.creation_timestamp or time.time_ns()
        try:
            key = self._commit(kept, upload, code)
        except BaseException:
            upload.discard()
            self._remove_unused([upload.digest])
            raise
        if not kept.archived:
            self._transients.add(key, Transient(kept, upload))
        self._followers.version_created(kept)
        return kept

    def _commit(self, version: ModelVersionInfo, upload: Upload, code: grpc.StatusCode) -> int:
        """Give a version its number, and store it if it is to be. Returns the key of the model."""
        with self._database.transaction():
            key = self._give_number(version, code)
            if version.archived:
                self._blobs.place(upload.path, upload.digest)
                self._database.put_version(key, version, upload.digest)
        return key

    def import_model(self, info: ModelInfo, versions: Sequence[tuple[ModelVersionInfo, Upload]]) -> None:
        """Take over a model that another registry had, with the numbers that its versions had there.

        Args:
            info: The model; it must not be there.
            versions: Its versions, and their data, synced to the disk.
        """
        with self._database.transaction():
            self._database.put_model(info)
            key = self._find(info.model_id).key
            for version, upload in versions:
                self._blobs.place(upload.path, upload.digest)
                self._database.put_version(key, version, upload.digest)
            self._database.set_latest(key, max((version.version_number for version, _ in versions), default=0))
            self._database.note_import(info.model_id)

    def wants_import(self, model_id: str) -> bool:
        """Whether a model of another registry is new to this one: not there, and never taken over before."""
        return self._database.model(model_id) is None and not self._database.was_imported(model_id)

    # --- versions out -------------------------------------------------------------------------------------------

    def versions(self, model_id: str, start: int, limit: int) -> list[ModelVersionInfo]:
        """A page of a model's versions from number ``start`` on, in their order.

        Raises:
            Refusal: There is no such model.
        """
        key = self._find(model_id).key
        infos = heapq.merge(
            self._database.versions(key, start),
            self._transients.of(key, start),
            key=lambda info: info.version_number,
        )
        return page_of(infos, limit)

    def versions_numbered(self, model_id: str, numbers: Sequence[int]) -> list[ModelVersionInfo]:
        """A page of the versions with these numbers, negative ones counted from the newest, which is -1.

        Raises:
            Refusal: There is no such model, or one of the versions is not there.
        """
        model = self._find(model_id)
        return page_of((self._version(model_id, model, number)[0] for number in numbers), len(numbers))

    def newest(self, model_id: str, code: grpc.StatusCode) -> ModelVersionInfo | None:
        """The newest version that there is of a model, None if it has none.

        Raises:
            Refusal: With ``code``: there is no such model.
        """
        model = self._find(model_id, code)
        return self._version(model_id, model, -1)[0] if self._newest(model) else None

    def open(self, reader: VersionReader, model_id: str, number: int) -> None:
        """Let ``reader`` read the data of a version; it can do so to their end even if that is removed meanwhile.

        Raises:
            Refusal: There is no such model or version.
            DamagedError: The data are not what was stored.
        """
        model = self._find(model_id)
        info, digest = self._version(model_id, model, number)
        transient = self._transients.get(model.key, info.version_number)
        try:
            file = self._blobs.open(digest) if transient is None else transient.upload.open()
        except FileNotFoundError as error:
            raise DamagedError(f"the stored data of {describe(info)} are lost") from error
        reader.attach(info, digest, file)

    # --- helpers ------------------------------------------------------------------------------------------------

    def _find(self, model_id: str, code: grpc.StatusCode = grpc.StatusCode.NOT_FOUND) -> Model:
        model = self._database.model(model_id)
        if model is None:
            raise unknown_model(model_id, code)
        return model

    def _info(self, model_id: str) -> ModelInfo:
        info = self._database.model_info(model_id)
        if info is None:
            raise unknown_model(model_id)
        return info

    def _give_number(self, info: ModelVersionInfo, code: grpc.StatusCode) -> int:
        """Set the number of a new version, for good: no other gets it. Returns the key of the model."""
        model = self._find(info.model_id, code)
        if model.latest >= MAX_NUMBER:
            text = f"model {info.model_id!r} has had all the versions that have a number"
            raise Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        info.version_number = model.latest + 1
        self._database.set_latest(model.key, info.version_number)
        return model.key

    def _newest(self, model: Model) -> int:
        return max(self._database.newest(model.key), self._transients.newest(model.key))

    def _version(self, model_id: str, model: Model, number: int) -> tuple[ModelVersionInfo, bytes]:
        """A version, and the SHA-256 of its data."""
        actual = number if number >= 0 else self._newest(model) + 1 + number
        transient = self._transients.get(model.key, actual)
        if transient is not None:
            return transient.info, transient.upload.digest
        found = self._database.version(model.key, actual)
        if found is None:
            text = f"no version {number} of model {model_id!r} found"
            raise Refusal(grpc.StatusCode.NOT_FOUND, text)
        return found

    def _remove_unused(self, digests: Iterable[bytes]) -> None:
        for digest in digests:
            if not self._database.uses(digest):
                self._blobs.remove(digest)
