"""What a number makes of the world: the parameters of a trial, and the characters in it."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from cogment_core.api.common_pb2 import TrialParams

CLASSES = ("player", "judge")


@dataclass
class Character:
    """How a peer behaves. Counts are of messages that it has received; 0 means never."""

    dies_after: int = 0
    """It closes its stream when it has received so many messages."""
    freezes_after: int = 0
    """It does nothing from then on, its stream stays open."""
    lies_after: int = 0
    """It breaks the protocol once then."""
    lie: int = 0
    """Which of the lies it tells."""
    refuses: bool = False
    """It closes its stream at once."""
    silent_at_end: bool = False
    """It never acknowledges the end."""
    chatty: bool = False
    """It sends rewards, messages and heartbeats along."""
    slow: float = 0.0
    """Seconds by which its answers are late at times."""
    explicit_ticks: bool = True
    """It says which tick it means."""
    in_process: bool = False
    """It gets and answers messages within the call that sends them."""
    hasty: bool = False
    """As environment: it does not always wait for the actions."""

    @property
    def honest(self) -> bool:
        """Whether it does its part in the trial, in time or not."""
        return not (self.dies_after or self.freezes_after or self.lies_after or self.refuses)


@dataclass
class Scenario:
    """A trial and all that happens around it."""

    seed: int
    params: TrialParams
    client_slots: list[bool]
    logged: bool
    environment: Character
    actors: list[Character]
    environment_ends_at: int
    """Tick of the environment's last observations if it ends the trial, -1 if it never does."""
    joins: list[tuple[float, int, bool]]
    """When a client tries to join as which actor, by class or by name."""
    terminations: list[tuple[float, bool]]
    """When someone terminates the trial, and whether hard."""
    datalog_lost_at: int
    """The datalog has no room for the sample with this number, and the policy is to end the trial; -1 for never."""

    @property
    def peaceful(self) -> bool:
        """Whether nothing keeps the trial from its regular end."""
        characters = [self.environment, *self.actors]
        patient = self.params.max_inactivity == 0 and all(
            actor.response_timeout == 0 and actor.initial_connection_timeout == 0 for actor in self.params.actors
        )
        joined = {index for _, index, _ in self.joins}
        complete = all(index in joined for index, client in enumerate(self.client_slots) if client)
        well = all(character.honest and not character.silent_at_end for character in characters)
        stored = not self.logged or self.datalog_lost_at < 0
        return patient and complete and well and stored and not any(hard for _, hard in self.terminations)


def make_scenario(seed: int) -> Scenario:
    """The scenario with this number."""
    rng = Random(seed)
    peaceful = rng.random() < 0.3
    count = rng.choice((1, 1, 2, 3, 4))
    client_slots = [rng.random() < 0.3 for _ in range(count)]
    params = _params(rng, count, peaceful)
    ends = rng.randrange(0, 8)
    if params.max_steps and rng.random() < 0.7:
        ends = -1
    terminations = [(rng.expovariate(1.0), not peaceful and rng.random() < 0.5) for _ in range(_few(rng))]
    if ends < 0 and not params.max_steps and not terminations:
        terminations.append((rng.expovariate(1.0), False))
    if not params.max_inactivity and not peaceful:
        terminations.append((400.0, True))
    return Scenario(
        seed=seed,
        params=params,
        client_slots=client_slots,
        logged=rng.random() < 0.7,
        environment=_character(rng, peaceful),
        actors=[_character(rng, peaceful) for _ in range(count)],
        environment_ends_at=ends,
        joins=_joins(rng, client_slots, peaceful),
        terminations=terminations,
        datalog_lost_at=-1 if peaceful else _datalog_lost_at(Random(seed + 3)),
    )


def _datalog_lost_at(rng: Random) -> int:
    return rng.randrange(8) if rng.random() < 0.1 else -1


def _few(rng: Random) -> int:
    return rng.choice((0, 0, 0, 1, 1, 2))


def _params(rng: Random, count: int, peaceful: bool) -> TrialParams:
    params = TrialParams(
        max_steps=rng.choice((0, 0, 1, 3, 6)),
        max_inactivity=0 if peaceful else rng.choice((0, 4)),
        nb_buffered_ticks=rng.choice((2, 2, 3, 5)),
    )
    params.environment.name = "world"
    for index in range(count):
        actor = params.actors.add(name=f"a{index}", actor_class=rng.choice(CLASSES), optional=rng.random() < 0.4)
        if not peaceful:
            actor.response_timeout = rng.choice((0.0, 0.0, 0.5))
            actor.initial_connection_timeout = rng.choice((0.0, 1.0))
        if rng.random() < 0.3:
            actor.default_action.content = f"default:{index}".encode()
    return params


def _character(rng: Random, peaceful: bool) -> Character:
    character = Character(
        chatty=rng.random() < 0.5,
        explicit_ticks=rng.random() < 0.5,
        in_process=rng.random() < 0.3,
        slow=rng.choice((0.0, 0.0, 0.0, 0.3, 2.0)),
        hasty=not peaceful and rng.random() < 0.1,
    )
    if peaceful or rng.random() < 0.5:
        return character
    after = rng.randrange(1, 10)
    trouble = rng.choice(("dies", "dies", "freezes", "lies", "lies", "refuses", "silent"))
    if trouble == "dies":
        character.dies_after = after
    elif trouble == "freezes":
        character.freezes_after = after
    elif trouble == "lies":
        character.lies_after, character.lie = after, rng.randrange(1000)
    elif trouble == "refuses":
        character.refuses = True
    else:
        character.silent_at_end = True
    return character


def _joins(rng: Random, client_slots: list[bool], peaceful: bool) -> list[tuple[float, int, bool]]:
    joins = []
    for index, client in enumerate(client_slots):
        if client and (peaceful or rng.random() < 0.85):
            joins.append((rng.choice((0.0, rng.expovariate(2.0))), index, not peaceful and rng.random() < 0.3))
        if rng.random() < 0.1:  # whatever the slot is, somebody may try
            joins.append((rng.expovariate(1.0) + (5.0 if peaceful and client else 0.0), index, False))
    return joins
