"""Runs CartPole trials, many at a time, and finds out what each episode returned."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import cogment
from cogment.control import Controller
from cogment.datastore import Datastore
from specs import cog_settings, data_pb2

__all__ = ["Endpoints", "read_return", "run_trials", "trial_parameters"]

LOG_TIMEOUT = 30.0
"""Seconds that the last samples of a trial may take to arrive once it has ended."""


@dataclass(frozen=True)
class Endpoints:
    """Where the components of a trial are.

    ``cogment://discover`` finds them by name among those attached to the Orchestrator; ``grpc://host:port`` says it.
    """

    environment: str = "cogment://discover"
    player: str = "cogment://discover"
    datalog: str = "cogment://discover"


def trial_parameters(
    endpoints: Endpoints, weights: Sequence[float], seed: int, properties: Mapping[str, str]
) -> cogment.TrialParameters:
    """All that the Orchestrator needs to know of a trial: who takes part, where they are, and their configs.

    By its properties, a trial can be found among others later.
    """
    player = cogment.ActorParameters(
        cog_settings,
        "player",
        name="player",
        implementation="linear",
        endpoint=endpoints.player,
        config=data_pb2.Policy(weights=weights),
    )
    return cogment.TrialParameters(
        cog_settings,
        actors=[player],
        environment_name="cartpole",
        environment_implementation="CartPole-v1",
        environment_endpoint=endpoints.environment,
        environment_config=data_pb2.EnvironmentConfig(seed=seed),
        datalog_endpoint=endpoints.datalog,
        properties=dict(properties),
        max_inactivity=30,  # seconds: should a component hang, the trial ends
    )


async def read_return(datastore: Datastore, trial_id: str) -> float:
    """Add up the rewards of a trial, from its log.

    A sample is what happened in one step. Those that are still on their way are waited for.
    """
    trials = await datastore.get_trials([trial_id], wait_for_trials=LOG_TIMEOUT)
    total_reward, last = 0.0, None
    async for sample in datastore.all_samples(trials):
        last = sample.actors_data["player"]
        total_reward += last.reward or 0.0
    if last is None or last.observation is None or not last.observation.over:
        raise cogment.CogmentError(f"trial {trial_id} did not end by itself")
    return total_reward


async def run_trials(
    controller: Controller, datastore: Datastore, parameters: Iterable[cogment.TrialParameters], parallel: int
) -> AsyncIterator[tuple[int, float]]:
    """Run one trial with each of ``parameters``, ``parallel`` of them at a time.

    Yields:
        The index of a trial and the return of its episode, as the trials end.
    """
    waiting = deque(enumerate(parameters))
    running: dict[str, int] = {}

    async def start_next() -> None:
        index, trial_params = waiting.popleft()
        trial_id = await controller.start_trial(trial_params=trial_params)
        running[trial_id] = index

    # The Controller tells of every trial that there is, and then of each change of state. The first trial is the first
    # news; the others start once we watch, so that we cannot miss their end.
    await start_next()
    async with aclosing(controller.watch_trials()) as news:
        async for trial in news:
            has_ended = trial.state is cogment.TrialState.ENDED and trial.trial_id in running
            index = running.pop(trial.trial_id) if has_ended else None
            while waiting and len(running) < parallel:
                await start_next()
            if index is not None:
                yield index, await asyncio.wait_for(read_return(datastore, trial.trial_id), LOG_TIMEOUT)
            if not running:
                return
