"""The Context: registering, serving, joining and closing."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from typing import Any
from unittest.mock import AsyncMock

import grpc
import grpc.aio
import pytest
from prometheus_client import CollectorRegistry
from scripted import SETTINGS, Recorder, World, soon, turns

from cogment_core.api import common_pb2, environment_pb2_grpc
from cogment_core.context import Context
from cogment_core.directory import ServiceType
from cogment_core.endpoints import Endpoint, ServedEndpoint
from cogment_core.errors import CogmentError, EndpointError, UsageError
from cogment_core.implementations import Component
from cogment_core.inprocess import InProcessEndpoint, InProcessServer
from cogment_core.metadata import GrpcMetadata


async def impl(session: Any) -> None:
    """A function of a user."""
    session.start()


@pytest.fixture
async def context() -> AsyncIterator[Context]:
    """A Context with specs, in which nothing is registered."""
    async with Context("me", SETTINGS, prometheus_registry=None) as context:
        yield context


def is_free(port: int) -> bool:
    """Whether ``port`` can be had, for all interfaces."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


async def is_served(port: int) -> bool:
    """Whether the environment service answers at ``port``."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            await soon(environment_pb2_grpc.EnvironmentSPStub(channel).Version(common_pb2.VersionRequest()))
        except grpc.aio.AioRpcError:
            return False
    return True


# --- what it is -------------------------------------------------------------------------------------------------------


def test_a_context_needs_no_event_loop_to_be_made():
    """Programs make their Context before they have an event loop; its port is 0 and it may have no specs."""
    context = Context("me", None)
    assert context.user_id == "me"
    assert context.settings is None
    assert not context.has_specs()
    assert context.served_port == 0
    assert context._grpc_server is None
    with pytest.raises(RuntimeError):
        _ = context.asyncio_loop


async def test_the_loop_of_a_context(context: Context):
    """asyncio_loop is the one that was given, or else the one that runs."""
    assert context.asyncio_loop is asyncio.get_running_loop()
    other = asyncio.new_event_loop()
    assert Context("me", None, other).asyncio_loop is other
    other.close()


def test_the_documented_arguments_by_position():
    """user_id, cog_settings, asyncio_loop, prometheus_registry, directory_endpoint, directory_auth_token, metadata."""
    context = Context("me", SETTINGS, None, CollectorRegistry(), Endpoint("grpc://d:1"), "token", GrpcMetadata())
    assert context.has_specs()


@pytest.mark.parametrize("given", [3, "cog_settings.py", object()])
def test_specs_that_are_none_are_refused(given: Any):
    """What cannot be the module of the generator is refused at once."""
    with pytest.raises(UsageError, match="cog_settings"):
        Context("me", given)


def test_metadata_is_copied():
    """What is added to the metadata afterwards does not reach the Context."""
    metadata = GrpcMetadata()
    metadata.add("a", "b")
    context = Context("me", None, metadata=metadata)
    metadata.add("c", "d")
    assert context.grpc_metadata() == [("a", "b")]


@pytest.mark.parametrize("given", [Endpoint("grpc://directory:9005"), "grpc://directory:9005"])
def test_the_directory_is_an_address(given: Any):
    """The Directory's endpoint can be given as text, too."""
    Context("me", None, directory_endpoint=given)


@pytest.mark.parametrize(
    ("given", "error"),
    [("cogment://discover", EndpointError), (Endpoint(), EndpointError), ("nonsense", CogmentError), (3, UsageError)],
)
def test_a_directory_that_is_no_address_is_refused(given: Any, error: type[Exception]):
    """What is no address cannot be the Directory, which is said at once."""
    with pytest.raises(error, match=r"Directory endpoint|directory_endpoint|nonsense"):
        Context("me", None, directory_endpoint=given)


