"""The actor: a linear policy, whose weights come with the trial."""

import cogment
from cogment.actor import ActorSession
from specs import data_pb2

__all__ = ["linear_policy"]


async def linear_policy(session: ActorSession) -> None:
    """Play one trial.

    Like the environment's, this function is called once for each trial. It knows nothing of training: it plays with the
    weights in its config, which whoever starts the trial chooses.
    """
    weights = list(session.config.weights)
    session.start()

    # Each observation asks for one action. The last one, in an event of type ENDING, does not: the trial is over.
    # `event.rewards` has what the environment rewarded; an actor that learns while it plays would use it.
    async for event in session.all_events():
        if event.observation and event.type is cogment.EventType.ACTIVE:
            state = event.observation.observation.state
            tilt = sum(weight * value for weight, value in zip(weights, state, strict=True))
            session.do_action(data_pb2.Action(push=1 if tilt > 0 else 0))
