"""Actors that join a trial themselves."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import Int32Value
from scripted import STATUS_CODES, Hand, JoinLine, Recorder, World, soon, turns

from cogment_core import client_actor, participation
from cogment_core.api.common_pb2 import END, LAST, LAST_ACK, NORMAL
from cogment_core.endpoints import Endpoint
from cogment_core.enums import EventType
from cogment_core.errors import (
    CogmentError,
    EndpointError,
    ProtocolError,
    RpcError,
    UnavailableError,
    UsageError,
)
from cogment_core.metadata import GrpcMetadata

OK = grpc.StatusCode.OK


# --- joining ----------------------------------------------------------------------------------------------------------


async def test_a_whole_trial(world: World):
    """Join by name, observe, act, end: join_trial() returns when the function does."""
    recorder = Recorder(
        react=lambda session, event: (
            session.do_action(Int32Value(value=1)) if event.type is EventType.ACTIVE and event.observation else None
        )
    )
    joining, line = await world.join(recorder)
    request = await line.expect(NORMAL, "init_output")
    assert (request.actor_name, request.actor_class) == ("ann", "")
    assert request.WhichOneof("slot_selection") == "actor_name"
    await line.admit()
    session = await recorder.session()
    assert (session.name, session.actor_class, session.impl_name) == ("ann", "player", "acting")
    assert (session.env_name, session.get_trial_id()) == ("env", "trial")
    await line.observe("go", tick=0)
    assert (await line.expect(NORMAL, "action")).tick_id == 0
    await line.send(LAST)
    await line.observe("last", tick=1)
    await line.expect(LAST_ACK)
    await line.send(END)
    line.end()
    await soon(joining)
    assert recorder.types == ["ACTIVE", "ENDING", "FINAL"]


async def test_joining_by_class(world: World):
    """The request has the class, and any name will do."""
    recorder = Recorder()
    joining, line = await world.join(recorder, actor_class="player")
    request = await line.expect(NORMAL, "init_output")
    assert request.WhichOneof("slot_selection") == "actor_class"
    assert request.actor_class == "player"
    await line.admit("whoever")
    await line.send(END)
    line.end()
    await soon(joining)
    assert (await recorder.session()).name == "whoever"


async def test_a_name_says_it_all(world: World, caplog: pytest.LogCaptureFixture):
    """With both a name and a class the class is ignored, with a warning."""
    joining, line = await world.join(Recorder(), actor_name="ann", actor_class="judge")
    assert (await line.expect(NORMAL, "init_output")).WhichOneof("slot_selection") == "actor_name"
    assert "'judge' is ignored" in caplog.text
    await line.send(END)
    line.end()
    await soon(joining)


async def test_the_deprecated_implementation_stands_for_its_first_class(world: World):
    """impl_name alone joins as the first class of that implementation."""
    world.context.register_actor(Recorder(), "judging", ["judge", "player"])
    joining, line = await world.join(impl_name="judging")
    assert (await line.expect(NORMAL, "init_output")).actor_class == "judge"
    await line.send(END)
    line.end()
    await soon(joining)


@pytest.mark.parametrize("options", [{}, {"actor_name": ""}, {"impl_name": "unheard of"}, {"impl_name": "any"}])
async def test_whom_to_be_has_to_be_said(world: World, options: Any):
    """Neither a name nor a class, nor an implementation with one, is a CogmentError, and nothing is called."""
    world.context.register_actor(Recorder(), "any")
    with pytest.raises(UsageError):
        await world.context.join_trial("trial", await world.endpoint(), **options)
    assert world.orchestrator.lines.empty()


@pytest.mark.parametrize("trial_id", ["", "é", "a\nb", "\x7f", None, 3, b"bytes", "x" * 5000])
async def test_what_cannot_be_a_trial_is_refused(world: World, trial_id: Any):
    """A trial id that cannot travel is an error before anybody is called."""
    with pytest.raises(UsageError, match=r"trial_id|'trial-id'"):
        await world.context.join_trial(trial_id, await world.endpoint(), actor_name="ann")
    assert world.orchestrator.lines.empty()


async def test_the_metadata_of_the_context_goes_with_the_call(make_world: Any, transport: str):
    """The trial's id and the Context's own metadata are sent."""
    metadata = GrpcMetadata()
    metadata.add_http_basic_auth("me", "secret")
    world = make_world(transport, metadata=metadata)
    joining, line = await world.join(Recorder())
    assert ("trial-id", "trial") in line.metadata
    assert any(key == "authorization" for key, _ in line.metadata)
    await line.send(END)
    line.end()
    await soon(joining)


async def test_an_endpoint_that_is_no_address(world: World):
    """Without a Directory, the address of the Orchestrator is needed."""
    for endpoint in (Endpoint(), Endpoint("cogment://client"), Endpoint("http://localhost:9000")):
        with pytest.raises(EndpointError):
            await world.context.join_trial("trial", endpoint, actor_name="ann")


async def test_an_orchestrator_that_is_not_there(make_world: Any):
    """Nobody at the address is an UnavailableError, which is an AioRpcError too."""
    import socket

    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        endpoint = Endpoint(f"grpc://127.0.0.1:{holder.getsockname()[1]}")
        with pytest.raises(UnavailableError) as caught:
            await soon(make_world("grpc").context.join_trial("trial", endpoint, actor_name="ann"))
    assert isinstance(caught.value, grpc.aio.AioRpcError)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


# --- before the initial data ------------------------------------------------------------------------------------------


async def test_waiting_for_the_trial(world: World):
    """Heartbeats are answered while the trial is not ready."""
    joining, line = await world.join(Recorder())
    await line.expect(NORMAL, "init_output")
    await line.expect_nothing()
    await line.admit()
    await line.send(END)
    line.end()
    await soon(joining)


async def test_a_trial_that_ends_before_it_starts(world: World):
    """LAST is acknowledged; END lets join_trial() return quietly, without the function being called."""
    hand = Hand()
    joining, line = await world.join(hand)
    await line.expect(NORMAL, "init_output")
    await line.send(LAST)
    await line.expect(LAST_ACK)
    await line.send(END)
    line.end()
    await soon(joining)
    assert hand.calls == 0


@pytest.mark.parametrize("code", STATUS_CODES, ids=lambda code: code.name)
async def test_a_refusal_is_raised(world: World, code: grpc.StatusCode):
    """Whatever status the Orchestrator refuses with, join_trial() raises it."""
    hand = Hand()
    joining, line = await world.join(hand)
    line.end(code)
    with pytest.raises(RpcError, match="scripted") as caught:
        await soon(joining)
    assert caught.value.code() is code
    assert hand.calls == 0


async def test_an_orchestrator_that_hangs_up_is_raised(world: World):
    """A call that is completed without the initial data and without END is an error."""
    joining, line = await world.join(Hand())
    line.end()
    with pytest.raises(ProtocolError, match="stopped sending"):
        await soon(joining)


async def test_initial_data_that_never_comes_is_raised(world: World, monkeypatch: pytest.MonkeyPatch):
    """The Orchestrator has a bounded time, and the call is given up then."""
    monkeypatch.setattr(participation, "INIT_TIMEOUT", 0.05)
    monkeypatch.setattr(client_actor, "LINGER", 0.05)
    joining, line = await world.join(Hand())
    with pytest.raises(ProtocolError, match=r"actor 'ann' in trial 'trial': no initial data within 0.05 s"):
        await soon(joining)
    await soon(line.gone.wait())


async def test_nonsense_instead_of_initial_data_is_raised(world: World):
    """What comes before the initial data and is none ends the call."""
    joining, line = await world.join(Hand())
    await line.observe("x")
    with pytest.raises(ProtocolError, match="instead of initial data"):
        await soon(joining)
    await soon(line.gone.wait())


@pytest.mark.parametrize(
    ("options", "init"),
    [
        ({"actor_name": "ann"}, {"name": "bob"}),
        ({"actor_class": "player"}, {"actor_class": "judge"}),
    ],
)
async def test_another_actor_than_asked_for_is_an_error(world: World, options: Any, init: Any):
    """An Orchestrator that gives another name, or class, than asked for is not believed."""
    world.context.register_actor(Hand(), "any")
    joining, line = await world.join(**options)
    await line.admit(**init)
    with pytest.raises(ProtocolError, match="asked for"):
        await soon(joining)
    await soon(line.gone.wait())


async def test_an_actor_that_nobody_runs_is_an_error(world: World):
    """join_trial() says so when no implementation runs the actor's class."""
    world.context.register_actor(Hand(), "judging", ["judge"])
    joining, line = await world.join()
    await line.admit()
    with pytest.raises(UsageError, match="'player'"):
        await soon(joining)
    await soon(line.gone.wait())


