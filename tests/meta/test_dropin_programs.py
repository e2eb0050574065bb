"""Whole programs of existing projects, against an Orchestrator of ours; and what users are told who get one wrong."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import cogment
from cogment_core.errors import UnavailableError, UsageError
from cogment_services.orchestrator import Orchestrator

TLS = Path(__file__).parents[1] / "data" / "tls"
PATIENCE = 20.0
"""Seconds that anything here may take."""

# As the existing generator writes it, on types that need no compiler.
SETTINGS = """
import cogment as _cog
from google.protobuf.wrappers_pb2 import Int32Value, StringValue
from types import SimpleNamespace

_player_class = _cog.actor.ActorClass(
    name="player", config_type=Int32Value, action_space=Int32Value, observation_space=StringValue
)
actor_classes = _cog.actor.ActorClassList(_player_class)
trial = SimpleNamespace(config_type=Int32Value)
environment = SimpleNamespace(config_type=StringValue)
"""

# The components of all programs here. Actors get helpers by the ``__class__`` of their session.
PARTS = """
import asyncio, datetime, multiprocessing, sys
import cog_settings, cogment
from cogment.actor import ActorSession
from cogment.control import Controller, TrialState
from cogment.environment import EnvironmentSession
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

class Helpers:
    def play(self): self.do_action(Int32Value(value=self.bonus))

async def environment(session: EnvironmentSession):
    actors = session.get_active_actors()
    session.start(list({"*": StringValue(value="begin")}.items()))
    async for event in session.event_loop():
        for actor, action in zip(actors, event.actions):
            session.add_reward(value=float("nan"), confidence=1, to=[actor.actor_name], user_data=action.action)
        session.produce_observations([("*", StringValue(value="next"))])

async def actor(session: ActorSession):
    session.__class__ = type("Player", (session.__class__, Helpers), {})
    session.bonus = 7
    session.start()
    await asyncio.sleep(0)
    async for event in session.event_loop():
        if event.observation and event.type == cogment.EventType.ACTIVE:
            assert event.observation.snapshot.value
            session.play()

def parameters(url, *names):
    made = cogment.TrialParameters(
        cog_settings,
        environment_implementation="CartPole-v1",
        max_steps=5,
        actors=[cogment.ActorParameters(cog_settings, "player", name=name, implementation="lab.Player")
                for name in names],
    )
    made.environment_endpoint = url
    for one in made.actors:
        one.endpoint = "cogment://client" if one.name == "web" else url
    read = cogment.TrialParameters(cog_settings)
    read.deserialize(made.serialize(), made.get_serialization_type())
    return read

def new_context(user_id):
    context = cogment.Context(cog_settings=cog_settings, user_id=user_id, prometheus_registry=None)
    context.register_environment(impl_name="CartPole-v1", impl=environment)
    context.register_actor(impl_name="lab.Player", impl=actor, actor_classes=["player"])
    return context

async def ended(controller, trial_id):
    async for info in controller.watch_trials([TrialState.ENDED]):
        if info.trial_id == trial_id:
            return info.state
"""

LAB = """
from parts import *

PORT, ORCHESTRATOR = int(sys.argv[1]), sys.argv[2]
URL = f"grpc://localhost:{PORT}"

async def hook(session):
    assert session.trial_config.value == 3
    session.trial_max_steps = 4
    session.environment_endpoint = session.datalog_endpoint = URL
    session.environment_implementation = "CartPole-v1"
    session.actors = [dict(name="alice", actor_class="player", endpoint=URL, implementation="lab.Player", config=None)]
    session.validate()

async def datalog(session):
    session.start()
    ticks = []
    async for sample in session.all_samples():
        copy = cogment.LogSample(session.trial_parameters)
        copy.deserialize(sample.serialize())
        ticks.append(copy.tick_id)
        assert list(copy.all_actor_names()) == ["alice"]
    print("logged", ticks, flush=True)

