"""What the README and the documentation show works: programs run, fragments use names that exist, facts are so."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import pytest
from docs_pages import DOCS, PAGES, README, ROOT, TOUR, Block, blocks_of, commands_of, name_of
from docs_story import NOT_RUN, Story
from prometheus_client import CollectorRegistry

import cogment
import cogment.datastore
import cogment.environment
import cogment.prehook
from cogment_core.fields import Fields
from cogment_core.metrics import ActorMetrics, EnvironmentMetrics, RegistrationMetrics
from cogment_services.cli.orchestrator import orchestrator as orchestrator_command
from cogment_services.datastore import TrialDatastore
from cogment_services.datastore.metrics import DatastoreMetrics
from cogment_services.directory.metrics import DirectoryMetrics
from cogment_services.model_registry.metrics import RegistryMetrics
from cogment_services.orchestrator import Orchestrator
from cogment_services.orchestrator.metrics import OrchestratorMetrics
from cogment_services.orchestrator.params_file import parse_params

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
PYTHON = [block for block in BLOCKS if block.language == "python"]
PLAYED = list(
    dict.fromkeys(
        block.page
        for block in BLOCKS
        if block.language == "sh" and any(not command.startswith(NOT_RUN) for command in commands_of(block.text))
    )
)
OWN_MODULES = {"cog_settings", "data_pb2"} | {block.title.removesuffix(".py") for block in PYTHON if block.title}
"""Modules that the pages make themselves."""

README_SOURCES = [DOCS / "howto" / "processes.md", TOUR]
"""Pages with the files that the README shows, too."""

MOST_COLUMNS = 88
"""Longest line that a page shows without a scroll bar."""

SUBJECTS: dict[str, Sequence[type]] = {
    "session": (
        cogment.actor.ActorSession,
        cogment.environment.EnvironmentSession,
        cogment.datalog.DatalogSession,
        cogment.prehook.PrehookSession,
    ),
    "context": (cogment.Context,),
    "controller": (cogment.control.Controller,),
    "orchestrator": (Orchestrator,),
    "event": (cogment.session.RecvEvent,),
    "params": (cogment.TrialParameters,),
    "endpoint": (cogment.Endpoint,),
    "served": (cogment.ServedEndpoint,),
    "sample": (cogment.LogSample, cogment.datastore.DatastoreSample),
    "data": (cogment.datastore.DatastoreActorData,),
    "datastore": (cogment.datastore.Datastore, TrialDatastore),
    "info": (
        cogment.control.TrialInfo,
        cogment.datastore.DatastoreTrialInfo,
        cogment.model_registry_v2.ModelIterationInfo,
    ),
    "registry": (cogment.model_registry_v2.ModelRegistry,),
    "latest": (cogment.model_registry_v2.LatestModel,),
}
"""What the variables on the pages are, by name."""


# --- code -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PLAYED, ids=name_of)
def test_programs_run(story: Story, page: Path) -> None:
    """Played from top to bottom, each page does what it says: commands succeed, and print what is shown."""
    if "openssl " in page.read_text() and shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    story.play(page)


def test_the_readme_stands_alone(empty_story: Story) -> None:
    """The program in the README needs nothing but an empty folder."""
    assert README in PLAYED
    empty_story.play(README)


def test_the_readme_shows_what_the_documentation_shows() -> None:
    """A file that is in the README and in the tour, or among the processes, is the same in both."""
    elsewhere = {block.title: block for page in README_SOURCES for block in blocks_of(page) if block.title}
    shown = [block for block in blocks_of(README) if block.title]
    assert [block.title for block in shown if block.text != elsewhere[block.title].text] == []


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_uses_what_exists(block: Block) -> None:
    """Each block of Python compiles; what it takes from modules, sessions, Contexts and so on is there."""
    compile(block.text, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    tree = ast.parse(block.text)
    for module, name in names_of_modules(tree):
        if module not in OWN_MODULES:
            assert not name or hasattr(importlib.import_module(module), name), f"{module}.{name}"
    for node in attributes(tree):
        kinds = SUBJECTS.get(node.value.id, ())
        assert not kinds or any(node.attr in members(kind) for kind in kinds), ast.unparse(node)


def names_of_modules(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The modules that ``tree`` imports, and the names that it takes from them."""
    modules = {"cogment": "cogment"}  # fragments need not say so
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)
    yield from ((module, "") for module in modules.values())
    for node in attributes(tree):
        if node.value.id in modules:
            yield modules[node.value.id], node.attr


