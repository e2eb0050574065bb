"""An Orchestrator that says exactly what the test tells it to, over both transports.

`World` serves or joins one Context and calls it; `Line` is the Orchestrator's end of one stream; the rest are functions
of users.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.wrappers_pb2 import DoubleValue, Int32Value, StringValue

from cogment_core.api import (
    agent_pb2_grpc,
    common_pb2,
    datalog_pb2_grpc,
    environment_pb2,
    environment_pb2_grpc,
    hooks_pb2_grpc,
    orchestrator_pb2_grpc,
)
from cogment_core.api.common_pb2 import END, HEARTBEAT, NORMAL
from cogment_core.call_status import CallStatus, is_made_up
from cogment_core.context import Context
from cogment_core.endpoints import Endpoint, ServedEndpoint
from cogment_core.errors import RpcError
from cogment_core.inprocess import InProcessEndpoint, InProcessServer
from cogment_core.specs import ActorClass, ActorClassList

PATIENCE = 4.0
"""Seconds that a test waits for what has to come at once."""

T = TypeVar("T")

SETTINGS: Any = SimpleNamespace(
    actor_classes=ActorClassList(
        ActorClass("player", config_type=StringValue, action_space=Int32Value, observation_space=StringValue),
        ActorClass("judge", config_type=None, action_space=DoubleValue, observation_space=DoubleValue),
    ),
    trial=SimpleNamespace(config_type=StringValue),
    environment=SimpleNamespace(config_type=StringValue),
)
"""Specs with two classes of actors, of different spaces."""

STATUS_CODES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]


async def soon(awaitable: Awaitable[T]) -> T:
    """What ``awaitable`` gives, which must not take long."""
    return await asyncio.wait_for(awaitable, PATIENCE)


async def turns(count: int = 20) -> None:
    """Let everything that is ready run."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    """Wait for what tells nobody; it must not take long."""

    async def come_true() -> None:
        while not condition():
            await turns(1)

    await soon(come_true())


class Line:
    """The Orchestrator's end of one trial stream: it sends inputs, and reads outputs one by one."""

    def __init__(self, make_input: Callable[..., Any], read: Callable[[], Any], write: Callable[[Any], Any]) -> None:
        self.make_input = make_input
        self._read = read
        self._write = write

    async def send(self, state: int = NORMAL, **data: Any) -> None:
        """Send one message."""
        await soon(self._write(self.make_input(state=state, **data)))

    async def next(self) -> Any:
        """The next message of the participant; None at the end of the stream."""
        message = await soon(self._read())
        return None if message is grpc.aio.EOF else message

    async def expect(self, state: int = NORMAL, kind: str | None = None) -> Any:
        """The data of the next message, which has to be of this state and kind."""
        message = await self.next()
        assert message is not None, f"the stream ended before {kind or common_pb2.CommunicationState.Name(state)}"
        assert (message.state, message.WhichOneof("data")) == (state, kind), message
        return getattr(message, kind) if kind else None

    async def expect_nothing(self) -> None:
        """Nothing was sent that has not been read: a heartbeat's echo is the next thing to come."""
        await self.send(HEARTBEAT)
        await self.expect(HEARTBEAT)

    # --- what actors get ---------------------------------------------------------------------------------------

    async def observe(self, text: str, tick: int = 0) -> None:
        """Send an observation to a player."""
        content = StringValue(value=text).SerializeToString()
        await self.send(observation=common_pb2.Observation(tick_id=tick, timestamp=1000 + tick, content=content))

    async def reward(self, value: float, *sources: common_pb2.RewardSource, tick: int = 0) -> None:
        """Send a reward to an actor."""
        await self.send(reward=common_pb2.Reward(tick_id=tick, receiver_name="ann", value=value, sources=sources))

    async def message(self, text: str, sender: str = "bob") -> None:
        """Send a message to a participant."""
        message = common_pb2.Message(tick_id=3, sender_name=sender, receiver_name="ann")
        message.payload.Pack(StringValue(value=text))
        await self.send(message=message)

    # --- what environments get ---------------------------------------------------------------------------------

    async def act(self, *values: int, tick: int = 0, unavailable: tuple[int, ...] = ()) -> None:
        """Send the actions of players."""
        contents = [Int32Value(value=value).SerializeToString() for value in values]
        await self.send(
            action_set=environment_pb2.ActionSet(
                tick_id=tick, timestamp=2000 + tick, actions=contents, unavailable_actors=unavailable
            )
        )


