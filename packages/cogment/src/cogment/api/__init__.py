"""The messages and services of the Cogment protocol: the modules of `cogment_core.api`, under their old names.

``cogment.api.common_pb2`` is the same module as ``cogment_core.api.common_pb2``, and so for all of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cogment.api import agent_pb2 as agent_pb2
    from cogment.api import agent_pb2_grpc as agent_pb2_grpc
    from cogment.api import common_pb2 as common_pb2
    from cogment.api import common_pb2_grpc as common_pb2_grpc
    from cogment.api import datalog_pb2 as datalog_pb2
    from cogment.api import datalog_pb2_grpc as datalog_pb2_grpc
    from cogment.api import directory_pb2 as directory_pb2
    from cogment.api import directory_pb2_grpc as directory_pb2_grpc
    from cogment.api import environment_pb2 as environment_pb2
    from cogment.api import environment_pb2_grpc as environment_pb2_grpc
    from cogment.api import hooks_pb2 as hooks_pb2
    from cogment.api import hooks_pb2_grpc as hooks_pb2_grpc
    from cogment.api import model_registry_pb2 as model_registry_pb2
    from cogment.api import model_registry_pb2_grpc as model_registry_pb2_grpc
    from cogment.api import orchestrator_pb2 as orchestrator_pb2
    from cogment.api import orchestrator_pb2_grpc as orchestrator_pb2_grpc
    from cogment.api import trial_datastore_pb2 as trial_datastore_pb2
    from cogment.api import trial_datastore_pb2_grpc as trial_datastore_pb2_grpc

__all__ = [
    "agent_pb2",
    "agent_pb2_grpc",
    "common_pb2",
    "common_pb2_grpc",
    "datalog_pb2",
    "datalog_pb2_grpc",
    "directory_pb2",
    "directory_pb2_grpc",
    "environment_pb2",
    "environment_pb2_grpc",
    "hooks_pb2",
    "hooks_pb2_grpc",
    "model_registry_pb2",
    "model_registry_pb2_grpc",
    "orchestrator_pb2",
    "orchestrator_pb2_grpc",
    "trial_datastore_pb2",
    "trial_datastore_pb2_grpc",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        # `cogment.api.common_pb2` works after `import cogment` alone, which need not load all of the protocol for that.
        if name in __all__:
            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