async def test_an_unknown_implementation_falls_back_with_a_warning(world: World, caplog: pytest.LogCaptureFixture):
    """As with served actors, any implementation that runs the class will do."""
    joining, line = await world.join(Recorder())
    await line.admit(impl_name="unheard of")
    await line.send(END)
    line.end()
    await soon(joining)
    assert "'unheard of' is unknown" in caplog.text


# --- starting ---------------------------------------------------------------------------------------------------------


async def test_starting_sends_nothing(world: World):
    """The request to join was the initial output already."""
    hand = Hand()
    joining, line = await world.join(hand)
    await line.expect(NORMAL, "init_output")
    await line.admit()
    session = await hand.session()
    session.start()
    await line.expect_nothing()
    hand.release()
    await line.send(END)
    line.end()
    await soon(joining)


async def test_a_slow_start_loses_nothing(world: World):
    """What comes before start(), the first observation first of all, is delivered after it."""
    proceed = asyncio.Event()
    recorder = Recorder()

    async def impl(session: Any) -> None:
        await proceed.wait()
        await recorder(session)

    joining, line = await world.join(impl)
    await line.expect(NORMAL, "init_output")
    await line.admit()
    await line.observe("first")
    await line.message("hello")
    await line.expect_nothing()
    proceed.set()
    await recorder.wait_for(2)
    await line.send(END)
    line.end()
    await soon(joining)
    assert recorder.types == ["ACTIVE", "ACTIVE", "FINAL"]
    assert recorder.events[0].observation.observation.value == "first"


