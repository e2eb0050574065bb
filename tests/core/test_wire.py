"""The protocol is what ``tests/data/cogment-api.json`` says: peers of other makes read and write the same bytes."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

FACTS = json.loads((Path(__file__).parent.parent / "data" / "cogment-api.json").read_text())
TYPE_NAMES = {number: name.removeprefix("TYPE_").lower() for name, number in FieldDescriptorProto.Type.items()}


def file_descriptor(path: str) -> FileDescriptorProto:
    """The descriptor inside the module generated from ``path``, such as ``cogment/api/common.proto``."""
    module = importlib.import_module(f"cogment_core.api.{Path(path).stem}_pb2")
    result = FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(result)
    return result


FILES = {path: file_descriptor(path) for path in FACTS["files"]}


def messages() -> dict[str, DescriptorProto]:
    """Every message of the protocol by name, nested ones as ``Outer.Inner``."""
    top = {message.name: message for file in FILES.values() for message in file.message_type}
    nested = {
        f"{name}.{inner.name}": inner
        for name, message in top.items()
        for inner in message.nested_type
        if not inner.options.map_entry
    }
    return top | nested


def enums() -> dict[str, EnumDescriptorProto]:
    """Every enum of the protocol by name, nested ones as ``Message.Enum``."""
    top = {enum.name: enum for file in FILES.values() for enum in file.enum_type}
    nested = {f"{name}.{enum.name}": enum for name, message in messages().items() for enum in message.enum_type}
    return top | nested


def type_of(field: FieldDescriptorProto) -> str:
    """The type of ``field`` as the facts write it."""
    return field.type_name.lstrip(".").removeprefix("cogmentAPI.") or TYPE_NAMES[field.type]


def field_facts(message: DescriptorProto, field: FieldDescriptorProto) -> dict[str, Any]:
    """What the facts say about ``field``."""
    repeated = field.label == FieldDescriptorProto.LABEL_REPEATED
    entries = {inner.name: inner for inner in message.nested_type if inner.options.map_entry}
    entry = entries.get(field.type_name.rpartition(".")[2])
    if repeated and entry is not None:
        key, value = entry.field
        return {"number": field.number, "type": f"map<{type_of(key)}, {type_of(value)}>"}
    facts: dict[str, Any] = {"number": field.number, "type": type_of(field)}
    if repeated:
        facts["repeated"] = True
    if field.proto3_optional:
        facts["optional"] = True
    elif field.HasField("oneof_index"):
        facts["oneof"] = message.oneof_decl[field.oneof_index].name
    return facts


@pytest.mark.parametrize("path", FACTS["files"])
def test_file_defines_and_imports_what_the_protocol_says(path: str) -> None:
    """Peers find a definition in the file, package and syntax where the existing system has it."""
    file = FILES[path]
    defined = {definition.name for definition in (*file.message_type, *file.enum_type, *file.service)}
    assert file.name == path
    assert (file.package, file.syntax) == (FACTS["package"], FACTS["syntax"])
    assert defined == set(FACTS["files"][path]["defines"])
    assert set(file.dependency) == set(FACTS["files"][path]["imports"])


@pytest.mark.parametrize("name", FACTS["messages"])
def test_message_has_the_fields_of_the_protocol(name: str) -> None:
    """A message has exactly the fields, numbers, types and presence of the protocol."""
    message = messages()[name]
    assert {field.name: field_facts(message, field) for field in message.field} == FACTS["messages"][name]


@pytest.mark.parametrize("name", FACTS["enums"])
def test_enum_has_the_values_of_the_protocol(name: str) -> None:
    """An enum has exactly the names and numbers of the protocol."""
    assert {value.name: value.number for value in enums()[name].value} == FACTS["enums"][name]


def test_services_have_the_methods_of_the_protocol() -> None:
    """Each service has exactly the methods of the protocol, with their messages and streams."""
    found = {
        service.name: {
            method.name: {
                "request": method.input_type.removeprefix(".cogmentAPI."),
                "request_stream": method.client_streaming,
                "reply": method.output_type.removeprefix(".cogmentAPI."),
                "reply_stream": method.server_streaming,
            }
            for method in service.method
        }
        for file in FILES.values()
        for service in file.service
    }
    assert found == FACTS["services"]


def test_nothing_is_defined_besides_the_protocol() -> None:
    """A message or an enum of our own would be unknown to every other peer."""
    assert messages().keys() == FACTS["messages"].keys()
    assert enums().keys() == FACTS["enums"].keys()
