# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""Every public name is seen by type checkers, and is what it should be."""

from __future__ import annotations

from typing_extensions import assert_type

import cogment
from cogment import errors
from cogment.actor import ActorClass, ActorClassList, ActorSession
from cogment.api import common_pb2, orchestrator_pb2_grpc
from cogment.api.datalog_pb2 import DatalogSample
from cogment.context import Context
from cogment.control import Controller, TrialInfo, TrialState
from cogment.datalog import DatalogSession, LogSample
from cogment.directory import ServiceType
from cogment.endpoints import Endpoint, ServedEndpoint
from cogment.environment import EnvironmentSession
from cogment.grpc_metadata import GrpcMetadata
from cogment.parameters import ActorParameters, TrialParameters
from cogment.prehook import PrehookSession
from cogment.session import ActorInfo, ActorStatus, EventType, RecvEvent, Session
from cogment_core.logs import CogmentLogger

NAMES_OF_MODULES: list[type] = [
    ActorClass,
    ActorClassList,
    ActorInfo,
    ActorParameters,
    ActorSession,
    ActorStatus,
    Context,
    Controller,
    DatalogSession,
    Endpoint,
    EnvironmentSession,
    EventType,
    GrpcMetadata,
    LogSample,
    PrehookSession,
    RecvEvent,
    ServedEndpoint,
    ServiceType,
    Session,
    TrialInfo,
    TrialParameters,
    TrialState,
]
NAMES_OF_PACKAGE: list[type] = [
    cogment.ActorClass,
    cogment.ActorClassList,
    cogment.ActorParameters,
    cogment.ActorStatus,
    cogment.CogmentError,
    cogment.Context,
    cogment.DatastoreFields,
    cogment.Endpoint,
    cogment.EventType,
    cogment.GrpcMetadata,
    cogment.LogParams,
    cogment.LogSample,
    cogment.ServedEndpoint,
    cogment.TrialParameters,
    cogment.TrialState,
]

assert_type(cogment.__version__, str)
assert_type(cogment.make_logger("mine"), CogmentLogger)
assert_type(cogment.actor.ActorClassList(), ActorClassList)
assert_type(cogment.api.common_pb2.TrialParams(), common_pb2.TrialParams)
assert_type(cogment.api.common_pb2.TrialParams().max_steps, int)
assert_type(DatalogSample().info.tick_id, int)
print(orchestrator_pb2_grpc.TrialLifecycleSPStub, cogment.nonsense)  # type: ignore[attr-defined]


def errors_are_a_tree(failure: errors.RpcError, gone: errors.UnavailableError) -> cogment.CogmentError:
    """Errors of remote calls are errors of this SDK, and say more."""
    assert_type(failure.target, str)
    return gone if failure.method else failure
