"""Pre-trial hooks: what goes in, what comes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import Int32Value, StringValue
from scripted import SETTINGS, World, soon

from cogment_core.api import common_pb2, hooks_pb2
from cogment_core.errors import SpecsError, UsageError
from cogment_core.parameters import ActorParameters, TrialParameters

METADATA = (("trial-id", "trial"), ("user-id", "user"))


def full(settings: Any = SETTINGS) -> TrialParameters:
    """Parameters in which nothing has its default."""
    return TrialParameters(
        settings,
        config=StringValue(value="trial config"),
        properties={"a": "b", "c": ""},
        max_steps=10,
        max_inactivity=20,
        nb_buffered_ticks=30,
        datalog_endpoint="grpc://datalog:9000",
        datalog_exclude_fields=["messages"],
        environment_config=StringValue(value="environment config"),
        environment_name="the env",
        environment_endpoint="grpc://env:9000",
        environment_implementation="env_impl",
        actors=[
            ActorParameters(
                settings,
                "player",
                name="ann",
                endpoint="grpc://ann:9000",
                implementation="ann_impl",
                config=StringValue(value="ann's config"),
                initial_connection_timeout=1.5,
                response_timeout=2.5,
                optional=True,
                default_action=Int32Value(value=5),
            ),
            ActorParameters(settings, "judge", name="jim", endpoint="cogment://client"),
        ],
    )


async def call(world: World, impl: Any, parameters: TrialParameters | None = None) -> common_pb2.TrialParams:
    """What the hook makes of ``parameters``."""
    stub = await world.hook(impl)
    request = hooks_pb2.PreTrialParams(params=(parameters or full()).to_proto())
    reply = await soon(stub.OnPreTrial(request, metadata=METADATA))
    return reply.params


async def refusal(world: World, impl: Any) -> grpc.aio.AioRpcError:
    """How the call of a hook fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(world, impl)
    return caught.value


# --- the parameters ---------------------------------------------------------------------------------------------------


async def test_a_hook_that_does_nothing_changes_nothing(world: World):
    """All parameters come out as they went in."""

    async def hook(session: Any) -> None:
        pass

    assert await call(world, hook) == full().to_proto()


@pytest.mark.parametrize("validated", [True, False])
async def test_a_hook_that_only_looks_changes_nothing(world: World, validated: bool):
    """Reading parameters, the old way or the new, and validating them, is no change."""

    async def hook(session: Any) -> None:
        assert session.trial_parameters.max_steps == session.trial_max_steps == 10
        assert [actor["name"] for actor in session.actors] == ["ann", "jim"]
        if validated:
            session.validate()

    assert await call(world, hook) == full().to_proto()


async def test_parameters_can_be_changed_in_place(world: World):
    """What is changed in trial_parameters is changed in the trial, and nothing else is."""

    async def hook(session: Any) -> None:
        session.trial_parameters.max_steps = 77
        session.trial_parameters.actors["jim"].implementation = "strict"

    expected = full()
    expected.max_steps = 77
    expected.actors["jim"].implementation = "strict"
    assert await call(world, hook) == expected.to_proto()


async def test_parameters_can_be_replaced(world: World):
    """Other parameters can be assigned."""

    async def hook(session: Any) -> None:
        session.trial_parameters = TrialParameters(SETTINGS, max_steps=1)

    assert await call(world, hook) == TrialParameters(SETTINGS, max_steps=1).to_proto()


async def test_what_a_session_knows(world: World):
    """The trial, and the user that starts it."""
    seen: list[Any] = []

    async def hook(session: Any) -> None:
        seen.extend((session.get_trial_id(), session.get_user_id(), session.trial_parameters.has_specs()))

    await call(world, hook)
    assert seen == ["trial", "user", True]


async def test_the_caller_keeps_its_parameters(make_world: Any):
    """In process the request is the caller's own object, which the hook must not change."""

    async def hook(session: Any) -> None:
        session.trial_parameters.max_steps = 77

    stub = await make_world("inprocess").hook(hook)
    request = hooks_pb2.PreTrialParams(params=full().to_proto())
    await soon(stub.OnPreTrial(request, metadata=METADATA))
    assert request.params == full().to_proto()


# --- the attributes of before -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "value"),
    [
        ("trial_config", "config", StringValue(value="other")),
        ("trial_max_steps", "max_steps", 5),
        ("trial_max_inactivity", "max_inactivity", 6),
        ("datalog_endpoint", "datalog_endpoint", "grpc://other:1"),
        ("datalog_exclude", "datalog_exclude_fields", ("actions", "info")),
        ("environment_name", "environment_name", "other"),
        ("environment_endpoint", "environment_endpoint", "grpc://other:2"),
        ("environment_implementation", "environment_implementation", "other"),
        ("environment_config", "environment_config", StringValue(value="other")),
    ],
)
async def test_old_attributes_are_views_of_the_parameters(world: World, old: str, new: str, value: Any):
    """An old attribute reads and writes the parameter that it stands for, and nothing else changes."""

    async def hook(session: Any) -> None:
        assert getattr(session, old) == getattr(full(), new)
        setattr(session, old, value)
        session.validate()

    expected = full()
    setattr(expected, new, value)
    assert await call(world, hook) == expected.to_proto()


async def test_old_actors_are_dictionaries(world: World):
    """session.actors is a list of dictionaries; what they cannot say stays as it was."""

    async def hook(session: Any) -> None:
        ann, jim = session.actors
        assert ann == {
            "name": "ann",
            "actor_class": "player",
            "endpoint": "grpc://ann:9000",
            "implementation": "ann_impl",
            "config": StringValue(value="ann's config"),
        }
        assert jim["config"] is None
        ann["implementation"] = "other"
        jim["name"] = "joe"
        session.validate()

    expected = full()
    expected.actors["ann"].implementation = "other"
    expected.actors["jim"].name = "joe"
    assert await call(world, hook) == expected.to_proto()


