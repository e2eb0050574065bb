"""Seats that need a token: a signed, expiring, single-use one."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from hypothesis import given
from hypothesis import strategies as st

from cogment_core import join_tokens
from cogment_core.api.common_pb2 import TrialParams
from cogment_core.api.orchestrator_pb2 import TrialStartRequest
from cogment_core.api.orchestrator_pb2_grpc import TrialLifecycleSPStub
from cogment_core.context import Context
from cogment_core.endpoints import Endpoint
from cogment_core.enums import EventType
from cogment_core.errors import BacklogError, RpcError, UsageError
from cogment_core.join_tokens import JoinTokenError, JoinTokens
from cogment_core.parameters import ActorParameters, TrialParameters
from cogment_core.specs import ActorClass, ActorClassList
from cogment_services.orchestrator import Orchestrator

KEY = "correct horse battery staple"

SPECS = SimpleNamespace(
    actor_classes=ActorClassList(ActorClass("player", None, StringValue, StringValue)),
    trial=SimpleNamespace(config_type=None),
    environment=SimpleNamespace(config_type=None),
)


# --- the tokens themselves


@given(st.text(min_size=1, max_size=50), st.text(min_size=1, max_size=50))
def test_a_token_is_good_for_the_seat_it_was_made_for(trial_id: str, actor: str) -> None:
    """Whatever the names are, and only with the key that it was made with."""
    tokens = JoinTokens(KEY)
    token = tokens.issue(trial_id, actor)
    seat = JoinTokens(KEY).check(token)
    assert (seat.trial_id, seat.actor_name) == (trial_id, actor)
    with pytest.raises(JoinTokenError):
        JoinTokens("another key of enough bytes").check(token)


@given(st.integers(0, 10_000), st.sampled_from("ABCabc012-_."))
def test_a_token_with_any_character_changed_is_worth_nothing(at: int, other: str) -> None:
    """Neither the content nor the signature nor the version can be changed."""
    tokens = JoinTokens(KEY)
    token = tokens.issue("trial", "actor")
    # The last character of a base64 text may have bits that mean nothing.
    places = [index for index in range(len(token) - 1) if token[index + 1] != "."]
    place = places[at % len(places)]
    if token[place] != other:
        with pytest.raises(JoinTokenError):
            tokens.check(token[:place] + other + token[place + 1 :])


@given(st.text(max_size=200) | st.just("v1..") | st.just("v1.e30.e30"))
def test_nonsense_is_no_token(text: str) -> None:
    """Whatever somebody sends is refused in the same way."""
    with pytest.raises(JoinTokenError, match="missing, wrong, expired or used"):
        JoinTokens(KEY).check(text)


def test_a_token_expires() -> None:
    """After its lifetime it is worth nothing."""
    now = [1000.0]
    tokens = JoinTokens(KEY, clock=lambda: now[0])
    token = tokens.issue("trial", "actor", lifetime=60)
    now[0] += 59
    tokens.check(token)
    now[0] += 1
    with pytest.raises(JoinTokenError):
        tokens.check(token)


def test_a_token_is_good_once() -> None:
    """Once the seat was taken, nobody else takes it with the same token; other tokens are not touched."""
    tokens = JoinTokens(KEY)
    first, second = tokens.issue("trial", "actor"), tokens.issue("trial", "actor")
    tokens.use(tokens.check(first))
    with pytest.raises(JoinTokenError):
        tokens.check(first)
    tokens.check(second)


def test_a_token_that_was_checked_twice_is_used_once() -> None:
    """Of two who show the same token at the same time, one takes the seat; if it does not, the other may."""
    tokens = JoinTokens(KEY)
    token = tokens.issue("trial", "actor")
    first, second = tokens.check(token), tokens.check(token)
    tokens.use(first)
    with pytest.raises(JoinTokenError):
        tokens.use(second)
    tokens.give_back(first)
    tokens.use(second)


def test_only_so_many_used_tokens_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then no seat is taken until some of them have expired: a token that was forgotten could be used again."""
    monkeypatch.setattr(join_tokens, "USED_LIMIT", 2)
    now = [1000.0]
    tokens = JoinTokens(KEY, clock=lambda: now[0])
    for lifetime in (10, 20):
        tokens.use(tokens.check(tokens.issue("trial", "actor", lifetime)))
    third = tokens.check(tokens.issue("trial", "actor", 30))
    with pytest.raises(BacklogError, match="try again later"):
        tokens.use(third)
    now[0] += 11
    tokens.use(third)


