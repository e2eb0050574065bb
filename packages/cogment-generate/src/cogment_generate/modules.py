"""Fit the modules that protoc made to the package that they will live in, and to type checkers."""

from __future__ import annotations

import re
from collections.abc import Iterable

from cogment_generate.names import Package, ProtoModule

__all__ = ["finish_modules", "protobuf_version"]

# Each pattern is bound to the start of a line, so nothing inside the serialized descriptor can match: that is one line.
_IMPORT = re.compile(r"^import (?P<name>\w+_pb2)(?= as )", re.MULTILINE)
_IMPORT_FROM = re.compile(r"^from (?P<folder>[\w.]+) import (?P<name>\w+_pb2)(?= as )", re.MULTILINE)
_IMPORT_NAMES = re.compile(r"^from (?P<module>[\w.]+_pb2)(?= import )", re.MULTILINE)
_OWN_NAME = re.compile(r"^(_builder\.BuildTopDescriptorsAndMessages\(DESCRIPTOR, )'[\w.]+'", re.MULTILINE)
_VERSION = re.compile(
    r"^_runtime_version\.ValidateProtobufRuntimeVersion\(\s*[\w.]+,\s*(\d+),\s*(\d+),\s*(\d+),", re.MULTILINE
)

# protoc's stubs leave out the parameters of Mapping.
_STUB_HEADER = '# mypy: disable-error-code="type-arg"\n# pyright: basic\n'


def protobuf_version(modules: Iterable[str]) -> str | None:
    """The oldest protobuf that these modules load with, None if they do not ask for one."""
    for text in modules:
        found = _VERSION.search(text)
        if found:
            return ".".join(found.groups())
    return None


def finish_modules(texts: dict[str, str], modules: Iterable[ProtoModule], package: Package) -> dict[str, str]:
    """Give each module the imports that ``package`` needs, and the stubs a header.

    Args:
        texts: What protoc made, by file name.
        modules: The modules of the project.
        package: How they import each other.

    Returns:
        The finished texts, by file name.
    """
    own = {module.dotted for module in modules}
    result: dict[str, str] = {}
    for file, text in texts.items():
        finished = text if package.is_flat else _relocate(text, file.count("/"), own, package)
        result[file] = _STUB_HEADER + finished if file.endswith(".pyi") else finished
    return result


def _relocate(text: str, depth: int, own: set[str], package: Package) -> str:
    def source(folder: str) -> str:
        return package.folder(folder, depth)

    def top_level(match: re.Match[str]) -> str:
        name = match["name"]
        return f"from {source('')} import {name}" if name in own else match[0]

    def in_folder(match: re.Match[str]) -> str:
        folder, name = match["folder"], match["name"]
        return f"from {source(folder)} import {name}" if f"{folder}.{name}" in own else match[0]

    def names_of(match: re.Match[str]) -> str:
        module = match["module"]
        return f"from {source(module)}" if module in own else match[0]

    text = _IMPORT.sub(top_level, text)
    text = _IMPORT_FROM.sub(in_folder, text)
    text = _IMPORT_NAMES.sub(names_of, text)
    # The name that classes are pickled under.
    return _OWN_NAME.sub(r"\1__name__", text)
