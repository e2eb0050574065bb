"""Modules that the existing SDK's generator made, and that projects have checked in, keep working."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Project

EXISTING = """
import cogment as _cog
from types import SimpleNamespace

import data_pb2 as data_pb


_player_class = _cog.actor.ActorClass(
    name='player',
    config_type=None,
    action_space=data_pb.Action,
    observation_space=data_pb.Observation
)

_judge_class = _cog.actor.ActorClass(
    name='judge',
    config_type=data_pb.TrialConfig,
    action_space=data_pb.Action,
    observation_space=data_pb.Observation
)


actor_classes = _cog.actor.ActorClassList(
    _player_class,
    _judge_class
)

trial = SimpleNamespace(config_type=data_pb.TrialConfig)

# Environment
environment = SimpleNamespace(config_type=None)
"""
USE = """
import cog_settings, cogment, data_pb2
assert isinstance(cog_settings.actor_classes.player, cogment.ActorClass)
assert cog_settings.actor_classes.get_class_by_index(1).config_type is data_pb2.TrialConfig
params = cogment.TrialParameters(cog_settings, max_steps=3)
params.config = data_pb2.TrialConfig(rounds=2)
params.actors = [cogment.ActorParameters(cog_settings, "judge", name="j", config=data_pb2.TrialConfig(rounds=4))]
again = cogment.TrialParameters(cog_settings)
again.deserialize(params.serialize())
assert again.config.rounds == 2 and again.actors[0].config.rounds == 4
assert cogment.Context("me", cog_settings, prometheus_registry=None).has_specs()
print(*(actor_class.name for actor_class in cog_settings.actor_classes))
"""
BLOCKED = ("cogment_generate", "grpc_tools", "jinja2", "yaml")


@pytest.fixture
def with_modules(project: Project) -> Project:
    """Where ``data_pb2`` is generated."""
    project.generate()
    return project


def test_a_module_of_the_existing_generator_works(with_modules: Project) -> None:
    """It is constructed through ``cogment.actor`` and serves parameters and Contexts."""
    with_modules.write("out/cog_settings.py", EXISTING)
    assert with_modules.run(USE, blocked=BLOCKED) == "player judge"


def test_a_module_of_this_generator_serves_the_same_program(with_modules: Project) -> None:
    """The same use of the same spec."""
    spec = (with_modules.folder / "cogment.yaml").read_text()
    spaces = "action: {space: game.Action}, observation: {space: game.Observation}"
    judge = f"  - {{name: judge, config_type: game.TrialConfig, {spaces}}}\n"
    with_modules.write("cogment.yaml", spec + judge)
    with_modules.generate()
    assert with_modules.run(USE, blocked=BLOCKED) == "player judge"
