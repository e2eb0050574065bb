"""The ``cogment`` command, without starting a server."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import pytest

from cogment_services import app
from cogment_services.cli import main
from cogment_services.log_output import LogOptions

VARIABLES = ("COGMENT_", "TRIAL_", "PROMETHEUS_")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of whoever runs the tests do not count."""
    import os

    for name in list(os.environ):
        if name.startswith(VARIABLES):
            monkeypatch.delenv(name)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a command whose server is only made. Returns how it would have been run, and the arguments to make it."""

    def run(*args: str) -> tuple[app.AppOptions, dict[str, Any]]:
        ran: list[Any] = []

        class Recorder:
            def __init__(self, params: Any, hooks: Any, **settings: Any) -> None:
                ran.append({"params": params, "hooks": hooks, **settings})

        def record(make: Any, options: app.AppOptions) -> None:
            make(None)
            ran.append(options)

        monkeypatch.setattr("cogment_services.orchestrator.orchestrator.Orchestrator", Recorder)
        monkeypatch.setattr(app, "run", record)
        main(["services", *args])
        settings, options = ran
        return options, settings

    return run


def fails(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """The one line that a command fails with."""
    with pytest.raises(SystemExit) as caught:
        main(args)
    assert caught.value.code == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("Error: ")
    assert output.err.count("\n") == 1
    return output.err


def test_without_options_the_defaults_count(run) -> None:
    """One port on the loopback address, no files, no metrics, no TLS."""
    options, settings = run("orchestrator")
    assert options == app.AppOptions(name="Orchestrator", log=LogOptions(), grace=5.0)
    assert settings == {
        "params": None,
        "hooks": (),
        "port": 9000,
        "actor_port": 9000,
        "host": "127.0.0.1",
        "tls": None,
        "gc_frequency": 10,
        "max_trials": 10_000,
        "prometheus_registry": None,
    }


@pytest.mark.parametrize(
    ("option", "variable", "name"),
    [
        ("lifecycle_port", "COGMENT_LIFECYCLE_PORT", "port"),
        ("lifecycle_port", "TRIAL_LIFECYCLE_PORT", "port"),
        ("actor_port", "COGMENT_ACTOR_PORT", "actor_port"),
        ("actor_port", "TRIAL_ACTOR_PORT", "actor_port"),
        ("gc_frequency", "COGMENT_GC_FREQUENCY", "gc_frequency"),
        ("max_trials", "COGMENT_ORCHESTRATOR_MAX_TRIALS", "max_trials"),
    ],
)
def test_an_option_comes_before_the_environment(run, monkeypatch, option, variable, name) -> None:
    """The command line counts before the environment, and that before the default; empty is not set."""
    default = run("orchestrator")[1][name]
    monkeypatch.setenv(variable, "")
    assert run("orchestrator")[1][name] == default
    monkeypatch.setenv(variable, "77")
    assert run("orchestrator")[1][name] == 77
    assert run("orchestrator", f"--{option}", "88")[1][name] == 88
    assert run("orchestrator", f"--{option.replace('_', '-')}=99")[1][name] == 99


def test_the_newer_name_in_the_environment_comes_first(run, monkeypatch) -> None:
    """A legacy name only counts without the newer one."""
    monkeypatch.setenv("TRIAL_LIFECYCLE_PORT", "1")
    monkeypatch.setenv("COGMENT_LIFECYCLE_PORT", "2")
    assert run("orchestrator")[1]["port"] == 2


@pytest.mark.parametrize(
    ("option", "variable", "name", "value", "expected"),
    [
        ("params", "COGMENT_DEFAULT_PARAMS_FILE", "params", "p.yaml", "p.yaml"),
        ("host", "COGMENT_ORCHESTRATOR_HOST", "host", "0.0.0.0", "0.0.0.0"),
        ("status_file", "COGMENT_STATUS_FILE", "status_file", "s", "s"),
        ("prometheus_port", "COGMENT_ORCHESTRATOR_PROMETHEUS_PORT", "prometheus_port", "9", 9),
        ("prometheus_port", "PROMETHEUS_PORT", "prometheus_port", "9", 9),
        ("grace", "COGMENT_ORCHESTRATOR_GRACE", "grace", "0.5", 0.5),
    ],
)
def test_other_options(run, monkeypatch, option, variable, name, value, expected) -> None:
    """Each option reaches the server, from the command line and from the environment."""
    for args in ((f"--{option}={value}",), ()):
        options, settings = run("orchestrator", *args)
        assert settings.get(name, getattr(options, name, None)) == expected
        monkeypatch.setenv(variable, value)


def test_hooks_are_lists(run, monkeypatch) -> None:
    """With commas between them, or repeated; in the environment with white space between them."""
    hooks = ("grpc://a:1", "grpc://b:2", "grpc://c:3")
    assert (
        run("orchestrator", "--pre_trial_hooks=grpc://a:1, grpc://b:2", "--pre_trial_hooks=grpc://c:3")[1]["hooks"]
        == hooks
    )
    monkeypatch.setenv("COGMENT_PRE_TRIAL_HOOKS", " ".join(hooks))
    assert run("orchestrator")[1]["hooks"] == hooks


@pytest.mark.parametrize(
    ("before", "after", "environment", "expected"),
    [
        ((), (), "", "info"),
        ((), (), "debug", "debug"),
        (("--log_level=error",), (), "debug", "error"),
        ((), ("--log_level=error",), "debug", "error"),
        (("--log_level=error",), ("--log_level=trace",), "debug", "trace"),
    ],
)
def test_log_options_go_before_or_after_the_name_of_the_server(
    run, monkeypatch, before, after, environment, expected
) -> None:
    """The nearest on the command line counts, then the environment."""
    monkeypatch.setenv("COGMENT_LOG_LEVEL", environment)
    assert run(*before, "orchestrator", *after)[0].log.level == expected


def test_log_file_and_format(run) -> None:
    """They reach the log too."""
    options, _ = run("--log_file=f", "orchestrator", "--log_format=text")
    assert (options.log.file, options.log.format) == ("f", "text")


def test_tls_needs_all_three_files(run, tmp_path, capsys) -> None:
    """Two of three are an error that names the third; files that cannot be read are named."""
    files = {}
    for name in ("private_key", "root_cert", "trust_chain"):
        files[name] = tmp_path / name
        files[name].write_text(f"-----BEGIN {name}-----")
    settings = run("orchestrator", *[f"--{name}={path}" for name, path in files.items()])[1]
    assert settings["tls"].root_cert == "-----BEGIN root_cert-----"
    assert "private_key" not in repr(settings["tls"])
    for name in files:
        given = [f"--{other}={path}" for other, path in files.items() if other != name]
        with pytest.raises(SystemExit):
            run("orchestrator", *given)
        assert f"missing: {name}" in capsys.readouterr().err
        with pytest.raises(SystemExit):
            run("orchestrator", *given, f"--{name}={tmp_path / 'nowhere'}")
        assert "nowhere" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["services", "nonsense"], "No such command 'nonsense'"),
        (["services", "orchestrator", "position"], "unexpected extra argument"),
        (["services", "orchestrator", "--nonsense"], "No such option"),
        (["services", "orchestrator", "--lifecycle_port=many"], "--lifecycle_port"),
        (["services", "orchestrator", "--lifecycle_port=65536"], "--lifecycle_port"),
        (["services", "orchestrator", "--grace=-1"], "--grace"),
        (["services", "orchestrator", "--actor_web_port=80"], "there is no grpc-web port yet"),
        (["services", "orchestrator", "--actor_http_port=80"], "there is no grpc-web port yet"),
        (["services", "orchestrator", "--directory_endpoint=grpc://d:9005"], "there is no Directory yet"),
        (["services", "orchestrator", "--pre_trial_hooks=cogment://discover"], "needs a Directory"),
        (["services", "orchestrator", "--pre_trial_hooks=nonsense"], "nonsense"),
        (["services", "orchestrator", "--params=nowhere.yaml"], "'nowhere.yaml' cannot be read"),
        (["services", "--log_level=loud", "orchestrator"], "there is no log level 'loud'"),
        (["services", "--log_format=xml", "orchestrator"], "there is no log format 'xml'"),
        (["services", "--log_file=/nowhere/log", "orchestrator"], "'/nowhere/log' cannot be written"),
        (["services", "orchestrator", "--status_file=/nowhere/status"], "'/nowhere/status' cannot be written"),
        (["services", "orchestrator", "--host=no such host"], "no such host"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(capsys, args, said) -> None:
    """An error is one line on the standard error output, and the exit code 1."""
    assert said in fails(capsys, *args)


@pytest.mark.parametrize(
    ("args", "said"),
    [([], "services"), (["services"], "orchestrator"), (["services", "orchestrator", "-h"], "COGMENT_LIFECYCLE_PORT")],
)
def test_help_says_what_there_is(capsys, args, said) -> None:
    """A group alone, and --help, print what can be asked for."""
    main(args)
    assert said in capsys.readouterr().out


def test_version_is_one_line(capsys) -> None:
    """``cogment version`` prints the version."""
    main(["version"])
    assert capsys.readouterr().out == metadata.version("cogment-services") + "\n"
