"""What a Context serves, over gRPC or in process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from cogment_core.api import agent_pb2_grpc, datalog_pb2_grpc, environment_pb2_grpc, hooks_pb2_grpc
from cogment_core.implementations import Implementations
from cogment_core.inprocess import InProcessServer
from cogment_core.logs import logger
from cogment_core.metrics import ActorMetrics, EnvironmentMetrics
from cogment_core.services.actor import ActorService
from cogment_core.services.datalog import DatalogService
from cogment_core.services.environment import EnvironmentService
from cogment_core.services.prehook import PrehookService

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from cogment_core.endpoints import ServedEndpoint
    from cogment_core.specs import CogSettings

__all__ = ["STOP_GRACE", "Served"]

STOP_GRACE = 1.0
"""Seconds that calls in progress have to end when the server stops."""