# --- the end ----------------------------------------------------------------------------------------------------------


async def test_what_the_function_raises_is_raised(world: World):
    """join_trial() raises the exception of the function, and the Orchestrator is left."""

    async def impl(session: Any) -> None:
        session.start()
        session.add_reward(1, 1, "bob")
        raise ValueError("a mistake of the user")

    joining, line = await world.join(impl)
    await line.expect(NORMAL, "init_output")
    await line.admit()
    await line.expect(NORMAL, "reward")
    assert await line.next() is None
    line.end()
    with pytest.raises(ValueError, match="a mistake of the user"):
        await soon(joining)


@pytest.mark.parametrize("wait", [0, 1, 5])
async def test_a_function_that_returns_at_once_leaves_with_everything_sent(world: World, wait: int):
    """What was sent before the function returned goes out, and then this side is closed."""

    async def impl(session: Any) -> None:
        session.start()
        for value in range(5):
            session.add_reward(value, 1, "bob")
        await turns(wait)

    joining, line = await world.join(impl)
    await line.expect(NORMAL, "init_output")
    await line.admit()
    for value in range(5):
        assert (await line.expect(NORMAL, "reward")).value == value
    assert await line.next() is None
    line.end()
    await soon(joining)


async def test_an_orchestrator_that_does_not_let_go(world: World, monkeypatch: pytest.MonkeyPatch):
    """An Orchestrator that never completes the call of an actor that has left is left alone after a while."""
    monkeypatch.setattr(client_actor, "LINGER", 0.05)

    async def impl(session: Any) -> None:
        session.start()

    joining, line = await world.join(impl)
    await line.admit()
    await soon(joining)
    await soon(line.gone.wait())
    assert line.cancelled


async def test_cancelling_join_trial_propagates(world: World):
    """A cancelled join_trial() raises CancelledError, cancels the function, and drops the call."""
    ended = asyncio.Event()

    async def impl(session: Any) -> None:
        session.start()
        try:
            async for _ in session.all_events():
                pass
        finally:
            ended.set()

    joining, line = await world.join(impl)
    await line.expect(NORMAL, "init_output")
    await line.admit()
    await line.expect_nothing()
    joining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(joining)
    assert ended.is_set()
    await soon(line.gone.wait())
    assert line.cancelled


@pytest.mark.parametrize("admitted", [False, True])
async def test_a_timeout_around_join_trial(world: World, admitted: bool):
    """wait_for() around join_trial() times out, whether the trial has started or not."""
    joining, line = await world.join(Recorder())
    await line.expect(NORMAL, "init_output")
    if admitted:
        await line.admit()
        await line.expect_nothing()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(joining, 0.01)
    assert joining.cancelled()
    await soon(line.gone.wait())


async def test_a_function_that_is_cancelled_from_within(world: World):
    """A CancelledError of the function's own is no cancellation of join_trial(), but an error."""

    async def impl(session: Any) -> None:
        session.start()
        raise asyncio.CancelledError

    joining, line = await world.join(impl)
    await line.admit()
    line.end()
    with pytest.raises(CogmentError, match="cancelled from within"):
        await soon(joining)


async def test_a_function_that_fails_while_it_is_cancelled_is_logged(world: World, caplog: pytest.LogCaptureFixture):
    """join_trial() raises CancelledError, and what the function's clean-up raised is in the log."""

    async def impl(session: Any) -> None:
        session.start()
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("in the clean-up")

    joining, line = await world.join(impl)
    await line.expect(NORMAL, "init_output")
    await line.admit()
    await line.expect_nothing()
    joining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(joining)
    assert any(record.exc_info and "in the clean-up" in str(record.exc_info[1]) for record in caplog.records)


# --- losing the connection --------------------------------------------------------------------------------------------

STATES = ["joined", "started", "active", "ending", "acknowledged", "over"]


