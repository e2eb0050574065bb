"""The spec file as plain data, every name of it checked.

A spec file can be the Orchestrator's parameter file too, so sections that do not concern the generator are ignored.
"""

from __future__ import annotations

import difflib
import logging
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cogment_generate.document import Text, Value, read_document, shown
from cogment_generate.names import is_dotted_name, is_name, proto_path_problem

__all__ = ["RESERVED_ACTOR_CLASSES", "ActorClassSpec", "Spec", "parse_spec", "read_spec"]

RESERVED_ACTOR_CLASSES = frozenset({"get", "get_class_by_index", "_actor_classes"})
"""What ``cog_settings.actor_classes`` has as attributes of its own."""

_logger = logging.getLogger("cogment.generate")


@dataclass(frozen=True)
class ActorClassSpec:
    """An entry of ``actor_classes``."""

    name: Text
    action_space: Text
    """Name of a protobuf message, as are the other types."""
    observation_space: Text
    config_type: Text | None


@dataclass(frozen=True)
class Spec:
    """What the generator needs of a spec file."""

    file: str
    """Name of the spec file, for errors."""
    protos: list[Text]
    """Paths from the spec's folder, in their shortest form, each once."""
    actor_classes: list[ActorClassSpec]
    trial_config: Text | None
    environment_config: Text | None


def read_spec(path: Path) -> Spec:
    """Read the spec file at ``path``.

    Raises:
        CogmentGenerateError: It is not a spec file that can be compiled.
    """
    return parse_spec(read_document(path))


def parse_spec(document: Value) -> Spec:
    """What the generator needs of ``document``.

    Raises:
        CogmentGenerateError: A key is missing, or its value has the wrong shape or is no valid name.
    """
    _warn_of_misspelling(document, "import", "trial", "environment", "actor_classes")
    imports, trial, environment = (document.get(key) for key in ("import", "trial", "environment"))
    for section in (trial, environment):
        _warn_of_misspelling(section, "config_type")
    return Spec(
        file=document.place.file,
        protos=_protos(imports),
        actor_classes=_actor_classes(document.get("actor_classes")),
        trial_config=_type_name(trial.get("config_type").text()),
        environment_config=_type_name(environment.get("config_type").text()),
    )


def _protos(imports: Value) -> list[Text]:
    python = imports.get("python")
    if python.items():
        raise python.place.error("is not supported: list the proto files in import.proto, and remove this list")
    listed = imports.get("proto")
    entries = listed.items()
    if not entries:
        raise listed.place.error("is missing: it has to be the list of the proto files that define the types")
    protos: dict[str, Text] = {}
    for entry in entries:
        proto = _proto_path(entry.required_text("the path of a .proto file"))
        protos.setdefault(proto.value, proto)
    return list(protos.values())


def _proto_path(written: Text) -> Text:
    path = str(PurePosixPath(written.value))
    problem = proto_path_problem(written.value) or proto_path_problem(path)
    if problem:
        raise written.place.error(f"{shown(written.value)} {problem}")
    return Text(path, written.place)


def _actor_classes(listed: Value) -> list[ActorClassSpec]:
    actor_classes: dict[str, ActorClassSpec] = {}
    for entry in listed.items():
        actor_class = _actor_class(entry)
        name = actor_class.name
        if name.value in actor_classes:
            first = actor_classes[name.value].name.place
            raise name.place.error(f"{shown(name.value)} is the name of {first.key} too: names have to be different")
        actor_classes[name.value] = actor_class
    return list(actor_classes.values())


def _actor_class(entry: Value) -> ActorClassSpec:
    _warn_of_misspelling(entry, "name", "action", "observation", "config_type")
    observation = entry.get("observation")
    for key in ("delta", "delta_apply_fn"):
        unsupported = observation.get(key)
        if not unsupported.is_absent:
            raise unsupported.place.error("is not supported: remove it, observations are always sent whole")
    return ActorClassSpec(
        name=_actor_class_name(entry.get("name")),
        action_space=_required_type(entry.get("action").get("space")),
        observation_space=_required_type(observation.get("space")),
        config_type=_type_name(entry.get("config_type").text()),
    )


def _actor_class_name(value: Value) -> Text:
    name = value.required_text("the name of the actor class")
    if not is_name(name.value):
        raise name.place.error(
            f"{shown(name.value)} cannot be used as a name in Python: it has to be ASCII letters, digits and _, not "
            "start with a digit or with __, and not be a keyword"
        )
    if name.value in RESERVED_ACTOR_CLASSES:
        raise name.place.error(f"{shown(name.value)} is a method of actor_classes in Python: choose another name")
    return name


def _required_type(value: Value) -> Text:
    name = value.required_text("the name of a protobuf message, as in 'package.Message'")
    _check_type_name(name)
    return name


def _type_name(name: Text | None) -> Text | None:
    if name is not None:
        _check_type_name(name)
    return name


def _check_type_name(name: Text) -> None:
    if not is_dotted_name(name.value):
        raise name.place.error(
            f"{shown(name.value)} is no name of a protobuf message: it has to be 'Message', 'package.Message' or "
            "'package.Outer.Inner', of ASCII names that are no keywords of Python"
        )


def _warn_of_misspelling(section: Value, *known: str) -> None:
    present = section.keys()
    for key in present:
        meant = difflib.get_close_matches(key, known, n=1, cutoff=0.8)
        if meant and key not in known and meant[0] not in present:
            _logger.warning("%s: is ignored; is %s meant?", section.get(key).place, meant[0])
