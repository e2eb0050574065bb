"""A thousand trials at once, in one process."""

import asyncio
from types import SimpleNamespace
from typing import Any

from google.protobuf.wrappers_pb2 import Int32Value

import cogment
from cogment_services.orchestrator import Orchestrator

TRIALS = 1000
STEPS = 5

SETTINGS: Any = SimpleNamespace(
    actor_classes=cogment.ActorClassList(
        cogment.ActorClass("counter", config_type=None, action_space=Int32Value, observation_space=Int32Value)
    ),
    trial=SimpleNamespace(config_type=None),
    environment=SimpleNamespace(config_type=None),
)


async def test_a_thousand_concurrent_trials_run_to_their_end():
    """Trials that are all running at the same time in one process all get their own actions, and all end."""
    everybody_is_here = asyncio.Event()
    waiting = 0
    seen: dict[str, list[int]] = {}

    async def environment(session: Any) -> None:
        nonlocal waiting
        session.start([("*", Int32Value(value=0))])
        waiting += 1
        if waiting == TRIALS:
            everybody_is_here.set()
        await everybody_is_here.wait()
        seen[session.get_trial_id()] = actions = []
        async for event in session.all_events():
            if not event.actions:
                continue
            actions.append(event.actions[0].action.value)
            if event.type is cogment.EventType.ACTIVE:
                observe = session.end if len(actions) == STEPS else session.produce_observations
                observe([("*", Int32Value(value=len(actions)))])

    async def actor(session: Any) -> None:
        session.start()
        async for event in session.all_events():
            if event.observation and event.type is cogment.EventType.ACTIVE:
                session.do_action(Int32Value(value=event.observation.observation.value * 10))

    async with cogment.Context("test", SETTINGS, prometheus_registry=None) as context, Orchestrator() as orchestrator:
        context.register_environment(environment, "counting")
        context.register_actor(actor, "multiplying", ["counter"])
        orchestrator.attach(context)
        controller = context.get_controller(orchestrator.endpoint)
        ended: set[str] = set()

        async def watch() -> None:
            async for info in controller.watch_trials([cogment.TrialState.ENDED]):
                ended.add(info.trial_id)
                if len(ended) == TRIALS:
                    return

        watching = asyncio.ensure_future(watch())
        parameters = cogment.TrialParameters(
            SETTINGS,
            environment_implementation="counting",
            actors=[cogment.ActorParameters(SETTINGS, "counter", name="a", implementation="multiplying")],
        )
        ids = {await controller.start_trial(trial_params=parameters) for _ in range(TRIALS)}
        await asyncio.wait_for(watching, 50)

    assert ended == ids == seen.keys()
    assert all(actions == [10 * step for step in range(STEPS)] for actions in seen.values())
