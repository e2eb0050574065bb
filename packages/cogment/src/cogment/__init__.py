"""The Cogment Python SDK: trials in which AI agents and people act together.

Layers point down: this package re-exports the feature packages (``cogment_controller``, ``cogment_datastore``,
``cogment_model_registry``), which never import each other, and ``cogment_core``, which imports none of them. What is
implemented here is only what joins them: ``Context`` with its clients, and the module paths that programs import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

# Imported so that `import cogment` alone gives access to `cogment.actor` and the others: generated modules use that.
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
from cogment import parameters as parameters
from cogment import prehook as prehook
from cogment import session as session
from cogment import utils as utils
from cogment import version as version
from cogment.actor import ActorClass, ActorClassList
from cogment.context import Context
from cogment.control import TrialState
from cogment.datalog import LogParams, LogSample
from cogment.datastore import DatastoreFields
from cogment.endpoints import Endpoint, ServedEndpoint
from cogment.errors import CogmentError
from cogment.grpc_metadata import GrpcMetadata
from cogment.parameters import ActorParameters, TrialParameters
from cogment.session import ActorStatus, EventType
from cogment.utils import make_logger

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

if TYPE_CHECKING:
    __version__: str
else:

    def __getattr__(name: str) -> str:
        # The installed version is looked up when somebody asks: that takes a quarter of the time of this whole import.
        if name == "__version__":
            return version.__version__
        raise AttributeError(f"module 'cogment' has no attribute {name!r}")
