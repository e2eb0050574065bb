"""A seeded simulator of the world around one trial.

`run` makes a world from a number: parameters, an environment, actors, a network with delays, people who terminate
trials; honest, slow, dying and lying ones. It runs a trial in it, message by message on a virtual clock, and a referee
checks each thing that the trial does. The same number gives the same run.
"""

from .referee import Violation
from .scenario import Scenario
from .world import World, run

__all__ = ["Scenario", "Violation", "World", "run"]