def attributes(tree: ast.Module) -> Iterator[ast.Attribute]:
    """What is written as ``name.attribute``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node


def members(kind: type) -> set[str]:
    """The attributes of ``kind`` and of its instances."""
    found = set(dir(kind))
    for base in kind.__mro__:
        if base.__module__.startswith("cogment"):
            assigned = re.findall(r"\bself\.(\w+)", inspect.getsource(base))
            found |= {*inspect.get_annotations(base), *assigned}
    return found


def test_code_fits_the_page() -> None:
    """No block is so wide that it has to be scrolled."""
    wide = [f"{block}: {line}" for block in BLOCKS for line in block.text.splitlines() if len(line) > MOST_COLUMNS]
    assert not wide


# --- facts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_paths_of_the_repository_exist(page: Path) -> None:
    """What a page says is in the repository is there."""
    folders = "tests|examples|benchmarks|packages|proto|docs|scripts"
    paths = re.findall(rf"`((?:{folders})/[\w./-]*)`", page.read_text())
    assert not [path for path in paths if not (ROOT / path).exists()]


def test_every_page_is_in_the_navigation() -> None:
    """No page is left out of ``mkdocs.yml``."""
    navigation = (ROOT / "mkdocs.yml").read_text()
    assert not [page for page in PAGES if page != README and f": {page.relative_to(DOCS)}\n" not in navigation]


@pytest.mark.parametrize("block", [block for block in BLOCKS if "trial_params:" in block.text], ids=str)
def test_parameter_files_can_be_read(block: Block) -> None:
    """The Orchestrator reads the files of default parameters that are shown."""
    assert parse_params(block.text).actors


def test_all_options_of_the_command_are_listed() -> None:
    """The table has the options of ``cogment services orchestrator``, with their environment variables and defaults."""
    page = (DOCS / "howto" / "processes.md").read_text()
    rows = re.findall(r"^\| (`--.*?) \| (.*?) \| (.*?) \|", page, re.M)
    listed = {name: (variables, default) for names, variables, default in rows for name in re.findall(r"--\w+", names)}
    shown = {}
    for option in orchestrator_command.params:
        assert isinstance(option, click.Option)
        if not option.hidden and "Not available yet" not in (option.help or ""):
            variables = option.envvar if isinstance(option.envvar, list) else [option.envvar]
            shown[option.opts[0]] = (variables[0], option.default)
    assert listed.keys() == shown.keys()
    for name, (variable, default) in shown.items():
        assert f"`{variable}`" in listed[name][0], name
        if isinstance(default, (int, float, str)):
            written = str(default).removesuffix(".0")
            assert listed[name][1] == (written.lower() if isinstance(default, bool) else written), name


def test_all_metrics_are_listed() -> None:
    """The table has the metrics that are served, and no others."""
    registry = CollectorRegistry()
    ActorMetrics(registry)
    EnvironmentMetrics(registry)
    OrchestratorMetrics(registry)
    RegistrationMetrics(registry)
    DatastoreMetrics(registry, int)
    RegistryMetrics(registry, int)
    DirectoryMetrics(registry)
    counters = {f"{metric.name}_total" for metric in registry.collect() if metric.type == "counter"}
    others = {metric.name for metric in registry.collect() if metric.type != "counter"}
    table = re.findall(r"^\| (`\w+_\w+`.*?) \|", (DOCS / "howto" / "metrics.md").read_text(), re.M)
    assert set(re.findall(r"`(\w+)`", " ".join(table))) == counters | others


@pytest.mark.parametrize("kind", [cogment.TrialParameters, cogment.ActorParameters])
def test_all_parameters_are_listed(kind: type[Fields]) -> None:
    """The tables of the reference have all attributes of parameters."""
    page = (DOCS / "reference" / "parameters.md").read_text()
    tables = dict(
        zip([cogment.TrialParameters, cogment.ActorParameters], page.split("### Attributes")[1:], strict=True)
    )
    cells = re.findall(r"^\| (`.*?) \|", tables[kind], re.M)
    assert set(re.findall(r"`(\w+)`", " ".join(cells))) == set(kind.fields)
