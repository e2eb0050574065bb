"""A stage for one trial: a test plays all peers, and reads what the trial does as short texts."""

from __future__ import annotations

from typing import Any

from cogment_core.api.common_pb2 import (
    LAST_ACK,
    NORMAL,
    Action,
    ActorInitialOutput,
    ActorRunTrialInput,
    ActorRunTrialOutput,
    CommunicationState,
    Message,
    Reward,
    RewardSource,
    TrialParams,
    TrialState,
)
from cogment_core.api.datalog_pb2 import DatalogSample
from cogment_core.api.environment_pb2 import EnvInitialOutput, EnvRunTrialInput, EnvRunTrialOutput, ObservationSet
from cogment_services.orchestrator.effects import Timer, TimerKind
from cogment_services.orchestrator.engine import Trial

START_TIME = 1_000


class Stage:
    """The `Effects` of a trial, and its peers.

    Args:
        actors: For each actor, the fields of its parameters that matter. Names default to ``a0``, ``a1``..., the class
            to ``player``; ``client=True`` makes it a client.
        logged: Whether there is a datalog.
        trial: More arguments of `Trial`.
        params: More fields of the trial parameters.
    """

    def __init__(
        self, *actors: dict[str, Any], logged: bool = True, trial: dict[str, Any] | None = None, **params: Any
    ) -> None:
        self.params = TrialParams(nb_buffered_ticks=params.pop("nb_buffered_ticks", 2), **params)
        self.params.environment.name = "env"
        clients = []
        for index, given in enumerate(actors or ({},)):
            fields = {"name": f"a{index}", "actor_class": "player", **given}
            clients.append(fields.pop("client", False))
            default = fields.pop("default", None)
            actor = self.params.actors.add(**fields)
            if default is not None:
                actor.default_action.content = default
        self.clock = 0.0
        self.said: list[str] = []
        self.samples: list[DatalogSample] = []
        self.sent_to_actors: list[tuple[int, ActorRunTrialInput]] = []
        self.sent_to_environment: list[EnvRunTrialInput] = []
        self.timers: dict[Timer, float] = {}
        self.trial = Trial("t", self.params, self, client_slots=clients, logged=logged, **(trial or {}))

    # What the test does

    def start(self) -> Stage:
        """Start the trial; services are connected."""
        self.trial.start()
        return self

    def begin(self) -> Stage:
        """Start the trial and let everyone be ready; what was said until then is forgotten."""
        self.start()
        for index, client in enumerate(slot.client for slot in self.trial._cast.actors):
            if client:
                self.join(index)
            else:
                self.actor_ready(index)
        self.environment_ready()
        self.said.clear()
        return self

    def join(self, index: int) -> None:
        """A client joins as an actor."""
        assert self.trial.join(self.params.actors[index].name, None) == index
        self.trial.joined(index)

    def actor_ready(self, index: int) -> None:
        """A service actor says it is ready."""
        self.actor(index, init_output=ActorInitialOutput())

    def environment_ready(self) -> None:
        """The environment says it is ready."""
        self.environment(init_output=EnvInitialOutput())

    def actor(self, index: int, state: int = NORMAL, **data: Any) -> None:
        """An actor says something."""
        self.trial.actor_said(index, ActorRunTrialOutput(state=state, **data))  # type: ignore[arg-type]

    def environment(self, state: int = NORMAL, **data: Any) -> None:
        """The environment says something."""
        self.trial.environment_said(EnvRunTrialOutput(state=state, **data))  # type: ignore[arg-type]

    def observe(self, tick: int = -1, **fields: Any) -> None:
        """The environment sends observations: ``o0`` for the first actor, and so on."""
        count = len(self.params.actors)
        fields = {
            "timestamp": 77,
            "observations": [f"o{index}".encode() for index in range(count)],
            "actors_map": range(count),
            **fields,
        }
        self.environment(observation_set=ObservationSet(tick_id=tick, **fields))

    def act(self, index: int, content: str = "", tick: int = -1) -> None:
        """An actor acts."""
        self.actor(index, action=Action(tick_id=tick, timestamp=5, content=(content or f"act{index}").encode()))

    def reward(
        self, sender: int | None, receiver: str, value: float, confidence: float = 1.0, tick: int = -1, **fields: Any
    ) -> None:
        """An actor, or the environment (None), sends a reward."""
        source = RewardSource(sender_name="liar", value=value, confidence=confidence, **fields)
        reward = Reward(tick_id=tick, receiver_name=receiver, value=99.0, sources=[source])
        if sender is None:
            self.environment(reward=reward)
        else:
            self.actor(sender, reward=reward)

    def message(self, sender: int | None, receiver: str, tick: int = -1) -> None:
        """An actor, or the environment (None), sends a message."""
        message = Message(tick_id=tick, sender_name="liar", receiver_name=receiver)
        if sender is None:
            self.environment(message=message)
        else:
            self.actor(sender, message=message)

    def acknowledge(self) -> None:
        """Everyone acknowledges the end, the environment first."""
        self.environment(LAST_ACK)
        for index in range(len(self.params.actors)):
            self.actor(index, LAST_ACK)

    def pass_time(self, seconds: float) -> None:
        """Let time go by; timers fire when they are due."""
        end = self.clock + seconds
        while due := [timer for timer, time in self.timers.items() if time <= end]:
            timer = min(due, key=lambda timer: self.timers[timer])
            self.clock = self.timers.pop(timer)
            self.trial.timer_fired(timer)
        self.clock = end

    def hear(self) -> list[str]:
        """What the trial has done since this was last asked."""
        said, self.said = self.said, []
        return said

    @property
    def state(self) -> str:
        """The state of the trial."""
        return TrialState.Name(self.trial.state)

    def events(self) -> list[list[str]]:
        """The special events of each sample."""
        return [list(sample.info.special_events) for sample in self.samples]

    # Effects

    def now(self) -> float:
        return self.clock

    def timestamp(self) -> int:
        return START_TIME + int(self.clock * 1e9)

    def connect_actor(self, index: int) -> None:
        self.said.append(f"connect {self.params.actors[index].name}")

    def connect_environment(self) -> None:
        self.said.append("connect env")

    def send_actor(self, index: int, message: ActorRunTrialInput) -> None:
        self.sent_to_actors.append((index, message))
        self.said.append(f"{self.params.actors[index].name}: {describe(message)}")

    def send_environment(self, message: EnvRunTrialInput) -> None:
        self.sent_to_environment.append(message)
        self.said.append(f"env: {describe(message)}")

    def release_actor(self, index: int) -> None:
        self.said.append(f"release {self.params.actors[index].name}")

    def release_environment(self) -> None:
        self.said.append("release env")

    def start_timer(self, timer: Timer, seconds: float) -> None:
        self.timers[timer] = self.clock + seconds

    def stop_timer(self, timer: Timer) -> None:
        self.timers.pop(timer, None)

    def state_changed(self, state: int) -> None:
        self.said.append(TrialState.Name(state))  # type: ignore[arg-type]

    def log_sample(self, sample: DatalogSample) -> None:
        self.samples.append(sample)

    def running(self, kind: TimerKind) -> list[int]:
        """The actors that a timer of this kind runs for."""
        return sorted(timer.actor for timer in self.timers if timer.kind is kind)


def describe(message: Any) -> str:
    """A message in a few words."""
    kind = message.WhichOneof("data")
    if message.state != NORMAL:
        return f"{CommunicationState.Name(message.state)} {message.details}".strip()
    data = getattr(message, kind)
    if kind == "observation":
        return f"observation {data.tick_id} {data.content.decode()}"
    if kind == "action_set":
        missing = f" without {list(data.unavailable_actors)}" if data.unavailable_actors else ""
        return f"actions {data.tick_id} {[action.decode() for action in data.actions]}{missing}"
    if kind == "reward":
        sources = ", ".join(f"{source.sender_name} {source.value:g}*{source.confidence:g}" for source in data.sources)
        return f"reward {data.tick_id} {data.value:g} [{sources}]"
    if kind == "message":
        return f"message {data.tick_id} from {data.sender_name} to {data.receiver_name}"
    return str(kind)