class ServiceLine(Line):
    """The stream of a participant that the Orchestrator calls."""

    def __init__(self, call: Any, make_input: Callable[..., Any], init: Any) -> None:
        super().__init__(make_input, call.read, self._write_while_open)
        self.call = call
        self._init = init
        self._status = CallStatus(call)
        self._error: RpcError | None = None

    async def join(self) -> None:
        """Send the initial data."""
        await self.send(init_input=self._init)

    async def begin(self) -> None:
        """Send the initial data, and wait for the answer to it."""
        await self.join()
        await self.expect(NORMAL, "init_output")

    async def _write_while_open(self, message: Any) -> None:
        try:
            await self.call.write(message)
        except grpc.aio.AioRpcError as error:
            if not is_made_up(error):
                raise
            # The participant ended the call before gRPC was done with this message, which it may well have got.

    async def stop_sending(self) -> None:
        """Half-close."""
        await soon(self.call.done_writing())

    async def rest(self) -> list[Any]:
        """What is left to come, to the end of the call."""
        messages: list[Any] = []
        try:
            while (message := await self.next()) is not None:
                messages.append(message)
        except grpc.aio.AioRpcError as error:
            self._error = await soon(self._status.true_end(error))
        return messages

    async def code(self) -> grpc.StatusCode:
        """How the participant ended the call; what was left to come is dropped."""
        await self.rest()
        return grpc.StatusCode.OK if self._error is None else self._error.code()

    async def details(self) -> str:
        """What the participant said when it ended the call."""
        await self.rest()
        return "" if self._error is None else self._error.details() or ""

    async def finish(self) -> None:
        """End the trial softly, with nothing in between, and see the participant end the call."""
        await self.send(END)
        await self.expect_end()

    async def expect_end(self, code: grpc.StatusCode = grpc.StatusCode.OK) -> None:
        """Nothing more is sent, and the call is completed with ``code``."""
        assert await self.rest() == []
        assert await self.code() is code


class JoinLine(Line):
    """The stream of a client actor: it called the Orchestrator."""

    def __init__(self, context: Any) -> None:
        super().__init__(common_pb2.ActorRunTrialInput, context.read, context.write)
        self.metadata = [(key, value) for key, value in context.invocation_metadata() if key != "user-agent"]
        self.gone = asyncio.Event()
        """Set when the handler has ended, by itself or because the client has cancelled the call."""
        self.cancelled = False
        self._end: asyncio.Future[grpc.StatusCode] = asyncio.get_running_loop().create_future()

    async def admit(self, name: str = "ann", actor_class: str = "player", impl_name: str = "", **init: Any) -> None:
        """Send the initial data."""
        await self.send(
            init_input=common_pb2.ActorInitialInput(
                actor_name=name, actor_class=actor_class, impl_name=impl_name, env_name="env", **init
            )
        )

    def end(self, code: grpc.StatusCode = grpc.StatusCode.OK) -> None:
        """Complete the call."""
        self._end.set_result(code)

    async def serve(self, context: Any) -> None:
        """Wait for `end`."""
        try:
            code = await self._end
            if code is not grpc.StatusCode.OK:
                await context.abort(code, "scripted")
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        finally:
            self.gone.set()


class Orchestrator(orchestrator_pb2_grpc.ClientActorSPServicer):
    """Hands the calls of client actors to the test."""

    def __init__(self) -> None:
        self.lines: asyncio.Queue[JoinLine] = asyncio.Queue()

    async def RunTrial(self, request_iterator: Any, context: Any) -> None:
        line = JoinLine(context)
        self.lines.put_nowait(line)
        await line.serve(context)

    async def Version(self, request: Any, context: Any) -> common_pb2.VersionInfo:
        return common_pb2.VersionInfo()


