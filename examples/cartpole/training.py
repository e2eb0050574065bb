"""Learns to balance the pole: the cross-entropy method, on trials.

The method keeps a normal distribution over the weights of the policy. Each generation draws a population of candidates
from it, tries each of them in one episode, and fits the distribution to the best quarter.
(R. Rubinstein, "The Cross-Entropy Method for Combinatorial and Continuous Optimization", 1999.)
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cogment.control import Controller
from cogment.datastore import Datastore
from trials import Endpoints, run_trials, trial_parameters

__all__ = ["SOLVED", "CrossEntropyMethod", "Observer", "Settings", "train"]

SOLVED = 475.0
"""Mean return at which Gymnasium calls CartPole-v1 solved."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """How much to train, and what to call it."""

    run: str
    """Name of this run: a property of its trials."""
    generations: int
    """Generations at most: training ends when the problem is solved."""
    population: int
    """Trials in a generation."""
    parallel: int
    """Trials that run at the same time. It changes how long the training takes, and not what is learned."""
    seed: int


class Observer(Protocol):
    """Hears of the training as it goes on."""

    def training_started(self) -> None: ...

    def trial_ended(self, episode_return: float) -> None: ...

    def generation_ended(self, returns: list[float]) -> None: ...


class CrossEntropyMethod:
    """Finds the ``size`` numbers that make a noisy score as large as possible."""

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self._rng = rng
        self._mean = np.zeros(size)
        self._deviation = np.ones(size)

    def draw(self, population: int) -> Array:
        """Draw candidates, one per row."""
        return self._rng.normal(self._mean, self._deviation, (population, len(self._mean)))

    def fit(self, candidates: Array, scores: Array) -> None:
        """Move to where the best quarter of the candidates is."""
        elite = candidates[np.argsort(-scores, kind="stable")[: max(2, len(scores) // 4)]]
        self._mean, self._deviation = elite.mean(axis=0), elite.std(axis=0)


async def train(
    controller: Controller, datastore: Datastore, endpoints: Endpoints, settings: Settings, observer: Observer
) -> None:
    """Train on trials of the Orchestrator that ``controller`` controls, which are logged to ``datastore``."""
    observer.training_started()
    rng = np.random.default_rng(settings.seed)
    method = CrossEntropyMethod(4, rng)
    for generation in range(1, settings.generations + 1):
        candidates = method.draw(settings.population)
        seeds = rng.integers(2**32, size=settings.population).tolist()
        properties = {"run": settings.run, "generation": str(generation)}
        parameters = [
            trial_parameters(endpoints, weights, seed, properties)
            for weights, seed in zip(candidates.tolist(), seeds, strict=True)
        ]
        returns = np.zeros(settings.population)
        async for index, episode_return in run_trials(controller, datastore, parameters, settings.parallel):
            returns[index] = episode_return
            observer.trial_ended(episode_return)
        method.fit(candidates, returns)
        observer.generation_ended(returns.tolist())
        if returns.mean() >= SOLVED:
            return
