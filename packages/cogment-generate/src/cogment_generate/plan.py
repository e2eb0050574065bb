"""What a ``cog_settings`` module will say: the spec with each type found in its module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.descriptor_pb2 import FileDescriptorProto

from cogment_generate.document import Text
from cogment_generate.lookup import TypeIndex
from cogment_generate.names import Package, ProtoModule
from cogment_generate.protos import project_modules
from cogment_generate.spec import ActorClassSpec, Spec

__all__ = ["ImportedModule", "Plan", "PlannedActorClass", "make_plan"]


@dataclass(frozen=True)
class ImportedModule:
    """One import: ``from source import name as alias``, or without ``source`` ``import name as alias``."""

    source: str
    name: str
    alias: str


@dataclass(frozen=True)
class PlannedActorClass:
    """An actor class with its types as Python expressions, for example ``data_pb.Outer.Inner``."""

    name: str
    config_type: str | None
    action_space: str
    observation_space: str


@dataclass(frozen=True)
class Plan:
    """All that goes into the module, and the modules to make beside it."""

    imports: list[ImportedModule]
    actor_classes: list[PlannedActorClass]
    trial_config: str | None
    environment_config: str | None
    modules: dict[str, ProtoModule]
    """By path of the proto file."""


def make_plan(spec: Spec, files: Sequence[FileDescriptorProto], package: Package) -> Plan:
    """Find each type of ``spec`` in ``files``, the descriptors of its proto files and of all that they import.

    Raises:
        CogmentGenerateError: A type is not there, or a module could not be imported.
    """
    modules = project_modules(spec, files, package)
    types = _Types(files, modules)
    for proto in spec.protos:
        types.use(proto.value)
    actor_classes = [types.actor_class(actor_class) for actor_class in spec.actor_classes]
    trial_config, environment_config = types.expression(spec.trial_config), types.expression(spec.environment_config)
    imports = [_imported(module, package, own=path in modules) for path, module in sorted(types.used.items())]
    return Plan(imports, actor_classes, trial_config, environment_config, modules)


class _Types:
    """Turns names of messages into expressions and keeps the modules that these need."""

    def __init__(self, files: Sequence[FileDescriptorProto], modules: dict[str, ProtoModule]) -> None:
        self._index = TypeIndex(files)
        self._modules = modules
        self.used: dict[str, ProtoModule] = {}

    def use(self, proto: str) -> ProtoModule:
        module = self._modules.get(proto) or ProtoModule(proto)
        self.used[proto] = module
        return module

    def required(self, name: Text) -> str:
        found = self._index.find(name)
        return ".".join((self.use(found.proto).alias, *found.path))

    def expression(self, name: Text | None) -> str | None:
        return None if name is None else self.required(name)

    def actor_class(self, spec: ActorClassSpec) -> PlannedActorClass:
        return PlannedActorClass(
            name=spec.name.value,
            config_type=self.expression(spec.config_type),
            action_space=self.required(spec.action_space),
            observation_space=self.required(spec.observation_space),
        )


def _imported(module: ProtoModule, package: Package, *, own: bool) -> ImportedModule:
    source = package.folder(module.folder) if own else module.folder
    return ImportedModule(source, module.name, module.alias)