class World:
    """One Context, and the Orchestrator of the test."""

    def __init__(self, transport: str, settings: Any = SETTINGS, **options: Any) -> None:
        self.transport = transport
        options.setdefault("prometheus_registry", None)
        self.context = Context("user", settings, **options)
        self.orchestrator = Orchestrator()
        self.serving: asyncio.Task[None] | None = None
        self.prometheus_port: int | None = None
        self._server: Any = None
        self._channel: Any = None
        self._joins: list[asyncio.Task[None]] = []

    # --- served -------------------------------------------------------------------------------------------------

    async def channel(self) -> Any:
        """A channel to the served Context, which is served now if it was not."""
        if self._channel is None:
            if self.transport == "inprocess":
                self._channel = self.context.serve_in_process().channel()
            else:
                self.serving = asyncio.create_task(
                    self.context.serve_all_registered(ServedEndpoint(), self.prometheus_port)
                )
                port = await soon(self.context.wait_until_serving())
                self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        return self._channel

    async def actor(self, impl: Any = None, *, trial: str = "trial", metadata: Any = None, **init: Any) -> ServiceLine:
        """Call the actor service; ``impl`` is registered first."""
        if impl is not None:
            self.context.register_actor(impl, "acting", ["player"])
        init = {"actor_name": "ann", "actor_class": "player", "env_name": "env", **init}
        stub: Any = agent_pb2_grpc.ServiceActorSPStub(await self.channel())
        call = stub.RunTrial(metadata=metadata if metadata is not None else (("trial-id", trial),))
        return ServiceLine(call, common_pb2.ActorRunTrialInput, common_pb2.ActorInitialInput(**init))

    async def environment(
        self,
        impl: Any = None,
        *,
        trial: str = "trial",
        metadata: Any = None,
        actors: tuple[tuple[str, str], ...] = (("ann", "player"), ("bob", "player")),
        **init: Any,
    ) -> ServiceLine:
        """Call the environment service; ``impl`` is registered first."""
        if impl is not None:
            self.context.register_environment(impl, "envying")
        wire_actors = [common_pb2.TrialActor(name=name, actor_class=kind) for name, kind in actors]
        init = {"name": "env", "tick_id": 0, "actors_in_trial": wire_actors, **init}
        stub: Any = environment_pb2_grpc.EnvironmentSPStub(await self.channel())
        call = stub.RunTrial(metadata=metadata if metadata is not None else (("trial-id", trial),))
        return ServiceLine(call, environment_pb2.EnvRunTrialInput, environment_pb2.EnvInitialInput(**init))

    async def participant(self, kind: str, impl: Any, **options: Any) -> ServiceLine:
        """Call the service of this kind: ``actor`` or ``environment``."""
        return await (self.actor if kind == "actor" else self.environment)(impl, **options)

    async def in_hand(self, kind: str, **options: Any) -> tuple[ServiceLine, Any, Hand]:
        """A participant that has its initial data: its stream, and its session, which is in the hands of the test."""
        hand = Hand()
        line = await self.participant(kind, hand, **options)
        await line.join()
        return line, await hand.session(), hand

    async def hook(self, impl: Any) -> Any:
        """The stub of the hook service; ``impl`` is registered first."""
        self.context.register_pre_trial_hook(impl)
        return hooks_pb2_grpc.TrialHooksSPStub(await self.channel())

    async def datalog(self, impl: Any, trial: str = "trial", user: str = "user") -> Any:
        """A call of the datalog service; ``impl`` is registered first."""
        if impl is not None:
            self.context.register_datalog(impl)
        stub: Any = datalog_pb2_grpc.DatalogSPStub(await self.channel())
        return stub.RunTrialDatalog(metadata=(("trial-id", trial), ("user-id", user)))

    # --- joining ------------------------------------------------------------------------------------------------

    async def endpoint(self) -> Endpoint:
        """Where the Orchestrator is, which is served now if it was not."""
        if self._server is None:
            servicer: Any = self.orchestrator
            self._server = InProcessServer("orchestrator") if self.transport == "inprocess" else grpc.aio.server()
            orchestrator_pb2_grpc.add_ClientActorSPServicer_to_server(servicer, self._server)
            if self.transport == "grpc":
                self._port = self._server.add_insecure_port("127.0.0.1:0")
                await self._server.start()
        if self.transport == "inprocess":
            return InProcessEndpoint(self._server)
        return Endpoint(f"grpc://127.0.0.1:{self._port}")

    async def join(self, impl: Any = None, **options: Any) -> tuple[asyncio.Task[None], JoinLine]:
        """Join a trial as ``ann``. Returns the task of ``join_trial``, and the Orchestrator's end."""
        if impl is not None:
            self.context.register_actor(impl, "acting", ["player"])
        if not options:
            options = {"actor_name": "ann"}
        joining = asyncio.create_task(self.context.join_trial("trial", await self.endpoint(), **options))
        self._joins.append(joining)
        return joining, await soon(self.orchestrator.lines.get())

    async def stop_orchestrator(self) -> None:
        """Stop its server, without a grace."""
        await soon(self._server.stop(None))

    # --- the end ------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Stop everything. Nothing may be left running."""
        if self._channel is not None:
            await soon(self._channel.close())
        await soon(self.context.close())
        if self._server is not None:
            await self.stop_orchestrator()
        if self.serving is not None:
            await asyncio.wait({self.serving}, timeout=PATIENCE)
            assert self.serving.done()
        for joining in self._joins:
            joining.cancel()
        if self._joins:
            await asyncio.wait(self._joins, timeout=PATIENCE)