@pytest.mark.parametrize("token", ["planted\n", "plänted", b"planted", "x\0"])
async def test_a_token_that_cannot_be_sent_is_said(token) -> None:
    """A token from a file has a line break at its end: the error says so, and does not repeat it."""
    async with Context("me", SPECS, prometheus_registry=None) as context:
        with pytest.raises(UsageError, match="join_token") as caught:
            await context.join_trial("trial", Endpoint("grpc://127.0.0.1:1"), actor_name="a", join_token=token)
    assert "planted" not in str(caught.value)


def test_what_makes_no_token_is_refused() -> None:
    """A short key, a seat without a name, and a lifetime that is none."""
    with pytest.raises(UsageError, match="at least 16 bytes"):
        JoinTokens("short")
    for arguments in (("", "actor"), ("trial", ""), ("trial", "actor", 0), ("trial", "actor", float("inf"))):
        with pytest.raises(UsageError):
            JoinTokens(KEY).issue(*arguments)


# --- at the door of an Orchestrator


class Played:
    """Who took part."""

    def __init__(self) -> None:
        self.names: list[str] = []


def program(played: Played) -> Context:
    async def environment(session) -> None:
        session.start([("*", StringValue(value="look"))])
        async for event in session.all_events():
            if event.actions:
                session.end([("*", StringValue(value="end"))])

    async def player(session) -> None:
        played.names.append(session.name)
        session.start()
        async for event in session.all_events():
            if event.observation is not None and event.type is EventType.ACTIVE:
                session.do_action(StringValue(value="act"))

    context = Context("me", SPECS, prometheus_registry=None)
    context.register_environment(environment, "game")
    context.register_actor(player, "player", ["player"])
    return context


def parameters() -> TrialParameters:
    actors = [ActorParameters(SPECS, "player", name=name, endpoint="cogment://client") for name in ("alice", "bob")]
    return TrialParameters(SPECS, environment_implementation="game", actors=actors)


async def refused(joining) -> grpc.StatusCode:
    with pytest.raises(RpcError) as caught:
        await asyncio.wait_for(joining, 20)
    assert KEY not in str(caught.value)
    return caught.value.code()


@pytest.mark.parametrize("over_grpc", [False, True])
async def test_only_bearers_of_a_token_take_their_seats(over_grpc: bool) -> None:
    """F1, F2: a wrong, foreign, expired or missing token gets nobody in, whether the trial exists or not; a used one
    neither, and who sits there is not disturbed."""
    played = Played()
    tokens = JoinTokens(KEY)
    async with program(played) as context, Orchestrator(port=0 if over_grpc else None, join_key=KEY) as orchestrator:
        orchestrator.attach(context)
        endpoint = orchestrator.endpoint
        if over_grpc:
            endpoint = Endpoint(f"grpc://127.0.0.1:{orchestrator.port}")
        trial_id = await _start(orchestrator)
        alice = tokens.issue(trial_id, "alice")
        unauthenticated = grpc.StatusCode.UNAUTHENTICATED
        bad = ["nonsense", None, JoinTokens("x" * 20).issue(trial_id, "alice"), tokens.issue("elsewhere", "alice")]
        for token in bad:
            for where in (trial_id, "no-such-trial"):
                assert await refused(context.join_trial(where, endpoint, actor_name="alice", join_token=token)) is (
                    unauthenticated
                ), token
        denied = await refused(context.join_trial(trial_id, endpoint, actor_name="bob", join_token=alice))
        assert denied is grpc.StatusCode.PERMISSION_DENIED
        sits = asyncio.create_task(context.join_trial(trial_id, endpoint, actor_name="alice", join_token=alice))
        bob = context.join_trial(trial_id, endpoint, actor_class="player", join_token=tokens.issue(trial_id, "bob"))
        await asyncio.wait_for(asyncio.gather(sits, bob), 20)
        assert sorted(played.names) == ["alice", "bob"]
        assert await refused(context.join_trial(trial_id, endpoint, actor_name="alice", join_token=alice)) is (
            unauthenticated
        )


