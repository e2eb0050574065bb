"""The proto files of a project: which they are, that they may be read, and what their modules are called."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto

from cogment_generate.document import Text, shown
from cogment_generate.errors import CogmentGenerateError
from cogment_generate.names import Package, ProtoModule, proto_path_problem
from cogment_generate.protoc import is_well_known
from cogment_generate.spec import Spec

__all__ = ["check_imported_files", "check_listed_files", "project_modules"]


def check_listed_files(protos: Iterable[Text], folder: Path) -> None:
    """Refuse files that are not there, or that a symbolic link takes out of ``folder``.

    Raises:
        CogmentGenerateError: With the place where the file is listed.
    """
    for proto in protos:
        problem = "" if is_well_known(proto.value) else _file_problem(folder, proto.value)
        if problem:
            raise proto.place.error(f"{shown(proto.value)} {problem}")


def check_imported_files(files: Iterable[FileDescriptorProto], folder: Path) -> None:
    """Hold the files that protoc found through imports to the rules of the listed ones.

    Raises:
        CogmentGenerateError: With the name of the file that imports the other.
    """
    for file in files:
        for imported in file.dependency:
            if is_well_known(imported):
                continue
            problem = proto_path_problem(imported) or _file_problem(folder, imported)
            if problem:
                raise CogmentGenerateError(f"{folder / file.name}: the import {shown(imported)} {problem}")


def project_modules(spec: Spec, files: Iterable[FileDescriptorProto], package: Package) -> dict[str, ProtoModule]:
    """The modules to make, by path of the proto file: one for each of ``files`` that is not protobuf's own.

    Raises:
        CogmentGenerateError: A module could not be imported in Python, or two would have the same name.
    """
    modules: dict[str, ProtoModule] = {}
    by_alias: dict[str, str] = {}
    for file in files:
        if is_well_known(file.name):
            continue
        module = ProtoModule(file.name)
        problem = module.problem(package)
        other = by_alias.setdefault(module.alias, module.path)
        if other != module.path:
            problem = f"and {shown(other)} would become Python modules of the same name: rename one of them"
        if problem:
            raise _error_about(spec, module.path, problem)
        modules[module.path] = module
    return modules


def _error_about(spec: Spec, path: str, problem: str) -> CogmentGenerateError:
    for proto in spec.protos:
        if proto.value == path:
            return proto.place.error(f"{shown(path)} {problem}")
    return CogmentGenerateError(f"{spec.file}: {shown(path)}, which a listed proto file imports, {problem}")


def _file_problem(folder: Path, path: str) -> str:
    file = folder / path
    if not file.exists():
        return f"is not in the folder of the spec file ({folder})"
    if not file.resolve().is_relative_to(folder.resolve()):
        return "is a link that leaves the folder of the spec file"
    return "" if file.is_file() else "is no file"
