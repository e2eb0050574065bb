"""Trials in thousands of random worlds.

``COGMENT_SIMULATION_SEEDS`` says how many (default 5000), ``COGMENT_SIMULATION_FIRST_SEED`` where they begin. A seed
that breaks a rule is told with its whole story; ``run(seed)`` tells it again.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator

import pytest
from trialsim import World, run

SEEDS = int(os.environ.get("COGMENT_SIMULATION_SEEDS", "5000"))
FIRST_SEED = int(os.environ.get("COGMENT_SIMULATION_FIRST_SEED", "0"))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Lying peers are complained about thousands of times."""
    logger = logging.getLogger("cogment.sdk")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


@pytest.mark.timeout(60 + SEEDS // 50)
def test_a_trial_keeps_its_rules_in_every_world() -> None:
    """Whatever its peers do and whenever, a trial keeps the rules that the referee knows, and comes to its end."""
    for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
        run(seed)


def test_a_seed_always_gives_the_same_run() -> None:
    """A failing seed can be run again: the same number gives the same story, word for word."""
    for seed in range(50):
        assert run(seed).describe(ValueError()) == run(seed).describe(ValueError())


def test_the_worlds_are_as_varied_as_they_should_be() -> None:
    """The rules are tried where they matter: every way to end, in every shape, occurs many times."""
    met = Counter[str]()
    for seed in range(2000):
        met.update(features(run(seed)))
    expected = {
        "ended as it should",
        "Externally requested",
        "Failed to initialize all actors",
        "Failed to initialize environment",
        "Environment failed to end properly",
        "The trial was inactive for too long",
        "Action processing requirement failure [Environment stream failure]",
        "Action processing requirement failure [Required actors",
        "PROTOCOL_ERROR",
        "DATALOG_LOST",
        "default action",
        "unavailable actor",
        "out of sync",
        "input while busy",
        "joined when over",
        "stopped timer fired",
        "nobody takes part",
    }
    assert {feature: count for feature, count in met.items() if count < 3} == {}
    assert expected - set(met) == set()


def features(world: World) -> Iterator[str]:
    """What there is to find in a run."""
    reason = world.trial.end_reason or "ended as it should"
    yield reason.partition(":")[0].partition(" [Required actors [")[0] + (" [Required actors" * ("[Required" in reason))
    stories = {what for _, what, _ in world.trace}
    if "> stopped timer" in stories:
        yield "stopped timer fired"
    sets = world.referee.sets.values()
    if any(b"default" in b"".join(action_set.actions) for action_set in sets):
        yield "default action"
    if any(action_set.unavailable_actors for action_set in sets):
        yield "unavailable actor"
    if any(len(action_set.unavailable_actors) == len(action_set.actions) for action_set in sets):
        yield "nobody takes part"
    if any(sample.info.out_of_sync for sample in world.samples):
        yield "out of sync"
    if world.was_busy:
        yield "input while busy"
    ended = [position for position, (_, what, detail) in enumerate(world.trace) if detail == "ENDED"]
    if any(what == "> joined" for _, what, _ in world.trace[ended[0] :]):
        yield "joined when over"
