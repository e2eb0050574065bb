"""``ClientActorSP``: actors that come to their trial."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from cogment_core.api import common_pb2
from cogment_core.api.common_pb2 import END, HEARTBEAT, NORMAL, ActorRunTrialInput, ActorRunTrialOutput
from cogment_core.api.orchestrator_pb2_grpc import ClientActorSPServicer
from cogment_core.duplex import of_context
from cogment_core.errors import CogmentError
from cogment_core.join_tokens import JoinTokens
from cogment_services.orchestrator.admission import Admission
from cogment_services.orchestrator.hosted import HostedTrial
from cogment_services.orchestrator.participants import (
    NoSlotNamedError,
    NotPendingError,
    SlotError,
    SlotTakenError,
    UnknownSlotError,
)
from cogment_services.orchestrator.peers import RELEASE_TIMEOUT, ActorDuplex, ClientPeer
from cogment_services.orchestrator.trials import Trials
from cogment_services.refusals import Refusal, refuse
from cogment_services.status import StatusReporter
from cogment_services.trial_ids import the_trial_id

__all__ = ["JOIN_TIMEOUT", "ClientActorService"]

JOIN_TIMEOUT = 30.0
"""Seconds that a client has to say who it wants to be."""

_CODES: dict[type[SlotError], grpc.StatusCode] = {
    NoSlotNamedError: grpc.StatusCode.INVALID_ARGUMENT,
    NotPendingError: grpc.StatusCode.FAILED_PRECONDITION,
    SlotTakenError: grpc.StatusCode.ALREADY_EXISTS,
    UnknownSlotError: grpc.StatusCode.NOT_FOUND,
}


class ClientActorService(StatusReporter, ClientActorSPServicer):
    """Lets client actors take part in trials.

    Args:
        trials: The trials.
        join_tokens: Checks the tokens that actors have to show; None to let in whoever comes.
    """

    def __init__(self, trials: Trials, join_tokens: JoinTokens | None = None) -> None:
        self._trials = trials
        self._join_tokens = join_tokens

    async def RunTrial(  # type: ignore[override]  # it writes to the context instead of yielding
        self, request_iterator: AsyncIterator[ActorRunTrialOutput], context: Any
    ) -> None:
        """Let a client take the place of an actor in a trial, until one of them ends."""
        try:
            trial_id = the_trial_id(context)
            # First: whoever has no token is not told which trials there are.
            admission = None if self._join_tokens is None else Admission.of_call(self._join_tokens, context, trial_id)
            trial = self._trials.find(trial_id)
            if trial is None:
                raise Refusal(grpc.StatusCode.NOT_FOUND, f"there is no trial [{trial_id}]")
            await _Client(trial, of_context(context), admission).take_part()
        except CogmentError as error:
            await refuse(context, error)


class _Client:
    """A client at the door of a trial, and then in it."""

    def __init__(self, trial: HostedTrial, duplex: ActorDuplex, admission: Admission | None) -> None:
        self._trial = trial
        self._duplex = duplex
        self._admission = admission
        self._index = -1
        self._peer: ClientPeer | None = None
        self._entered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def take_part(self) -> None:
        """Let the client in, and stay until it or the trial leaves.

        Raises:
            CogmentError: It cannot be let in.
        """
        receiving = asyncio.get_running_loop().create_task(self._receive())
        try:
            await asyncio.wait({self._entered}, timeout=JOIN_TIMEOUT)
            if not self._entered.done():
                text = f"no init_output within {JOIN_TIMEOUT:g} s"
                raise Refusal(grpc.StatusCode.DEADLINE_EXCEEDED, text)
            await self._raise_refusal()
            if self._peer is not None:
                await asyncio.wait({receiving, self._peer.released}, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.wait_for(self._duplex.close(), RELEASE_TIMEOUT)
        except asyncio.TimeoutError:
            self._duplex.abandon()
        finally:
            if self._peer is not None:
                self._peer.gone("the call ended")
            if self._entered.done() and not self._entered.cancelled():
                self._entered.exception()  # marks it as retrieved: the client may have left before it was
            receiving.cancel()
            await asyncio.wait({receiving})

    async def _raise_refusal(self) -> None:
        """Raise why the client was not let in, if it was not.

        gRPC cannot send the status of a call while it writes, for example the answer to a heartbeat.
        """
        if self._entered.exception() is not None:
            await self._duplex.drain()
        self._entered.result()

    async def _receive(self) -> None:
        reason = "the client left"
        try:
            await self._duplex.receive(self._on_message)
        except CogmentError as error:
            reason = str(error)
        if not self._entered.done():
            self._entered.set_result(None)
        if self._peer is not None:
            self._peer.gone(reason)

    def _on_message(self, message: ActorRunTrialOutput) -> None:
        if self._peer is not None:
            self._trial.actor_said(self._index, message)
        elif not self._entered.done():
            try:
                self._on_first_message(message)
            except Exception as error:
                self._entered.set_exception(error)

    def _on_first_message(self, message: ActorRunTrialOutput) -> None:
        if message.state == HEARTBEAT:
            self._duplex.send(ActorRunTrialInput(state=HEARTBEAT))
        elif message.state == END:
            self._entered.set_result(None)
        elif message.state == NORMAL and message.HasField("init_output"):
            self._enter(message.init_output)
        else:
            text = "the first message has to be NORMAL with init_output, which says who the actor wants to be"
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, text)

    def _enter(self, slot: common_pb2.ActorInitialOutput) -> None:
        name = slot.actor_name if self._admission is None else self._admission.actor_name(slot)
        if self._admission is not None:
            self._admission.use()  # before anybody is disturbed
        try:
            self._index, self._peer = self._trial.join(self._duplex, name or None, slot.actor_class or None)
        except SlotError as error:
            if self._admission is not None:
                self._admission.give_back()
            raise Refusal(_CODES.get(type(error), grpc.StatusCode.FAILED_PRECONDITION), str(error)) from error
        self._entered.set_result(None)
        self._trial.joined(self._index)
