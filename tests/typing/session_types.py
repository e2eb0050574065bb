# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""What implementations of actors, environments, hooks and datalogs work with."""

from __future__ import annotations

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import StringValue
from typing_extensions import assert_type

import cogment
from cogment.actor import ActorSession
from cogment.datalog import DatalogSession
from cogment.environment import EnvironmentSession
from cogment.prehook import PrehookSession
from cogment.session import ActorInfo, RecvAction, RecvEvent, RecvMessage, RecvObservation, RecvReward


async def actor(session: ActorSession) -> None:
    """An actor gets events and acts."""
    session.start()
    async for event in session.all_events():
        assert_type(event, RecvEvent)
        assert_type(event.type, cogment.EventType)
        assert_type(event.observation, RecvObservation | None)
        assert_type(event.rewards, list[RecvReward])
        assert_type(event.messages, list[RecvMessage])
        if event.observation:
            assert_type(event.observation.tick_id, int)
            session.do_action(StringValue(value="left"))
        for reward in event.rewards:
            assert_type(reward.value, float)
            for source in reward.all_sources():
                assert_type(source.user_data, AnyMessage | None)
    session.add_reward(1.0, 1.0, to=["other"], user_data=StringValue())
    session.send_message(StringValue(), "other")
    session.do_action("left")  # type: ignore[arg-type]


async def environment(session: EnvironmentSession) -> None:
    """An environment gets actions and sends observations."""
    assert_type(session.get_active_actors(), list[ActorInfo])
    session.start([("*", StringValue())])
    async for event in session.all_events():
        assert_type(event.actions, list[RecvAction])
        for action in event.actions:
            assert_type(action.status, cogment.ActorStatus)
        session.produce_observations({"one": StringValue()}.items())
    session.end([("*", StringValue())])
    session.end(StringValue())  # type: ignore[arg-type]


async def hook(session: PrehookSession) -> None:
    """A hook edits parameters."""
    parameters = session.trial_parameters
    assert_type(parameters, cogment.TrialParameters)
    parameters.max_steps = 100
    parameters.environment_name = None
    for actor in parameters.actors:
        assert_type(actor, cogment.ActorParameters)
        actor.optional = True
    assert_type(parameters.max_steps, int)
    assert_type(parameters.actors["one"].name, str)
    parameters.max_steps = "100"  # type: ignore[assignment]


async def datalog(session: DatalogSession) -> None:
    """A datalog gets samples."""
    session.start()
    async for sample in session.all_samples():
        assert_type(sample, cogment.LogSample)
        assert_type(sample.state, cogment.TrialState | None)
        action = sample.get_action("one")
        assert_type(action, RecvAction | None)
        observation = sample.get_observation(0)
        assert_type(observation, RecvObservation | None)


async def serve(context: cogment.Context) -> None:
    """What is registered is a coroutine function that takes its session."""
    context.register_actor(actor, "one", ["player"])
    context.register_environment(environment, "default", {"kind": "test"})
    context.register_pre_trial_hook(hook)
    context.register_datalog(impl=datalog)
    await context.serve_all_registered(cogment.ServedEndpoint(9000), prometheus_port=9001)
    await context.join_trial("my-trial", cogment.Endpoint("grpc://localhost:9000"), actor_name="one")
    assert_type(context.served_port, int)
    context.register_actor(actor, 1)  # type: ignore[arg-type]
