"""From a spec file to the texts of all modules, step by step."""

from __future__ import annotations

import re
from pathlib import Path

import google.protobuf

from cogment_generate.errors import CogmentGenerateError
from cogment_generate.modules import finish_modules, protobuf_version
from cogment_generate.names import Package
from cogment_generate.plan import Plan, make_plan
from cogment_generate.protoc import compile_descriptors, compile_modules
from cogment_generate.protos import check_imported_files, check_listed_files
from cogment_generate.render import render_settings, render_stub
from cogment_generate.spec import read_spec

__all__ = ["make_files"]


def make_files(spec_file: Path, target: Path, *, pyi: bool, package: Package) -> dict[str, str]:
    """The text of each file to write, by path from the folder of ``target``, the settings module first.

    Raises:
        CogmentGenerateError: The spec or a proto file is wrong.
    """
    spec = read_spec(spec_file)
    folder = spec_file.parent
    check_listed_files(spec.protos, folder)
    descriptors = compile_descriptors(folder, [proto.value for proto in spec.protos]).file
    check_imported_files(descriptors, folder)
    plan = make_plan(spec, descriptors, package)
    _refuse_clash(plan, target)
    compiled = compile_modules(folder, list(plan.modules), pyi=pyi)
    version = protobuf_version(compiled.values())
    _check_runtime(version)
    files = {target.name: render_settings(plan, version)}
    if pyi:
        files[f"{target.stem}.pyi"] = render_stub(plan)
    files |= finish_modules(compiled, plan.modules.values(), package)
    return files if package.is_flat else files | _missing_package_files(plan, target.parent)


def _refuse_clash(plan: Plan, target: Path) -> None:
    for module in plan.modules.values():
        if module.dotted.split(".")[0] == target.stem:
            raise CogmentGenerateError(
                f"--output {target}: the module of {module.path!r} would be {module.dotted!r}: choose another name"
            )


def _check_runtime(version: str | None) -> None:
    """Refuse modules that could not be imported where they were made."""
    installed = google.protobuf.__version__
    if version is not None and _release(installed) < _release(version):
        raise CogmentGenerateError(
            f"the installed grpcio-tools makes modules for protobuf {version} or newer, and {installed} is installed: "
            f"run pip install 'protobuf>={version}', or install an older grpcio-tools"
        )


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def _missing_package_files(plan: Plan, folder: Path) -> dict[str, str]:
    """Sub-folders of a package are packages too, or build tools would leave them out."""
    inner: set[str] = set()
    for module in plan.modules.values():
        parts = module.file.split("/")[:-1]
        inner.update("/".join(parts[: length + 1]) + "/__init__.py" for length in range(len(parts)))
    return {file: "" for file in sorted(inner) if not (folder / file).exists()}