class Hand:
    """A user's function that leaves what to do to the test, and returns when told to."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._session: asyncio.Future[Any] = loop.create_future()
        self._result: asyncio.Future[None] = loop.create_future()
        self.calls = 0

    async def __call__(self, session: Any) -> None:
        self.calls += 1
        if not self._session.done():
            self._session.set_result(session)
        await self._result

    async def session(self) -> Any:
        """The session, once the function was called."""
        return await soon(asyncio.shield(self._session))

    def release(self, error: BaseException | None = None) -> None:
        """Let the function return, or raise."""
        if error is None:
            self._result.set_result(None)
        else:
            self._result.set_exception(error)


class Recorder:
    """A user's function that starts, and keeps what it sees."""

    def __init__(self, *start: Any, react: Callable[[Any, Any], None] | None = None, **start_options: Any) -> None:
        self._start = start
        self._start_options = start_options
        self._react = react
        self._session: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.events: list[Any] = []
        self.done = asyncio.Event()
        """Set when the function has ended."""
        self.returned = False
        """Whether the loop has ended by itself, and not because the function was cancelled."""
        self.seen = asyncio.Condition()

    async def __call__(self, session: Any) -> None:
        session.start(*self._start, **self._start_options)
        self._session.set_result(session)
        try:
            async for event in session.all_events():
                if self._react is not None:
                    self._react(session, event)
                async with self.seen:
                    self.events.append(event)
                    self.seen.notify_all()
            self.returned = True
        finally:
            self.done.set()

    async def session(self) -> Any:
        """The session, once the function was called."""
        return await soon(asyncio.shield(self._session))

    async def wait_for(self, count: int) -> list[Any]:
        """The events, once there are ``count``."""

        async def enough() -> None:
            async with self.seen:
                await self.seen.wait_for(lambda: len(self.events) >= count)

        await soon(enough())
        return self.events

    @property
    def types(self) -> list[str]:
        """The types of the events."""
        return [event.type.name for event in self.events]


async def leave(line: ServiceLine, hand: Hand) -> None:
    """The function returns, and the call is completed."""
    hand.release()
    await line.code()
