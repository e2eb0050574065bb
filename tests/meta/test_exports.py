"""What `import cogment` gives: names, modules, and how much it loads."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path

import pytest

import cogment
import cogment.api
import cogment_core.api

NAMES = {
    "ActorClass",
    "ActorClassList",
    "ActorParameters",
    "ActorStatus",
    "CogmentError",
    "Context",
    "DatastoreFields",
    "Endpoint",
    "EventType",
    "GrpcMetadata",
    "LogParams",
    "LogSample",
    "ServedEndpoint",
    "TrialParameters",
    "TrialState",
    "__version__",
    "make_logger",
}
"""The names that programs use from ``cogment`` itself."""

MODULES = {
    "actor": "ActorSession ActorClass ActorClassList",
    "context": "Context",
    "control": "Controller TrialInfo TrialState",
    "datalog": "DatalogSession LogSample LogParams",
    "datastore": "Datastore DatastoreFields DatastoreTrialInfo DatastoreSample DatastoreActorData DatastoreReward "
    "DatastoreMessage",
    "directory": "Directory ServiceType",
    "endpoints": "Endpoint ServedEndpoint",
    "environment": "EnvironmentSession",
    "errors": "CogmentError CogmentGenerateError",
    "grpc_metadata": "GrpcMetadata",
    "model_registry_v2": "ModelRegistry ModelInfo ModelIterationInfo LatestModel",
    "parameters": "TrialParameters ActorParameters",
    "prehook": "PrehookSession",
    "session": "Session ActorInfo RecvEvent RecvObservation RecvAction RecvReward RecvRewardSource RecvMessage",
    "utils": "logger make_logger",
    "version": "__version__",
}
"""The modules that programs import, and the names that they import from them."""

API_MODULES = sorted(path.stem for path in Path(cogment_core.api.__path__[0]).glob("*_pb2*.py"))


def run(code: str) -> str:
    """What ``code`` prints in a fresh interpreter."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=50)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_all_names_what_programs_use() -> None:
    """``cogment.__all__`` is the list of public names, and each of them is there."""
    assert set(cogment.__all__) == NAMES
    assert len(cogment.__all__) == len(NAMES)
    for name in NAMES:
        getattr(cogment, name)


@pytest.mark.parametrize("module", MODULES)
def test_module_has_its_names(module: str) -> None:
    """Each module that programs import has the names that they import from it, and ``__all__`` says so."""
    imported = import_module(f"cogment.{module}")
    wanted = set(MODULES[module].split())
    assert wanted <= set(imported.__all__)
    for name in imported.__all__:
        getattr(imported, name)


def test_import_cogment_gives_the_modules() -> None:
    """``import cogment`` alone makes the modules attributes; not the generator's, which need not be installed."""
    names = [*MODULES, "api"]
    assert run(f"import cogment; print([name for name in {names} if not hasattr(cogment, name)])") == "[]"
    assert run("import cogment, sys; print('cogment.generate' in sys.modules)") == "False"


def test_the_same_class_everywhere() -> None:
    """A class is one object, whichever module it is imported from."""
    assert cogment.TrialState is cogment.control.TrialState
    assert cogment.Context is cogment.context.Context
    assert cogment.ActorClass is cogment.actor.ActorClass
    assert cogment.LogSample is cogment.datalog.LogSample
    assert cogment.CogmentError is cogment.errors.CogmentError


def test_every_module_of_the_protocol_is_there() -> None:
    """``cogment.api`` lists all generated modules."""
    assert sorted(cogment.api.__all__) == API_MODULES
    assert len(API_MODULES) == 18


@pytest.mark.parametrize("name", API_MODULES)
def test_api_modules_are_those_of_core(name: str) -> None:
    """``cogment.api.x_pb2`` is the very module ``cogment_core.api.x_pb2``, so their messages are of one type."""
    assert import_module(f"cogment.api.{name}") is import_module(f"cogment_core.api.{name}")
    assert getattr(cogment.api, name) is import_module(f"cogment_core.api.{name}")


@pytest.mark.parametrize(
    "code",
    [
        "import cogment; cogment.api.trial_datastore_pb2.StoredTrialInfo",
        "import cogment.api.orchestrator_pb2_grpc as services; services.TrialLifecycleSPStub",
        "from cogment.api import common_pb2; common_pb2.TrialParams()",
        "from cogment.api.datalog_pb2 import DatalogSample; DatalogSample()",
    ],
)
def test_api_modules_can_be_imported_in_every_way(code: str) -> None:
    """The protocol's modules can be reached by attribute and by every form of import, first thing in a program."""
    run(code)


def test_version_is_the_installed_one() -> None:
    """``cogment.__version__`` and ``cogment.version.__version__`` are the version of the distribution."""
    assert cogment.__version__ == cogment.version.__version__ == metadata.version("cogment")


@pytest.mark.parametrize("module", ["cogment", "cogment.api", "cogment.version"])
def test_unknown_attribute_is_an_attribute_error(module: str) -> None:
    """A name that is not there is an ``AttributeError`` that says where it was looked for."""
    with pytest.raises(AttributeError, match=f"{module}.*nonsense"):
        _ = import_module(module).nonsense


def test_import_loads_nothing_that_takes_long_and_is_not_needed() -> None:
    """``import cogment`` leaves metrics, package metadata, YAML and the generator to those who use them."""
    slow = ["prometheus_client", "importlib.metadata", "yaml", "jinja2", "grpc_tools.protoc", "difflib", "http.server"]
    code = f"import cogment, sys; print([name for name in {slow} if name in sys.modules])"
    assert run(code) == "[]"


def test_public_classes_and_methods_say_what_they_do() -> None:
    """Everything public that users meet has a docstring."""
    silent: list[str] = []
    for module in MODULES:
        imported = import_module(f"cogment.{module}")
        for name in imported.__all__:
            item = getattr(imported, name)
            if not inspect.isclass(item):
                continue
            members = {f"{name}.{key}": value for key, value in vars(item).items() if not key.startswith("_")}
            documented = {name: item, **{key: value for key, value in members.items() if inspect.isroutine(value)}}
            silent += [key for key, value in documented.items() if not inspect.getdoc(value)]
    assert not silent