def serve(ready, over):
    async def main():
        context = new_context("child")
        context.register_pre_trial_hook(impl=hook)
        context.register_datalog(impl=datalog)
        serving = asyncio.create_task(context.serve_all_registered(cogment.ServedEndpoint(port=PORT)))
        while not context.served_port:
            await asyncio.sleep(0.01)
        ready.put(context.served_port)
        await asyncio.get_running_loop().run_in_executor(None, over.get)
        serving.cancel()
        try:
            await serving
        except asyncio.CancelledError:
            pass
        await context._grpc_server.stop(None)
        print("stopped", flush=True)
    asyncio.run(main())

async def with_a_person():
    context = new_context("lab")
    controller = context.get_controller(endpoint=cogment.Endpoint(ORCHESTRATOR))
    assert isinstance(controller, Controller)
    name = f"CartPole-v1-{datetime.datetime.now().isoformat()}"
    waiting = asyncio.create_task(ended(controller, name))
    assert name == await controller.start_trial(
        trial_id_requested=name, trial_params=parameters(URL, "alice", "web"))
    await context.join_trial(trial_id=name, endpoint=cogment.Endpoint(ORCHESTRATOR), actor_name="web")
    print("joined", await waiting)
    assert "" == await controller.start_trial(trial_id_requested=name, trial_params=parameters(URL, "alice"))

async def with_the_hook():
    controller = new_context("lab").get_controller(endpoint=cogment.Endpoint(ORCHESTRATOR))
    print("hooked", await ended(controller, await controller.start_trial(trial_config=Int32Value(value=3))))

if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    ready, over = spawn.Queue(), spawn.Queue()
    child = spawn.Process(target=serve, args=(ready, over))
    child.start()
    assert ready.get() == PORT
    asyncio.run(with_a_person())
    asyncio.run(with_a_person())
    asyncio.run(with_the_hook())
    over.put(True)
    child.join()
    print("child", child.exitcode)
"""

SECURED = """
from parts import *

PORT, ORCHESTRATOR, CERTIFICATES = int(sys.argv[1]), sys.argv[2], sys.argv[3]
URL = f"grpc://localhost:{PORT}"

def pem(name):
    with open(f"{CERTIFICATES}/{name}") as file:
        return file.read()

async def main():
    served = cogment.ServedEndpoint(port=PORT)
    served.private_key_certificate_chain_pairs = [(pem("server.key"), pem("server.pem"))]
    served.root_certificates = pem("ca.pem")
    endpoint = cogment.Endpoint(ORCHESTRATOR)
    endpoint.private_key, endpoint.certificate_chain = pem("client.key"), pem("client.pem")
    endpoint.root_certificates = pem("ca.pem")
    context = new_context("secured")
    serving = asyncio.create_task(context.serve_all_registered(served))
    controller = context.get_controller(endpoint=endpoint)
    trial_id = await controller.start_trial(trial_params=parameters(URL, "alice", "web"))
    await context.join_trial(trial_id, endpoint, actor_name="web")
    print("secured", await ended(controller, trial_id))
    serving.cancel()
    await asyncio.wait({serving})