async def test_a_seat_that_is_taken_stays_taken() -> None:
    """F2: who comes later, with another token for the same seat, is told so, and keeps the token."""
    played = Played()
    tokens = JoinTokens(KEY)
    async with program(played) as context, Orchestrator(join_key=KEY) as orchestrator:
        orchestrator.attach(context)
        endpoint = orchestrator.endpoint
        trial_id = await _start(orchestrator)
        joining = [
            context.join_trial(trial_id, endpoint, actor_name=name, join_token=tokens.issue(trial_id, name))
            for name in ("alice", "alice", "bob")
        ]
        outcomes = await asyncio.wait_for(asyncio.gather(*joining, return_exceptions=True), 20)
        (taken,) = [outcome for outcome in outcomes if outcome is not None]
        assert isinstance(taken, RpcError)
        assert taken.code() is grpc.StatusCode.ALREADY_EXISTS
        assert sorted(played.names) == ["alice", "bob"]


async def test_of_those_who_show_one_token_at_once_one_gets_in() -> None:
    """F1: on as many connections as they like, whether the others name the seat or its class."""
    played = Played()
    tokens = JoinTokens(KEY)
    async with contextlib.AsyncExitStack() as stack:
        contexts = [await stack.enter_async_context(program(played)) for _ in range(6)]
        orchestrator = await stack.enter_async_context(Orchestrator(port=0, join_key=KEY))
        orchestrator.attach(contexts[0])
        endpoint = Endpoint(f"grpc://127.0.0.1:{orchestrator.port}")
        trial_id = await _start(orchestrator)
        alice = tokens.issue(trial_id, "alice")
        wanted = [{"actor_name": "alice"}, {"actor_class": "player"}] * 3
        joining = [
            asyncio.create_task(context.join_trial(trial_id, endpoint, join_token=alice, **want))
            for context, want in zip(contexts, wanted, strict=True)
        ]
        while sum(task.done() for task in joining) < 5:
            await asyncio.wait([task for task in joining if not task.done()], timeout=20, return_when="FIRST_COMPLETED")
        bob = contexts[0].join_trial(trial_id, endpoint, actor_name="bob", join_token=tokens.issue(trial_id, "bob"))
        await asyncio.wait_for(bob, 20)
        outcomes = await asyncio.wait_for(asyncio.gather(*joining, return_exceptions=True), 20)
        refusals = [outcome for outcome in outcomes if outcome is not None]
        assert [refusal.code() for refusal in refusals] == [grpc.StatusCode.UNAUTHENTICATED] * 5
        assert sorted(played.names) == ["alice", "bob"]


async def test_an_orchestrator_without_a_key_asks_for_none() -> None:
    """An open Orchestrator keeps working as ever, whatever a client shows."""
    played = Played()
    async with program(played) as context, Orchestrator() as orchestrator:
        orchestrator.attach(context)
        trial_id = await _start(orchestrator)
        await asyncio.wait_for(
            asyncio.gather(
                context.join_trial(trial_id, orchestrator.endpoint, actor_name="alice"),
                context.join_trial(trial_id, orchestrator.endpoint, actor_name="bob", join_token="whatever"),
            ),
            20,
        )
        assert sorted(played.names) == ["alice", "bob"]


async def _start(orchestrator: Orchestrator) -> str:
    stub = TrialLifecycleSPStub(orchestrator.endpoint.server.channel())
    params = TrialParams.FromString(parameters().serialize())
    reply = await stub.StartTrial(TrialStartRequest(params=params, user_id="me"), timeout=20)
    return reply.trial_id