async def test_old_configs_can_be_changed_in_place(world: World):
    """What is changed within a config that an old attribute gave is a change, once and for all."""

    async def hook(session: Any) -> None:
        session.trial_config.value = "replaced"
        session.trial_config = StringValue(value="assigned")
        session.environment_config.value = "changed"
        assert session.environment_config.value == "changed"
        session.actors[0]["config"].value = "changed, too"
        session.validate()
        session.environment_config.value += " twice"

    expected = full()
    expected.config = StringValue(value="assigned")
    expected.environment_config = StringValue(value="changed twice")
    expected.actors["ann"].config = StringValue(value="changed, too")
    assert await call(world, hook) == expected.to_proto()


async def test_old_and_new_attributes_together(world: World):
    """What is assigned to trial_parameters is what an old attribute says afterwards."""

    async def hook(session: Any) -> None:
        assert session.trial_config.value == "trial config"
        session.trial_parameters.config = StringValue(value="new")
        assert session.trial_config.value == "new"

    expected = full()
    expected.config = StringValue(value="new")
    assert await call(world, hook) == expected.to_proto()


async def test_old_actors_can_be_replaced(world: World):
    """Actors can be assigned, added and removed, without calling validate()."""

    async def hook(session: Any) -> None:
        new = {"name": "new", "actor_class": "player", "endpoint": "e", "implementation": "i", "config": None}
        session.actors = (*session.actors[1:], new)

    reply = await call(world, hook)
    assert [(actor.name, actor.actor_class) for actor in reply.actors] == [("jim", "judge"), ("new", "player")]
    assert reply.max_steps == 10


async def test_a_hook_of_the_recipes(world: World):
    """The configuration of a trial decides on its parameters, the old way."""

    async def hook(session: Any) -> None:
        actors = []
        if session.trial_config.value == "trial config":
            actors.append(
                {
                    "name": "player",
                    "actor_class": "player",
                    "endpoint": "grpc://player:9000",
                    "implementation": "random",
                    "config": StringValue(value="c"),
                }
            )
        session.actors = actors
        session.environment_config = StringValue(value="from the recipe")
        session.validate()

    reply = await call(world, hook)
    assert [actor.implementation for actor in reply.actors] == ["random"]
    assert reply.actors[0].config.content == StringValue(value="c").SerializeToString()
    assert reply.environment.config.content == StringValue(value="from the recipe").SerializeToString()


# --- mistakes ---------------------------------------------------------------------------------------------------------


def _misspelt(session: Any) -> None:
    session.trial_max_step = 5


def _none(session: Any) -> None:
    session.trial_parameters = None


def _missing_key(session: Any) -> None:
    del session.actors[0]["config"]


def _unknown_key(session: Any) -> None:
    session.actors[0]["class"] = "player"


def _no_dictionary(session: Any) -> None:
    session.actors = ["ann"]


def _no_list(session: Any) -> None:
    session.actors = None


def _wrong_type(session: Any) -> None:
    session.trial_max_steps = "many"


@pytest.mark.parametrize(
    "mistake",
    [_misspelt, _none, _missing_key, _unknown_key, _no_dictionary, _no_list, _wrong_type],
    ids=lambda mistake: mistake.__name__.strip("_"),
)
async def test_mistakes_are_errors(world: World, mistake: Callable[[Any], None], caplog: pytest.LogCaptureFixture):
    """A mistake in a hook is a CogmentError there, and the call fails."""

    async def hook(session: Any) -> None:
        mistake(session)
        session.validate()

    assert (await refusal(world, hook)).code() is grpc.StatusCode.INTERNAL
    errors = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert any(isinstance(error, UsageError) for error in errors)


async def test_an_exception_fails_the_call(world: World):
    """What a hook raises is in the log, and not in the answer."""

    async def hook(session: Any) -> None:
        raise ValueError("secret")

    error = await refusal(world, hook)
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in (error.details() or "")


@pytest.mark.parametrize(
    "metadata", [METADATA[:1], METADATA[1:], (*METADATA, METADATA[1]), (("trial-id", ""), METADATA[1])]
)
async def test_trial_and_user_are_needed(world: World, metadata: Any):
    """A call without exactly one trial-id and one user-id is refused."""

    async def hook(session: Any) -> None:
        pass

    stub = await world.hook(hook)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await soon(stub.OnPreTrial(hooks_pb2.PreTrialParams(), metadata=metadata))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


# --- without specs ----------------------------------------------------------------------------------------------------


async def test_without_specs(make_world: Any, transport: str):
    """Without specs configs pass as they are, and can be set; only reading them is an error."""
    seen: list[type[BaseException]] = []

    async def hook(session: Any) -> None:
        for name in ("trial_config", "environment_config"):
            with pytest.raises(SpecsError):
                getattr(session, name)
            seen.append(SpecsError)
        session.trial_parameters.config = StringValue(value="other")
        for actor in session.actors:
            actor["implementation"] = "other"
        session.actors[1]["config"] = StringValue(value="set")

    reply = await call(make_world(transport, settings=None), hook, full())
    assert len(seen) == 2
    expected = full(None)
    expected.config = StringValue(value="other")
    expected.actors["ann"].implementation = "other"
    expected.actors["jim"].implementation = "other"
    expected.actors["jim"].config = StringValue(value="set")
    assert reply == expected.to_proto()