asyncio.run(main())
"""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def an_orchestrator(*options: str) -> Iterator[str]:
    """The URL of an Orchestrator in a process of its own."""
    command = [sys.executable, "-m", "cogment_services", "services", "orchestrator", "--lifecycle_port", "0"]
    process = subprocess.Popen([*command, "--actor_port", "0", *options], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"port:(\d+)", process.stdout.readline())
        assert found, "the Orchestrator did not start"
        yield f"grpc://localhost:{found[1]}"
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


def run(folder: Path, program: str, *args: str) -> str:
    """What ``program`` prints, beside its parts in ``folder``."""
    for name, text in {"cog_settings": SETTINGS, "parts": PARTS, "program": program}.items():
        (folder / f"{name}.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "program.py", *args], cwd=folder, capture_output=True, text=True, timeout=2 * PATIENCE
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


# --- programs ---------------------------------------------------------------------------------------------------------


def test_a_program_with_a_served_process_a_person_a_hook_and_a_datalog(tmp_path: Path) -> None:
    """Spawned components, old idioms of sessions, a joining actor, v1 hooks, samples, and three ``asyncio.run``."""
    port = free_port()
    with an_orchestrator("--pre_trial_hooks", f"grpc://localhost:{port}") as orchestrator:
        printed = run(tmp_path, LAB, str(port), orchestrator).splitlines()
    assert printed.count("joined TrialState.ENDED") == 2
    assert {"hooked TrialState.ENDED", "logged [0, 1, 2, 3, 4, 5]", "stopped", "child 0"} <= set(printed)


def test_a_program_with_tls_everywhere(tmp_path: Path) -> None:
    """A key in the endpoints is all that mutual TLS needs, towards an Orchestrator with its three files."""
    files = {"--private_key": "server.key", "--root_cert": "ca.pem", "--trust_chain": "server.pem"}
    options = [part for option, name in files.items() for part in (option, str(TLS / name))]
    with an_orchestrator(*options) as orchestrator:
        printed = run(tmp_path, SECURED, str(free_port()), orchestrator, str(TLS))
    assert printed == "secured TrialState.ENDED\n"


# --- mistakes ---------------------------------------------------------------------------------------------------------


async def nothing(session: Any) -> None:
    """An implementation."""


@pytest.mark.parametrize("given", ["cog_settings", 3, {"actor_classes": []}])
def test_specs_of_a_wrong_kind(given: Any) -> None:
    """What can be no generated module is refused where it is given."""
    with pytest.raises(UsageError, match=r"cog_settings has to be the module that cogment\.generate makes"):
        cogment.Context("me", given)


@pytest.mark.parametrize("given", [9001, "grpc://localhost:9001", cogment.Endpoint("grpc://localhost:9001")])
async def test_a_served_endpoint_of_a_wrong_kind(given: Any) -> None:
    """A port alone, or the endpoint of somebody else, is refused; the Context can still serve."""
    async with cogment.Context("me", None, prometheus_registry=None) as context:
        context.register_environment(nothing)
        with pytest.raises(UsageError, match=r"served_endpoint has to be a ServedEndpoint, for example"):
            await context.serve_all_registered(given)
        serving = asyncio.create_task(context.serve_all_registered())
        assert await context.wait_until_serving() > 0
    await serving


async def test_why_nothing_is_served(caplog: pytest.LogCaptureFixture) -> None:
    """A serve task that fails says why in the log, and to those who wait: cancelling a task drops what it raised."""
    async with cogment.Context("me", None, prometheus_registry=None) as context:
        serving = asyncio.create_task(context.serve_all_registered())
        with pytest.raises(cogment.CogmentError, match="nothing is served: nothing is registered"):
            await context.wait_until_serving()
        serving.cancel()
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage() == "nothing is served: nothing is registered that could be served"


async def test_nobody_there() -> None:
    """All that goes to an Orchestrator says whom it did not reach, and what to look at."""
    endpoint = cogment.Endpoint(f"grpc://localhost:{free_port()}")
    expected = rf" at {endpoint.url}: UNAVAILABLE: .*is a server running at this address"
    async with cogment.Context("me", None, prometheus_registry=None) as context:
        context.register_actor(nothing, "one", ["player"])
        controller = context.get_controller(endpoint)
        with pytest.raises(UnavailableError, match="StartTrial" + expected):
            await controller.start_trial()
        with pytest.raises(UnavailableError, match=expected):
            await anext(controller.watch_trials())
        with pytest.raises(UnavailableError, match=expected):
            await context.join_trial("trial", endpoint, actor_name="alice")


async def test_an_implementation_that_is_not_asynchronous(caplog: pytest.LogCaptureFixture) -> None:
    """A plain function is named as what is wrong; it did not end too early, it failed."""

    def plain(session: Any) -> None:
        """No coroutine function."""

    async def patient(session: Any) -> None:
        session.start()
        async for _ in session.all_events():
            pass

    async with Orchestrator() as orchestrator, cogment.Context("me", None, prometheus_registry=None) as context:
        context.register_environment(plain)  # type: ignore[arg-type]
        context.register_actor(patient, "one")
        orchestrator.attach(context)
        controller = context.get_controller(orchestrator.endpoint)
        alice = cogment.ActorParameters(None, "player", name="alice")
        await controller.start_trial(trial_params=cogment.TrialParameters(None, actors=[alice]))
        async for info in controller.watch_trials([cogment.TrialState.ENDED]):
            assert info.state is cogment.TrialState.ENDED
            break
    assert "the implementation 'plain' has to be an async function" in caplog.text
    assert "returned before the end" not in caplog.text
