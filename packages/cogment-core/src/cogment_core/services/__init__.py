"""The gRPC services of a Context: each brings trials to one kind of user function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cogment_core.api import agent_pb2_grpc, datalog_pb2_grpc, environment_pb2_grpc, hooks_pb2_grpc
from cogment_core.metrics import ActorMetrics, EnvironmentMetrics
from cogment_core.services.actor import ActorService
from cogment_core.services.base import ComponentService
from cogment_core.services.datalog import DatalogService
from cogment_core.services.environment import EnvironmentService
from cogment_core.services.prehook import PrehookService
from cogment_core.serving import guarded

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from cogment_core.implementations import Implementations
    from cogment_core.specs import CogSettings

__all__ = ["mount"]


def mount(
    server: Any,
    implementations: Implementations,
    settings: CogSettings | None,
    registry: CollectorRegistry | None,
) -> Sequence[ComponentService]:
    """Add the services of what is registered to ``server``. Returns them: they are the caller's to close."""
    server = guarded(server)
    services: list[ComponentService] = []
    if implementations.actors:
        actors = ActorService(implementations, settings, ActorMetrics(registry))
        agent_pb2_grpc.add_ServiceActorSPServicer_to_server(actors, server)
        services.append(actors)
    if implementations.environments:
        environments = EnvironmentService(implementations, settings, EnvironmentMetrics(registry))
        environment_pb2_grpc.add_EnvironmentSPServicer_to_server(environments, server)
        services.append(environments)
    if implementations.hook is not None:
        hook = PrehookService(implementations.hook, settings)
        hooks_pb2_grpc.add_TrialHooksSPServicer_to_server(hook, server)
        services.append(hook)
    if implementations.datalog is not None:
        datalog = DatalogService(implementations.datalog, settings)
        datalog_pb2_grpc.add_DatalogSPServicer_to_server(datalog, server)
        services.append(datalog)
    return services
