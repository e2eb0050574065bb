"""How existing programs use the SDK, as far as no server is needed for it."""

from __future__ import annotations

import enum
import inspect
from types import ModuleType
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import Int32Value

import cogment
from cogment.actor import ActorSession
from cogment.api import common_pb2
from cogment.control import Controller, TrialState
from cogment.environment import EnvironmentSession
from cogment.errors import CogmentError, CogmentGenerateError
from cogment.session import ActorInfo, RecvEvent
from cogment.utils import logger
from cogment_core.sessions.link import Link
from cogment_core.sessions.observer import SessionObserver

ORCHESTRATOR = cogment.Endpoint("grpc://localhost:9000")


def cog_settings() -> ModuleType:
    """A module as the existing generator writes it."""
    module = ModuleType("cog_settings")
    exec(
        """
import cogment as _cog
from google.protobuf.wrappers_pb2 import Int32Value, StringValue
from types import SimpleNamespace

_player_class = _cog.actor.ActorClass(
    name="player", config_type=StringValue, action_space=Int32Value, observation_space=StringValue
)
actor_classes = _cog.actor.ActorClassList(_player_class)
trial = SimpleNamespace(config_type=StringValue)
environment = SimpleNamespace(config_type=None)
""",
        module.__dict__,
    )
    return module


async def test_get_controller_without_await() -> None:
    """``get_controller(...)`` can be used as it is: the result is a Controller."""
    async with cogment.Context("me", None, prometheus_registry=None) as context:
        assert isinstance(context.get_controller(ORCHESTRATOR), Controller)


async def test_get_controller_with_await() -> None:
    """``await context.get_controller(...)`` gives the Controller, and awaiting that again gives it again."""
    async with cogment.Context("me", None, prometheus_registry=None) as context:
        controller = await context.get_controller(endpoint=ORCHESTRATOR)
        assert isinstance(controller, Controller)
        assert await controller is controller


async def test_get_controller_tested_for_being_awaitable() -> None:
    """Programs ask ``inspect.isawaitable`` and then await: both answers are right, and ours is yes."""
    async with cogment.Context("me", None, prometheus_registry=None) as context:
        result: Any = context.get_controller(ORCHESTRATOR)
        assert inspect.isawaitable(result)
        assert isinstance(await result, Controller)


async def test_get_controller_without_endpoint_asks_nobody_yet() -> None:
    """The default endpoint is the one to discover; it is looked for at the first call."""
    async with cogment.Context("me", None, prometheus_registry=None) as context:
        controller = context.get_controller()
        with pytest.raises(CogmentError, match="discover"):
            await controller.get_remote_versions()


def test_generated_module() -> None:
    """A module made by the existing generator needs ``cogment.actor`` after ``import cogment`` alone."""
    settings = cog_settings()
    assert settings.actor_classes.player is settings.actor_classes["player"]
    assert "player" in settings.actor_classes
    assert "nobody" not in settings.actor_classes
    assert [actor_class.name for actor_class in settings.actor_classes] == ["player"]
    assert settings.actor_classes.player.action_space is Int32Value
    with pytest.raises(AttributeError):
        _ = settings.actor_classes.nobody


def test_trial_parameters_travel_between_processes() -> None:
    """Parameters made in one process are edited, serialized, and read in another."""
    settings = cog_settings()
    parameters = cogment.TrialParameters(
        settings,
        environment_name="env",
        actors=[cogment.ActorParameters(settings, "player", name="one", implementation="actors.simple.Simple")],
    )
    parameters.environment_endpoint = "grpc://localhost:9001"
    for actor in parameters.actors:
        actor.endpoint = "grpc://localhost:9002"
    received = cogment.TrialParameters(settings)
    received.deserialize(parameters.serialize())
    assert received.environment_endpoint == "grpc://localhost:9001"
    assert received.actors["one"].endpoint == "grpc://localhost:9002"
    assert received.get_serialization_type() == 3


def test_positional_and_keyword_registration() -> None:
    """Implementations are registered by position or by keyword, in any order; an environment needs no name."""

    async def impl(session: Any) -> None:
        session.start()

    context = cogment.Context(cog_settings=cog_settings(), user_id="me")
    context.register_actor(impl, "one", ["player"])
    context.register_actor(actor_classes=["player"], impl_name="two", impl=impl, properties={"a": "b"})
    context.register_environment(impl=impl)
    context.register_environment(impl, "CartPole-v1")


async def test_live_session_changes_its_class() -> None:
    """A session can be given the class of a sub-class made on the fly, and attributes of its own."""

    class Helper:
        def shout(self) -> str:
            return f"{self.name}!"  # type: ignore[attr-defined]

    init = common_pb2.ActorInitialInput(actor_name="a", actor_class="player", env_name="env")

    session: Any = ActorSession(
        "t",
        init,
        impl_name="i",
        spec=None,
        link=Link(lambda message: None),
        joined_by_client=False,
        observer=SessionObserver(),
    )
    session.__class__ = type("Wrapped", (session.__class__, Helper), {})
    session.model = object()
    assert session.shout() == "a!"
    assert isinstance(session, ActorSession)


@pytest.mark.parametrize("keyword", ["actor_class", "class_name"])
def test_actor_info_takes_both_spellings(keyword: str) -> None:
    """``ActorInfo`` is made with the class as ``actor_class`` or as ``class_name``."""
    assert ActorInfo(name="a", **{keyword: "player"}).actor_class_name == "player"


def test_error_is_made_with_a_message() -> None:
    """Programs raise ``CogmentError`` with a message, and it needs one."""
    assert str(CogmentError("no such file")) == "no such file"
    with pytest.raises(TypeError):
        CogmentError()  # type: ignore[call-arg]


def test_generator_error_is_no_cogment_error() -> None:
    """Who catches ``CogmentError`` does not catch errors of the generator."""
    assert not issubclass(CogmentGenerateError, CogmentError)
    assert issubclass(CogmentGenerateError, Exception)


def test_logger_is_the_sdk_logger() -> None:
    """``cogment.utils.logger`` is the logger ``cogment.sdk``, and takes handlers of the application."""
    assert logger.name == "cogment.sdk"
    assert not logger.handlers


def test_made_logger_has_cogment_levels() -> None:
    """``make_logger`` gives a standard logger with ``trace`` and once-only deprecation warnings."""
    made = cogment.make_logger("tests.meta.idioms", default_level="WARNING")
    assert made.level == 30
    assert made.TRACE == 5
    made.trace("not shown: %s", 1)
    made.deprecated("the old way")
    assert "the old way" in made.DEPRECATED_LOGGED


def test_types_for_annotations() -> None:
    """Programs annotate with these classes, imported from these modules."""
    for kind in (ActorSession, EnvironmentSession, RecvEvent, ActorInfo, Controller):
        assert inspect.isclass(kind)
    assert issubclass(TrialState, enum.Enum)


def test_events_print_as_text() -> None:
    """Events can be printed: the text has their type."""
    assert "ACTIVE" in str(RecvEvent(cogment.EventType.ACTIVE))
