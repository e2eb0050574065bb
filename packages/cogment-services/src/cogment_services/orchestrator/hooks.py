"""Pre-trial hooks: services that complete the parameters of a trial before it starts, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import grpc

from cogment_core import rpc
from cogment_core.api.common_pb2 import TrialParams
from cogment_core.api.hooks_pb2 import PreTrialParams
from cogment_core.api.hooks_pb2_grpc import TrialHooksSPStub
from cogment_core.endpoints import ServiceType, parse_url, redact_url
from cogment_core.errors import RpcError
from cogment_services.orchestrator.resolve import Resolver
from cogment_services.refusals import Refusal

__all__ = ["HOOK_TIMEOUT", "Hooks"]

HOOK_TIMEOUT = 60.0
"""Seconds that each hook has to answer."""

_METHOD = "/cogmentAPI.TrialHooksSP/OnPreTrial"


class Hooks:
    """The pre-trial hooks of an Orchestrator.

    Args:
        urls: Their endpoints, in the order in which they are called.
        resolver: Finds them, when they are called: they may be attached later.

    Raises:
        EndpointError: One of the endpoints cannot be understood.
    """

    def __init__(self, urls: Iterable[str], resolver: Resolver) -> None:
        self._urls = tuple(urls)
        for url in self._urls:
            parse_url(url)
        self._resolver = resolver

    async def run(self, params: TrialParams, trial_id: str, user_id: str) -> TrialParams:
        """What the hooks make of ``params``.

        Raises:
            EndpointError: A hook cannot be found.
            Refusal: A hook cannot be reached, does not answer in time, or fails.
        """
        metadata = (("trial-id", trial_id), ("user-id", user_id))
        for url in self._urls:
            params = await self._call(url, params, metadata)
        return params

    async def _call(self, url: str, params: TrialParams, metadata: Sequence[tuple[str, str]]) -> TrialParams:
        try:
            route = await self._resolver.service("a pre-trial hook", url, ServiceType.HOOK)
            async with route.channel("cogmentAPI.TrialHooksSP") as channel:
                reply: PreTrialParams = await rpc.call_unary(
                    TrialHooksSPStub(channel).OnPreTrial,
                    PreTrialParams(params=params),
                    method=_METHOD,
                    target=redact_url(url),
                    metadata=metadata,
                    timeout=HOOK_TIMEOUT,
                )
        except RpcError as error:
            absent = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            code = grpc.StatusCode.UNAVAILABLE if absent else grpc.StatusCode.FAILED_PRECONDITION
            raise Refusal(code, f"the pre-trial hook failed: {error}") from error
        return reply.params
