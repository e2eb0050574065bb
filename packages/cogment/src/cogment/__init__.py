"""The Cogment Python SDK: trials in which AI agents and people act together.

Layers point down: this package re-exports the feature packages (``cogment_controller``, ``cogment_datastore``,
``cogment_model_registry``), which never import each other, and ``cogment_core``, which imports none of them. What is
implemented here is only what joins them: ``Context`` with its clients, and the module paths that programs import.

What needs protobuf is imported when it is first used: ``import cogment`` takes hardly longer than ``import grpc.aio``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cogment.context import Context
from cogment_core.endpoints import Endpoint, ServedEndpoint
from cogment_core.enums import ActorStatus, EventType, TrialState
from cogment_core.errors import CogmentError
from cogment_core.logs import make_logger
from cogment_core.metadata import GrpcMetadata
from cogment_core.specs import ActorClass, ActorClassList
from cogment_datastore import DatastoreFields

if TYPE_CHECKING:
    from cogment import actor as actor
    from cogment import api as api
    from cogment import context as context
    from cogment import control as control
    from cogment import datalog as datalog
    from cogment import datastore as datastore
    from cogment import directory as directory
    from cogment import endpoints as endpoints
    from cogment import environment as environment
    from cogment import errors as errors
    from cogment import grpc_metadata as grpc_metadata
    from cogment import model_registry_v2 as model_registry_v2
    from cogment import parameters as parameters
    from cogment import prehook as prehook
    from cogment import session as session
    from cogment import utils as utils
    from cogment import version as version
    from cogment.datalog import LogParams, LogSample
    from cogment.parameters import ActorParameters, TrialParameters

    __version__: str

__all__ = [
    "ActorClass",
    "ActorClassList",
    "ActorParameters",
    "ActorStatus",
    "CogmentError",
    "Context",
    "DatastoreFields",
    "Endpoint",
    "EventType",
    "GrpcMetadata",
    "LogParams",
    "LogSample",
    "ServedEndpoint",
    "TrialParameters",
    "TrialState",
    "__version__",
    "make_logger",
]

_MODULES = (
    "actor",
    "api",
    "context",
    "control",
    "datalog",
    "datastore",
    "directory",
    "endpoints",
    "environment",
    "errors",
    "grpc_metadata",
    "model_registry_v2",
    "parameters",
    "prehook",
    "session",
    "utils",
    "version",
)
"""What ``import cogment`` gives access to: generated modules use ``cogment.actor``, and programs use others."""

_HOMES = {
    "ActorParameters": "parameters",
    "LogParams": "datalog",
    "LogSample": "datalog",
    "TrialParameters": "parameters",
    "__version__": "version",
}
"""The modules of the names that are looked up when they are first used."""

if not TYPE_CHECKING:  # to type checkers, only what is imported above is here

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            return import_module(f"cogment.{name}")
        if name in _HOMES:
            value = globals()[name] = getattr(import_module(f"cogment.{_HOMES[name]}"), name)
            return value
        raise AttributeError(f"module 'cogment' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, *_MODULES})
