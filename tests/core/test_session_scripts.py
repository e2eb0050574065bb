"""Whatever an Orchestrator says and a user does: sessions keep the rules, and always end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import Int32Value, StringValue
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import Line, World, soon, turns

from cogment_core.api import common_pb2, environment_pb2
from cogment_core.api.common_pb2 import END, HEARTBEAT, LAST, LAST_ACK, NORMAL
from cogment_core.errors import CogmentError

DATA: dict[str, dict[str, Any]] = {
    "actor": {
        "observation": common_pb2.Observation(tick_id=1, content=StringValue(value="o").SerializeToString()),
        "nonsense": common_pb2.Observation(tick_id=1, content=b"\xff"),
        "reward": common_pb2.Reward(tick_id=1, value=1),
    },
    "environment": {
        "action_set": environment_pb2.ActionSet(actions=[Int32Value(value=1).SerializeToString(), b""]),
        "nonsense": environment_pb2.ActionSet(actions=[b"", b"", b""]),
    },
}
FIELD = {"actor": "observation", "environment": "action_set"}
STATES = st.sampled_from([NORMAL] * 4 + [HEARTBEAT, LAST, LAST, LAST_ACK, END, 42])
KINDS = st.sampled_from(["", "", "data", "data", "data", "nonsense", "reward", "message", "details"])
SAID = st.lists(st.tuples(STATES, KINDS), max_size=12)
DONE = st.lists(st.sampled_from(["act", "reward", "message", "end", "done", "nothing", "leave", "raise"]), max_size=12)
ENDINGS = st.sampled_from(["half-close", "cancel", "close"])


class User:
    """A user's function that does one thing at each event."""

    def __init__(self, kind: str, acts: list[str], auto: bool) -> None:
        self._kind = kind
        self._acts = iter(acts)
        self._auto = auto
        self.types: list[str] = []
        self.session: Any = None

    async def __call__(self, session: Any) -> None:
        self.session = session
        session.start(auto_done_sending=self._auto)
        async for event in session.all_events():
            self.types.append(event.type.name)
            act = next(self._acts, "nothing")
            if act == "leave":
                return
            with suppress(CogmentError):  # sending_done() out of place
                self._do(act)

    def _do(self, act: str) -> None:
        session = self.session
        if act == "raise":
            raise ValueError("a mistake of the user")
        if act == "act" and self._kind == "actor":
            session.do_action(Int32Value(value=1))
        elif act in ("act", "end") and self._kind == "environment":
            observations = [("*", StringValue(value="o"))]
            session.end(observations) if act == "end" else session.produce_observations(observations)
        elif act == "reward":
            session.add_reward(1, 1, "ann")
        elif act == "message":
            session.send_message(None, "ann")
        elif act == "done":
            session.sending_done()


async def say(line: Line, kind: str, state: int, what: str) -> None:
    """Send one message, if the call still takes it."""
    data: dict[str, Any] = {}
    if what == "message":
        data = {"message": common_pb2.Message(sender_name="bob")}
    elif what == "details":
        data = {"details": "said"}
    elif what in DATA[kind]:
        data = {FIELD[kind] if what == "nonsense" else what: DATA[kind][what]}
    elif what == "data":
        data = {FIELD[kind]: DATA[kind][FIELD[kind]]}
    with suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):  # the participant has ended the call
        await line.send(state, **data)


async def play(kind: str, joins_first: bool, said: list[Any], done: list[str], auto: bool, ending: str) -> None:
    """One session, from the first to the last message, and the rules that hold for it."""
    world = World("inprocess")
    user = User(kind, done, auto)
    line = await world.participant(kind, user)
    if joins_first:
        await line.join()
    for state, what in said:
        await say(line, kind, state, what)
        await turns(2)
    if ending == "half-close":
        await line.stop_sending()
    elif ending == "close":
        await say(line, kind, END, "")
    sent = [] if ending == "cancel" else await line.rest()
    line.call.cancel()
    await soon(world.context.close())
    await world.close()
    check_sent([(message.state, message.WhichOneof("data")) for message in sent])
    check_seen(user)


def check_sent(sent: list[tuple[int, str | None]]) -> None:
    """The initial output first and once, LAST once at most, LAST_ACK once at most, only heartbeats after it."""
    said = [each for each in sent if each[0] != HEARTBEAT]
    assert all(kind is None for state, kind in sent if state != NORMAL)
    if (NORMAL, "init_output") in said:
        assert said.index((NORMAL, "init_output")) == 0
        assert said.count((NORMAL, "init_output")) == 1
    assert said.count((LAST, None)) <= 1
    acknowledged = [index for index, (state, _) in enumerate(said) if state == LAST_ACK]
    assert acknowledged in ([], [len(said) - 1]) or (NORMAL, "init_output") not in said


def check_seen(user: User) -> None:
    """ACTIVE, then ENDING, then one FINAL; FINAL only when the trial is over, and a reason in any case."""
    order = ["ACTIVE", "ENDING", "FINAL"]
    assert user.types == sorted(user.types, key=order.index)
    assert user.types.count("FINAL") <= 1
    if user.session is not None and user.types[-1:] == ["FINAL"]:
        assert user.session.is_trial_over()
        assert user.session.end_reason


@pytest.mark.parametrize("kind", ["actor", "environment"])
@settings(max_examples=150)
@given(joins_first=st.sampled_from([True, True, True, False]), said=SAID, done=DONE, auto=st.booleans(), ending=ENDINGS)
def test_every_session_keeps_the_rules_and_ends(
    kind: str, joins_first: bool, said: list[Any], done: list[str], auto: bool, ending: str
):
    """Any sequence of messages, with any reactions to them, ends the call and leaves no task behind."""

    async def main() -> None:
        await asyncio.wait_for(play(kind, joins_first, said, done, auto, ending), 20)
        await turns()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