def test_the_directory_from_the_environment(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    """COGMENT_DIRECTORY_ENDPOINT and its token are used; a token alone is worth a warning."""
    monkeypatch.setenv("COGMENT_DIRECTORY_AUTHENTICATION_TOKEN", "token")
    Context("me", None)
    assert "no endpoint" in caplog.text
    caplog.clear()
    monkeypatch.setenv("COGMENT_DIRECTORY_ENDPOINT", "grpc://directory:9005")
    Context("me", None)
    assert caplog.text == ""
    monkeypatch.setenv("COGMENT_DIRECTORY_ENDPOINT", "cogment://discover")
    with pytest.raises(EndpointError, match="Directory endpoint"):
        Context("me", None)


# --- registering ------------------------------------------------------------------------------------------------------


async def test_what_is_registered_can_be_looked_for(context: Context):
    """One component for each environment, hook and datalog, and for each class of each actor implementation."""
    context.register_actor(impl, "random", ["player", "judge"], {"skill": "none"})
    context.register_actor(actor_classes=[], impl_name="any", impl=impl)
    context.register_environment(impl)
    context.register_environment(impl, "ALE/Pong-v5", {"size": "big"})
    context.register_pre_trial_hook(impl, {"a": "b"})
    context.register_datalog(impl=impl, properties={})
    assert context.components == (
        Component(ServiceType.ACTOR, "random", "player", {"skill": "none"}),
        Component(ServiceType.ACTOR, "random", "judge", {"skill": "none"}),
        Component(ServiceType.ACTOR, "any"),
        Component(ServiceType.ENVIRONMENT, "default"),
        Component(ServiceType.ENVIRONMENT, "ALE/Pong-v5", None, {"size": "big"}),
        Component(ServiceType.HOOK, properties={"a": "b"}),
        Component(ServiceType.DATALOG),
    )


async def test_the_arguments_of_one_registration_do_not_reach_the_next(context: Context):
    """Lists and dictionaries are copied, and defaults are not shared."""
    classes, properties = ["player"], {"a": "b"}
    context.register_actor(impl, "one", classes, properties)
    classes.append("judge")
    properties["c"] = "d"
    context.register_actor(impl, "two")
    assert context.components == (
        Component(ServiceType.ACTOR, "one", "player", {"a": "b"}),
        Component(ServiceType.ACTOR, "two"),
    )


@pytest.mark.parametrize("made", [impl, AsyncMock(), lambda session: impl(session), Recorder.__call__])
async def test_whatever_can_be_called_can_be_registered(context: Context, made: Any):
    """Functions, mocks, closures and methods."""
    context.register_actor(made, "acting")
    context.register_environment(made)


@pytest.mark.parametrize(
    ("register", "complaint"),
    [
        (lambda c: c.register_actor(impl, "taken"), "'taken' is registered already"),
        (lambda c: c.register_environment(impl, "taken"), "'taken' is registered already"),
        (lambda c: c.register_pre_trial_hook(impl), "only one"),
        (lambda c: c.register_datalog(impl), "only one"),
        (lambda c: c.register_actor(impl, "a", ["unheard of"]), "'unheard of' is not in the specs"),
        (lambda c: c.register_actor(impl, "a", ["playr"]), "did you mean 'player'"),
        (lambda c: c.register_actor(impl, "a", properties={"__actor_class": "x"}), "'__actor_class' is set by"),
        (lambda c: c.register_actor(impl, "a", properties={"__implementation": "x"}), "'__implementation' is set"),
        (lambda c: c.register_environment(impl, "a", {"__implementation": "x"}), "'__implementation' is set by"),
        (lambda c: c.register_environment(impl, "a", {"a": 3}), "property 'a' has to be text"),
        (lambda c: c.register_environment(impl, "a", {3: "a"}), "the name of a property has to be text"),
        (lambda c: c.register_actor(None, "a"), "impl has to be an async function"),
        (lambda c: c.register_actor(impl, None), "impl_name has to be text"),
        (lambda c: c.register_environment(impl, 3), "impl_name has to be text"),
    ],
)
async def test_wrong_registrations_are_errors(context: Context, register: Callable[[Any], None], complaint: str):
    """What is wrong with a registration is said at once, and changes nothing."""
    context.register_actor(impl, "taken")
    context.register_environment(impl, "taken")
    context.register_pre_trial_hook(impl)
    context.register_datalog(impl)
    before = context.components
    with pytest.raises(UsageError, match=complaint):
        register(context)
    assert context.components == before


async def test_one_class_can_be_given_as_text(context: Context):
    """A str given for actor_classes is one class, and not its letters."""
    context.register_actor(impl, "a", "player")
    assert context.components == (Component(ServiceType.ACTOR, "a", "player"),)


async def test_without_specs_any_class_can_be_registered():
    """Nobody knows the classes without specs."""
    context = Context("me", None, prometheus_registry=None)
    context.register_actor(impl, "a", ["anything"])


@pytest.mark.parametrize("served", ["grpc", "inprocess"])
async def test_nothing_can_be_registered_once_serving_has_begun(make_world: Any, served: str):
    """Registrations come before serving."""
    world = make_world(served)
    world.context.register_environment(impl)
    await world.channel()
    for register in (
        lambda: world.context.register_environment(impl, "other"),
        lambda: world.context.register_actor(impl, "other"),
        lambda: world.context.register_pre_trial_hook(impl),
        lambda: world.context.register_datalog(impl),
    ):
        with pytest.raises(UsageError, match="once serving has begun"):
            register()


# --- serving ----------------------------------------------------------------------------------------------------------


async def test_a_free_port_is_chosen_and_told(context: Context):
    """Port 0: the system chooses; served_port and wait_until_serving() tell, and the server listens by then."""
    context.register_environment(impl)
    serving = asyncio.create_task(context.serve_all_registered())
    port = await soon(context.wait_until_serving())
    assert port == context.served_port > 0
    assert await is_served(port)
    await context.close()
    await soon(serving)
    assert context.served_port == port


async def test_a_port_can_be_asked_for(context: Context):
    """ServedEndpoint says where to listen."""
    with socket.socket() as holder:
        holder.bind(("0.0.0.0", 0))
        port = holder.getsockname()[1]
    context.register_environment(impl)
    serving = asyncio.create_task(context.serve_all_registered(ServedEndpoint(port=port), None, "some.host"))
    assert await soon(context.wait_until_serving()) == port
    serving.cancel()
    await asyncio.wait({serving})


async def test_nothing_happens_before_it_is_awaited(context: Context):
    """serve_all_registered() is a coroutine function."""
    context.register_environment(impl)
    coroutine = context.serve_all_registered()
    await turns()
    assert context.served_port == 0
    coroutine.close()


async def test_cancelling_stops_the_server_and_gives_the_port_back(context: Context):
    """A cancelled serve task is a cancelled task; the port is free when it has ended."""
    context.register_environment(impl)
    serving = asyncio.create_task(context.serve_all_registered())
    port = await soon(context.wait_until_serving())
    assert not is_free(port)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(serving)
    assert is_free(port)
    await soon(context._grpc_server.stop(None))


@pytest.mark.parametrize("grace", [None, 0.1])
async def test_the_private_server_can_be_stopped(context: Context, grace: float | None):
    """Existing programs stop ``_grpc_server``: serve_all_registered() returns then, and the port is free."""
    context.register_environment(impl)
    serving = asyncio.create_task(context.serve_all_registered())
    port = await soon(context.wait_until_serving())
    await soon(context._grpc_server.stop(grace))
    await soon(serving)
    assert is_free(port)


async def test_nothing_to_serve_is_an_error(context: Context):
    """There has to be something registered."""
    with pytest.raises(UsageError, match="nothing is registered"):
        await context.serve_all_registered()
    with pytest.raises(UsageError, match="nothing is registered"):
        context.serve_in_process()


@pytest.mark.parametrize("given", [9000, "localhost:9000", Endpoint()])
async def test_where_to_serve_is_a_served_endpoint(context: Context, given: Any):
    """Anything else is refused, and serving can be tried again."""
    context.register_environment(impl)
    with pytest.raises(UsageError, match="served_endpoint"):
        await context.serve_all_registered(given)
    serving = asyncio.create_task(context.serve_all_registered())
    await soon(context.wait_until_serving())
    await context.close()
    await soon(serving)


async def test_serving_twice_is_an_error(context: Context):
    """One server for a Context: a second call is refused, during and after the first, which is not disturbed."""
    context.register_environment(impl)
    serving = asyncio.create_task(context.serve_all_registered())
    port = await soon(context.wait_until_serving())
    for _ in range(2):
        with pytest.raises(UsageError, match="serves already"):
            await context.serve_all_registered()
        with pytest.raises(UsageError, match="serves already"):
            context.serve_in_process()
        assert await soon(context.wait_until_serving()) == port
    assert await is_served(port)
    await context.close()
    await soon(serving)
    with pytest.raises(UsageError):
        await context.serve_all_registered()


async def test_a_port_in_use_is_an_error_and_another_one_can_be_tried(context: Context):
    """The port of another server is refused with a CogmentError; waiting tells it; the Context is as before."""
    context.register_environment(impl)
    with socket.socket() as holder:
        holder.bind(("0.0.0.0", 0))
        holder.listen()
        serving = asyncio.create_task(context.serve_all_registered(ServedEndpoint(holder.getsockname()[1])))
        with pytest.raises(CogmentError, match="nothing is served"):
            await soon(context.wait_until_serving())
        with pytest.raises(CogmentError, match="in use"):
            await soon(serving)
    assert context.served_port == 0
    context.register_environment(impl, "one more")
    serving = asyncio.create_task(context.serve_all_registered())
    assert await is_served(await soon(context.wait_until_serving()))
    await context.close()
    await soon(serving)


async def test_two_contexts_do_not_share_a_port(context: Context, make_world: Any):
    """The second of two servers on a port is refused."""
    world = make_world("grpc")
    world.context.register_environment(impl)
    await world.channel()
    context.register_environment(impl)
    with pytest.raises(CogmentError, match="in use"):
        await soon(context.serve_all_registered(ServedEndpoint(world.context.served_port)))


async def test_waiting_for_a_server_that_has_nothing_to_serve(context: Context):
    """wait_until_serving() never waits for what has failed."""
    serving = asyncio.create_task(context.serve_all_registered())
    with pytest.raises(CogmentError, match="nothing is served"):
        await soon(context.wait_until_serving())
    with pytest.raises(UsageError):
        await serving


async def test_a_user_id_is_text():
    """It is refused where it is given, not when the first trial is started; existing code may give None."""
    with pytest.raises(UsageError, match="user_id has to be text"):
        Context(3, None, prometheus_registry=None)
    assert Context(None, None, prometheus_registry=None).user_id == ""


async def test_a_failure_to_serve_is_told_once(context: Context, caplog: pytest.LogCaptureFixture):
    """A serve task that nobody awaits, as wait_until_serving() has raised, does not complain when it is collected."""
    serving = asyncio.create_task(context.serve_all_registered())
    with pytest.raises(CogmentError, match="nothing is served"):
        await soon(context.wait_until_serving())
    del serving
    await context.close()
    del context._serving
    gc.collect()
    assert not [record for record in caplog.records if "never retrieved" in record.getMessage()]


async def test_waiting_begins_before_serving(context: Context):
    """wait_until_serving() can be waited for before serve_all_registered() is called."""
    context.register_environment(impl)
    waiting = asyncio.create_task(context.wait_until_serving())
    await turns()
    serving = asyncio.create_task(context.serve_all_registered())
    assert await soon(waiting) == context.served_port
    serving.cancel()
    await asyncio.wait({serving})


async def test_without_its_directory_a_context_serves(caplog: pytest.LogCaptureFixture):
    """Services that a Directory should know are not kept from it silently, and are served."""
    async with Context("me", None, prometheus_registry=None, directory_endpoint="grpc://directory:1") as context:
        context.register_environment(impl)
        serving = asyncio.create_task(context.serve_all_registered())
        await soon(context.wait_until_serving())
    await soon(serving)
    assert any("Directory" in record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)


# --- closing ----------------------------------------------------------------------------------------------------------


async def test_closing_stops_serving(context: Context):
    """close() lets serve_all_registered() return; it can be called again, and by several."""
    context.register_environment(impl)
    serving = asyncio.create_task(context.serve_all_registered())
    port = await soon(context.wait_until_serving())
    await soon(asyncio.gather(context.close(), context.close()))
    await soon(serving)
    await soon(context.close())
    assert is_free(port)


async def test_leaving_the_context_closes_it():
    """``async with`` closes, also when something is raised."""
    left: list[Any] = []

    async def use() -> None:
        async with Context("me", None, prometheus_registry=None) as context:
            context.register_environment(impl)
            left.append(asyncio.create_task(context.serve_all_registered()))
            left.append(await soon(context.wait_until_serving()))
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await use()
    serving, port = left
    await soon(serving)
    assert is_free(port)


async def test_a_closed_context_cannot_be_joined_with(context: Context):
    """After close() there are no connections to be had."""
    await context.close()
    with pytest.raises(UsageError, match="closed"):
        await context.join_trial("trial", Endpoint("grpc://localhost:1"), actor_name="ann")


async def test_the_end_of_the_context_can_be_waited_for(context: Context):
    """``wait_closed`` returns once the connections are closed, and not before."""
    waiting = asyncio.create_task(context.wait_closed())
    await turns()
    assert not waiting.done()
    await context.close()
    await soon(waiting)
    await soon(context.wait_closed())


async def test_the_context_and_the_serve_task_end_together(make_world: Any):
    """A serve task that is cancelled while the Context is closed does no harm."""
    world = make_world("grpc")
    line = await world.environment(Recorder())
    await line.begin()
    closing = asyncio.create_task(world.context.close())
    await turns()
    world.serving.cancel()
    await soon(asyncio.gather(closing, world.serving, return_exceptions=True))
    assert is_free(world.context.served_port)


# --- connecting -------------------------------------------------------------------------------------------------------


async def test_channels_are_shared(context: Context):
    """One channel for each endpoint, whatever it is for."""
    endpoint = Endpoint("grpc://localhost:1")
    one = await context.channel(endpoint, ServiceType.LIFE_CYCLE)
    assert await context.channel(Endpoint("grpc://localhost:1"), ServiceType.DATASTORE) is one
    assert await context.channel(Endpoint("grpc://localhost:2"), ServiceType.DATASTORE) is not one


async def test_an_in_process_endpoint_leads_to_its_server(context: Context):
    """An in-process server needs no address."""
    server = InProcessServer("somebody")
    channel = await context.channel(InProcessEndpoint(server), ServiceType.LIFE_CYCLE)
    assert channel.get_state() is grpc.ChannelConnectivity.READY
    await server.stop(None)


async def test_discovery_needs_a_directory(context: Context):
    """The default endpoint is to be discovered: the error says what to give instead."""
    with pytest.raises(EndpointError, match="give the address of the datastore service"):
        await context.channel(Endpoint(), ServiceType.DATASTORE)
    with pytest.raises(EndpointError, match="joins by itself"):
        await context.channel(Endpoint("cogment://client"), ServiceType.LIFE_CYCLE)


# --- event loops and processes ----------------------------------------------------------------------------------------


def run(program: str, *, timeout: float = 30.0) -> str:
    """Run a program in a process of its own. Returns what it printed."""
    code = "import asyncio, os\nfrom cogment_core.context import Context\nfrom cogment_core.endpoints import *\n"
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def test_several_event_loops_with_a_context_each():
    """asyncio.run() several times, with a Context each that serves and connects, is fine."""

    async def main() -> int:
        async with Context("me", None, prometheus_registry=None) as context:
            context.register_environment(impl)
            serving = asyncio.create_task(context.serve_all_registered())
            port = await soon(context.wait_until_serving())
            assert await is_served(port)
        await soon(serving)
        return port

    assert all(asyncio.run(main()) > 0 for _ in range(3))


def test_a_context_in_a_second_event_loop_is_an_error():
    """A Context that was used in one asyncio.run() says so in the next."""
    context = Context("me", None, prometheus_registry=None)
    endpoint = Endpoint("grpc://localhost:1")

    async def connect() -> None:
        await context.channel(endpoint, ServiceType.LIFE_CYCLE)

    async def close() -> None:
        with pytest.raises(UsageError, match="another event loop"):
            await connect()

    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(connect())
        asyncio.run(close())
        loop.run_until_complete(context.close())
    finally:
        loop.close()


LEFT_ALONE = """
    import grpc.aio
    from cogment_core.api import common_pb2, environment_pb2, environment_pb2_grpc
    async def impl(session):
        session.start()
        async for event in session.all_events():
            pass
    async def main():
        context = Context("me", None, prometheus_registry=None)
        context.register_environment(impl)
        serving = asyncio.create_task(context.serve_all_registered())
        port = await context.wait_until_serving()
        if {calls}:
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{{port}}")
            call = environment_pb2_grpc.EnvironmentSPStub(channel).RunTrial(metadata=(("trial-id", "t"),))
            init = environment_pb2.EnvInitialInput(name="env")
            await call.write(environment_pb2.EnvRunTrialInput(state=common_pb2.NORMAL, init_input=init))
            await call.read()
        print(port, flush=True)
        return context, serving
    context, serving = asyncio.run(main())
    assert serving.cancelled()
    asyncio.run(context._grpc_server.stop(None))
    """


@pytest.mark.parametrize("calls", [False, True])
def test_a_main_program_that_does_not_stop_what_it_serves(calls: bool):
    """asyncio.run() that cancels the serve task at its end is a quiet end, and a late stop() does no harm.

    gRPC's own tasks are cancelled, too, and a server that is stopped after that crashes the process.
    """
    printed = run(LEFT_ALONE.format(calls=calls))
    assert is_free(int(printed))


def test_a_main_program_that_is_interrupted():
    """asyncio.run(serve_all_registered()) ends with KeyboardInterrupt, and the port is free."""
    printed = run(
        """
        import signal
        async def impl(session): pass
        async def main():
            context = Context("me", None, prometheus_registry=None)
            context.register_environment(impl)
            serving = asyncio.create_task(interrupt(context))
            await context.serve_all_registered()
        async def interrupt(context):
            print(await context.wait_until_serving(), flush=True)
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)
        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        """
    )
    port, interrupted = printed.split()
    assert interrupted == "interrupted"
    assert is_free(int(port))


def test_an_old_main_program():
    """get_event_loop() and run_until_complete(), ended by KeyboardInterrupt, as programs did before asyncio.run()."""
    printed = run(
        """
        import signal
        async def impl(session): pass
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        context = Context("me", None, asyncio_loop=loop)
        context.register_environment(impl)
        async def interrupt():
            await context.wait_until_serving()
            loop.call_soon(os.kill, os.getpid(), signal.SIGINT)
        interrupting = loop.create_task(interrupt())
        serving = loop.create_task(context.serve_all_registered())
        try:
            asyncio.get_event_loop().run_until_complete(serving)
        except KeyboardInterrupt:
            print("interrupted", context.served_port > 0)
        loop.run_until_complete(context.close())
        loop.run_until_complete(serving)
        loop.close()
        """
    )
    assert printed == "interrupted True\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_context_does_not_survive_a_fork():
    """In a forked process, a Context that was connected says that it cannot be used, and what to do."""
    printed = run(
        """
        from cogment_core.directory import ServiceType
        from cogment_core.errors import UsageError
        context = Context("me", None, prometheus_registry=None)
        endpoint = Endpoint("grpc://localhost:1")
        loop = asyncio.new_event_loop()
        loop.run_until_complete(context.channel(endpoint, ServiceType.LIFE_CYCLE))
        pid = os.fork()
        if pid == 0:
            try:
                asyncio.run(context.join_trial("t", endpoint, actor_name="ann"))
            except UsageError as error:
                print("spawn" in str(error), flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
        loop.run_until_complete(context.close())
        """
    )
    assert printed == "True\n"


def test_importing_the_context_is_light():
    """Metrics, servers and clients are imported when they are needed."""
    printed = run(
        """
        import sys
        Context("me", None)
        print([name for name in ("prometheus_client", "grpc_health.v1", "cogment_core.served") if name in sys.modules])
        """
    )
    assert printed == "[]\n"


# --- everything at once -----------------------------------------------------------------------------------------------


async def test_two_contexts_in_one_process(make_world: Any, transport: str):
    """Two Contexts of one process serve the same implementations, each its own trials."""
    worlds: list[World] = [make_world(transport) for _ in range(2)]
    recorders = []
    for world in worlds:
        recorder = Recorder()
        line = await world.environment(recorder)
        await line.begin()
        recorders.append((recorder, line))
    for recorder, line in recorders:
        await line.finish()
        assert recorder.types == ["FINAL"]