async def advance(line: JoinLine, hand: Recorder, state: str) -> Any:
    """Bring a trial to ``state``."""
    await line.expect(NORMAL, "init_output")
    await line.admit()
    if state == "joined":
        return
    await hand.session()
    for name in STATES[2 : STATES.index(state) + 1]:
        if name == "active":
            await line.observe("one")
        elif name == "ending":
            await line.send(LAST)
        elif name == "acknowledged":
            await line.observe("last", tick=1)
            await line.expect(LAST_ACK)
        elif name == "over":
            await line.send(END)


EXPECTED = {
    "joined": [],
    "started": [],
    "active": ["ACTIVE"],
    "ending": ["ACTIVE"],
    "acknowledged": ["ACTIVE", "ENDING"],
    "over": ["ACTIVE", "ENDING", "FINAL"],
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("code", list(grpc.StatusCode), ids=lambda code: code.name)
async def test_every_status_in_every_state_ends_the_loop(world: World, state: str, code: grpc.StatusCode):
    """However the Orchestrator ends the call, and whenever: the loop ends after what had arrived, within a second.

    FINAL is seen after END, and only then; otherwise the reason is on the session. join_trial() returns.
    """
    recorder = Recorder()
    joining, line = await world.join(recorder)
    await advance(line, recorder, state)
    line.end(code)
    await asyncio.wait_for(joining, 1.0)
    session = await recorder.session()
    assert recorder.types == EXPECTED[state]
    assert recorder.returned
    assert session.is_trial_over() is (state == "over")
    if state != "over":
        assert (code.name if code is not OK else "stopped sending") in session.end_reason


async def test_a_closed_context_ends_the_loop(world: World):
    """Closing the Context ends the loops of its actors, and join_trial() returns."""
    recorder = Recorder()
    joining, line = await world.join(recorder)
    await line.expect(NORMAL, "init_output")
    await line.admit()
    await recorder.session()
    await soon(world.context.close())
    await soon(joining)
    assert recorder.returned
    assert not (await recorder.session()).is_trial_over()


async def test_a_stopped_orchestrator_ends_the_loop(world: World):
    """A server that is stopped under the trial ends the loop."""
    recorder = Recorder()
    joining, line = await world.join(recorder)
    await line.expect(NORMAL, "init_output")
    await line.admit()
    await recorder.session()
    await world.stop_orchestrator()
    await soon(joining)
    assert recorder.returned
    assert (await recorder.session()).end_reason


async def test_a_function_that_never_comes_back_is_cancelled(world: World, monkeypatch: pytest.MonkeyPatch):
    """A lost actor that waits for something else is cancelled after a while, and join_trial() returns."""
    monkeypatch.setattr(participation, "RETURN_GRACE", 0.05)

    async def impl(session: Any) -> None:
        session.start()
        await asyncio.Event().wait()

    joining, line = await world.join(impl)
    await line.expect(NORMAL, "init_output")
    await line.admit()
    await line.expect_nothing()
    line.end(grpc.StatusCode.INTERNAL)
    await soon(joining)


# --- around it --------------------------------------------------------------------------------------------------------


async def test_joining_while_serving(world: World):
    """One Context serves actors and joins trials at the same time."""
    recorders = [Recorder(), Recorder()]
    waiting = list(recorders)

    async def impl(session: Any) -> None:
        await waiting.pop(0)(session)

    served = await world.actor(impl)
    await served.begin()
    joining, line = await world.join()
    await line.admit()
    await recorders[1].session()
    for each in (served, line):
        await each.send(END)
    line.end()
    await soon(joining)
    await served.expect_end()
    assert [recorder.types for recorder in recorders] == [["FINAL"], ["FINAL"]]


async def test_several_at_once(world: World):
    """Several actors join through one Context, and each sees its own trial."""
    seen: dict[str, list[str]] = {}

    async def impl(session: Any) -> None:
        session.start()
        async for event in session.all_events():
            for message in event.messages:
                seen.setdefault(session.name, []).append(message.sender_name)

    world.context.register_actor(impl, "acting")
    joined = [await world.join(actor_name=name) for name in ("a", "b", "c")]
    for name, (_, line) in zip("abc", joined, strict=True):
        await line.admit(name)
        await line.message("x", sender=f"of {name}")
        await line.send(END)
        line.end()
    for joining, _ in joined:
        await soon(joining)
    assert seen == {name: [f"of {name}"] for name in "abc"}


async def test_a_quiet_trial_logs_no_warnings(world: World, caplog: pytest.LogCaptureFixture):
    """A trial that goes as it should leaves no warning in the log."""
    joining, line = await world.join(Recorder())
    await line.admit()
    await line.send(LAST)
    await line.observe("last")
    await line.send(END)
    line.end()
    await soon(joining)
    await turns()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
