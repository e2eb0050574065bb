"""CartPole-v1 of Gymnasium as a Cogment environment."""

from typing import Any

import gymnasium

from cogment.environment import EnvironmentSession
from specs import data_pb2

__all__ = ["cartpole"]


async def cartpole(session: EnvironmentSession) -> None:
    """Run one trial, which is one episode.

    Cogment calls this function once for each trial, and many of these calls live side by side in one event loop. The
    session is the trial as the environment sees it.
    """
    game = gymnasium.make("CartPole-v1")
    state, _ = game.reset(seed=session.config.seed)
    player = session.get_active_actors()[0].actor_name

    # The trial starts with the first observations; "*" stands for all actors.
    session.start([("*", observation(state))])

    # An event with actions comes when every actor has acted. The environment answers it with the next observations, and
    # with rewards: these are for the action, so they go out before the observations, which begin a new step.
    async for event in session.all_events():
        if event.actions:
            state, reward, fell, timed_out, _ = game.step(event.actions[0].action.push)
            session.add_reward(float(reward), confidence=1.0, to=[player])
            if fell or timed_out:
                session.end([("*", observation(state, over=True))])
            else:
                session.produce_observations([("*", observation(state))])
    game.close()


def observation(state: Any, *, over: bool = False) -> data_pb2.Observation:
    return data_pb2.Observation(state=state.tolist(), over=over)
