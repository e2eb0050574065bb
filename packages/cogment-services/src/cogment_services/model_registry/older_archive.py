"""Models that older servers left in the same directory: each is taken over once, and left where it is.

They are directories that are called like the model, with a file on it (``m/m.yaml``), and for each version a file on
it (``m/m-v000001.yaml``) and its data (``m/m-v000001.data``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path

from cogment_core.api.model_registry_pb2 import ModelInfo, ModelVersionInfo
from cogment_core.errors import CogmentError, UsageError
from cogment_core.logs import logger
from cogment_services.model_registry.blobs import open_for_reading
from cogment_services.model_registry.names import check_model_id, check_user_data
from cogment_services.model_registry.store import MAX_NUMBER, Store
from cogment_services.model_registry.upload import Upload
from cogment_services.yaml_text import MAX_BYTES, Node, read_yaml

__all__ = ["import_older_archive"]

_PIECE = 2 * 1024**2
_NUMBER = re.compile(r"[0-9]{6,10}", re.ASCII)
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|z|[+-]\d\d:\d\d)?", re.ASCII)


def import_older_archive(root: Path, store: Store) -> None:
    """Take over the models in ``root`` that are new to ``store``. What cannot be read is told in the log."""
    for folder in sorted(root.iterdir()):
        if not folder.is_symlink() and (folder / f"{folder.name}.yaml").is_file():
            try:
                if store.wants_import(check_model_id(folder.name)):
                    _import_model(folder, store)
            except CogmentError as error:
                logger.error("the older model in %r is left out: %s", str(folder), error)


def _import_model(folder: Path, store: Store) -> None:
    info = ModelInfo(model_id=folder.name, user_data=_user_data(_read(folder / f"{folder.name}.yaml")))
    check_user_data(info.user_data)
    versions = list(_versions(folder, store))
    try:
        store.import_model(info, versions)
    finally:
        for _, upload in versions:
            upload.discard()
    logger.info("model %r was taken over from an older archive, with %d versions", info.model_id, len(versions))


def _versions(folder: Path, store: Store) -> Iterator[tuple[ModelVersionInfo, Upload]]:
    prefix = f"{folder.name}-v"
    for file in sorted(folder.glob("*.yaml")):
        number = file.stem[len(prefix) :]
        if not file.name.startswith(prefix) or not _NUMBER.fullmatch(number):
            continue
        upload = store.scratch.new()
        try:
            version = _version(folder.name, int(number), file)
            if version is not None:
                _copy(file.with_suffix(".data"), upload, version)
                yield version, upload
        except (CogmentError, FileNotFoundError) as error:
            upload.discard()
            logger.error("the older version in %r is left out: %s", str(file), error)


def _version(model_id: str, number: int, file: Path) -> ModelVersionInfo | None:
    fields = _read(file)
    if _text(fields, "transient") == "true":
        return None
    if not 1 <= number <= MAX_NUMBER or _text(fields, "version_number") != str(number):
        raise UsageError("the number in it is not that of its name")
    version = ModelVersionInfo(
        model_id=model_id,
        version_number=number,
        creation_timestamp=_nanoseconds(_text(fields, "creation_timestamp")),
        archived=True,
        data_hash=_text(fields, "data_hash"),
        user_data=_user_data(fields),
    )
    check_user_data(version.user_data)
    return version


def _copy(file: Path, upload: Upload, version: ModelVersionInfo) -> None:
    """Copy the data of a version, and complete it with what they are."""
    with open_for_reading(file) as source:
        while piece := source.read(_PIECE):
            upload.write(piece, early=True)
    upload.finish(durable=True)
    if version.data_hash not in ("", upload.data_hash):
        raise UsageError("its data are damaged: they do not have the hash that they should have")
    version.data_hash = upload.data_hash
    version.data_size = upload.size


def _read(file: Path) -> dict[str, Node]:
    with open_for_reading(file) as source:
        text = source.read(MAX_BYTES + 1).decode(errors="replace")
    node = read_yaml(text, str(file))
    if node is None or not isinstance(node.value, dict):
        raise UsageError(f"{file}: there are no fields in it")
    return node.value


def _text(fields: Mapping[str, Node], name: str) -> str:
    node = fields.get(name)
    return node.value if node is not None and isinstance(node.value, str) else ""


def _user_data(fields: Mapping[str, Node]) -> dict[str, str]:
    node = fields.get("user_data")
    items = node.value if node is not None and isinstance(node.value, dict) else {}
    return {name: item.value for name, item in items.items() if isinstance(item.value, str)}


def _nanoseconds(text: str) -> int:
    """Nanoseconds since 1970 at the time that ``text`` writes."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise UsageError(f"creation_timestamp: {text!r} is no time")
    day, time, fraction, zone = match.groups()
    offset = "+00:00" if zone in (None, "Z", "z") else zone
    try:
        moment = datetime.fromisoformat(f"{day}T{time}{offset}")
    except ValueError as error:
        raise UsageError(f"creation_timestamp: {text!r} is no time") from error
    seconds = int((moment - datetime(1970, 1, 1, tzinfo=timezone.utc)).total_seconds())
    return max(0, seconds * 10**9 + int((fraction or "").ljust(9, "0")))
