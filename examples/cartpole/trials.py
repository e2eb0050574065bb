"""Runs CartPole trials, many at a time, and finds out what each episode returned."""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import cogment
from cogment.control import Controller
from cogment.datalog import DatalogSession
from specs import cog_settings, data_pb2

__all__ = ["Endpoints", "Episode", "EpisodeLog", "run_trials", "trial_parameters"]

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


def trial_parameters(endpoints: Endpoints, weights: Sequence[float], seed: int) -> cogment.TrialParameters:
    """All that the Orchestrator needs to know of a trial: who takes part, where they are, and their configs."""
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
        datalog_exclude_fields=["observations", "actions", "messages"],  # we look at rewards only
        max_inactivity=30,  # seconds: should a component hang, the trial ends
    )


@dataclass(frozen=True)
class Episode:
    """What the log of a trial says."""

    total_reward: float
    failure: str
    """Why the trial was ended before its time; empty if it was not."""


class EpisodeLog:
    """Adds up the rewards of each trial."""

    def __init__(self) -> None:
        self._episodes: defaultdict[str, asyncio.Future[Episode]] = defaultdict(asyncio.Future)

    async def listen(self, session: DatalogSession) -> None:
        """Log one trial: this is the datalog callback, which Cogment calls for each.

        A sample is what happened in one step. It comes with all rewards, whoever sent them to whomever.
        """
        session.start()
        total_reward = 0.0
        failures: list[str] = []
        async for sample in session.all_samples():
            total_reward += sum(reward.value for reward in sample.all_rewards())
            if sample.events:
                failures += [event for event in sample.events if event.startswith("Forced termination")]
        self._episodes[session.trial_id].set_result(Episode(total_reward, ", ".join(failures)))

    async def episode(self, trial_id: str) -> Episode:
        """Wait for the last sample of a trial, and forget the trial."""
        try:
            return await asyncio.wait_for(self._episodes[trial_id], LOG_TIMEOUT)
        except asyncio.TimeoutError:
            raise cogment.CogmentError(f"trial {trial_id} has ended, but its last sample does not come") from None
        finally:
            del self._episodes[trial_id]


async def run_trials(
    controller: Controller, log: EpisodeLog, parameters: Iterable[cogment.TrialParameters], parallel: int
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
                yield index, _return_of(trial.trial_id, await log.episode(trial.trial_id))
            if not running:
                return


def _return_of(trial_id: str, episode: Episode) -> float:
    if episode.failure:
        raise cogment.CogmentError(f"trial {trial_id} did not end by itself: {episode.failure}")
    return episode.total_reward
