"""Which names may appear in generated modules, and what protoc calls the module of a proto file."""

from __future__ import annotations

import keyword
import re
import sys
from dataclasses import dataclass
from pathlib import PurePosixPath

__all__ = ["Package", "ProtoModule", "is_dotted_name", "is_name", "proto_path_problem"]

_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_PROTO_PATH = re.compile(r"[\w/.-]+\.proto", re.ASCII)

# A folder of this name next to cog_settings.py would never be imported: the installed module comes first.
_TAKEN = {*sys.stdlib_module_names, "cogment", "cogment_core", "grpc"}


def is_name(text: str) -> bool:
    """Whether ``text`` is a plain ASCII name that Python accepts and gives no meaning of its own."""
    return bool(_NAME.fullmatch(text)) and not keyword.iskeyword(text) and not text.startswith("__")


def is_dotted_name(text: str) -> bool:
    """Whether ``text`` is one name, or several that are joined by dots."""
    return all(is_name(part) for part in text.split("."))


def proto_path_problem(path: str) -> str:
    """What is wrong with ``path`` as the way from the spec's folder to a proto file; empty if nothing is."""
    if not _PROTO_PATH.fullmatch(path):
        return "has to be the relative path of a .proto file, of ASCII letters, digits and the characters _ - . /"
    if path.startswith("/"):
        return "has to be relative to the folder of the spec file"
    parts = PurePosixPath(path).parts
    if ".." in parts:
        return "may not leave the folder of the spec file ('..')"
    if parts[0].startswith("-"):
        return "may not start with '-'"
    return ""


@dataclass(frozen=True)
class ProtoModule:
    """The Python module that protoc makes of a proto file."""

    path: str
    """Path of the proto file from the spec's folder, with ``/`` and in its shortest form."""

    @property
    def dotted(self) -> str:
        """Name of the module from the folder of the output, for example ``sub.data_pb2``."""
        return self.path.removesuffix(".proto").replace("-", "_").replace("/", ".") + "_pb2"

    @property
    def folder(self) -> str:
        """Dotted name of the folder of the module, empty for the output's own folder."""
        return self.dotted.rpartition(".")[0]

    @property
    def name(self) -> str:
        """Last part of the module's name."""
        return self.dotted.rpartition(".")[2]

    @property
    def alias(self) -> str:
        """What ``cog_settings`` calls the module, for example ``sub_data_pb``."""
        return self.dotted.replace(".", "_").removesuffix("2")

    @property
    def file(self) -> str:
        """Path of the module's file from the folder of the output."""
        return self.dotted.replace(".", "/") + ".py"

    def problem(self, package: Package) -> str:
        """Why the module could not be imported; empty if it can be."""
        if not is_dotted_name(self.dotted):
            bad = next(part for part in self.dotted.split(".") if not is_name(part))
            return f"would become the Python module {self.dotted!r}, and {bad!r} is no name in Python: rename it"
        top = self.dotted.split(".")[0]
        if package.is_flat and self.folder and top in _TAKEN:
            return f"would become the Python module {self.dotted!r}, hidden by {top!r}: rename it, or use --package"
        if package.is_flat and self.dotted.startswith("google.protobuf."):
            return "is in the folder of protobuf itself: move it, or use --package"
        return ""


@dataclass(frozen=True)
class Package:
    """How generated modules import each other."""

    prefix: str = ""
    """Empty if their folder is on Python's path, ``.`` for relative imports, or the dotted name of their package."""

    @property
    def is_flat(self) -> bool:
        """Whether the modules are top-level modules."""
        return not self.prefix

    def folder(self, folder: str, depth: int = 0) -> str:
        """What to write after ``from`` to import a module of ``folder``.

        Args:
            folder: Dotted name of the folder, from the output's folder.
            depth: How many folders below the output's folder the importing module is.

        Returns:
            The dotted name; empty if the module is imported as a top-level one.
        """
        if self.prefix == ".":
            return "." * (depth + 1) + folder
        return ".".join(part for part in (self.prefix, folder) if part)
