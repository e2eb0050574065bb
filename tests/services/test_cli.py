"""The ``cogment`` command, without starting a server."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import pytest
import trustme

from cogment_core.join_tokens import JoinTokens
from cogment_services import app
from cogment_services.cli import main
from cogment_services.cli.terminal import standard_output_guarded
from cogment_services.log_output import LogOptions
from cogment_services.orchestrator.limits import Limits

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


DATALOG = "COGMENT_ORCHESTRATOR_DATALOG"


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
        "limits": Limits(),
        "directory": None,
        "directory_token": None,
        "datalog_policy": "stop",
        "join_key": None,
        "prometheus_registry": None,
        "tracer_provider": None,
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
        ("host", "COGMENT_ORCHESTRATOR_HOST", "host", "127.0.0.2", "127.0.0.2"),
        ("status_file", "COGMENT_STATUS_FILE", "status_file", "s", "s"),
        ("prometheus_port", "COGMENT_ORCHESTRATOR_PROMETHEUS_PORT", "prometheus_port", "9", 9),
        ("prometheus_port", "PROMETHEUS_PORT", "prometheus_port", "9", 9),
        ("grace", "COGMENT_ORCHESTRATOR_GRACE", "grace", "0.5", 0.5),
        ("datalog_policy", f"{DATALOG}_POLICY", "datalog_policy", "drop", "drop"),
        ("datalog_buffer_samples", f"{DATALOG}_BUFFER_SAMPLES", "limits", "9", Limits(datalog_samples=9)),
        ("datalog_buffer_bytes", f"{DATALOG}_BUFFER_BYTES", "limits", "9", Limits(datalog_bytes=9)),
        ("datalog_total_bytes", f"{DATALOG}_TOTAL_BYTES", "limits", "9", Limits(datalog_total_bytes=9)),
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


def test_tls_needs_a_key_and_its_certificate(run, tmp_path, capsys) -> None:
    """One without the other is an error that names what is missing; with an authority, peers have to be certified."""
    authority = trustme.CA()
    files = {name: tmp_path / name for name in ("private_key", "trust_chain", "root_cert")}
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(str(files["private_key"]))
    certificate.cert_chain_pems[0].write_to_path(str(files["trust_chain"]))
    authority.cert_pem.write_to_path(str(files["root_cert"]))
    given = [f"--{name}={path}" for name, path in files.items()]
    tls = run("orchestrator", *given)[1]["tls"]
    assert tls.is_mutual
    assert "PRIVATE" not in repr(tls)
    assert not run("orchestrator", *given[:2])[1]["tls"].is_mutual
    for name, rest in (("private_key", given[1:]), ("trust_chain", [given[0], given[2]])):
        with pytest.raises(SystemExit):
            run("orchestrator", *rest)
        assert f"missing: {name}" in capsys.readouterr().err
        with pytest.raises(SystemExit):
            run("orchestrator", *rest, f"--{name}={tmp_path / 'nowhere'}")
        assert "nowhere" in capsys.readouterr().err


@pytest.mark.parametrize("server", ["directory", "model_registry", "orchestrator", "trial_datastore"])
def test_listening_wider_than_this_machine_has_to_be_asked_for(server, capsys) -> None:
    """F13: without mutual TLS, no server listens on other addresses, unless it is told that this is what is wanted."""
    assert "--insecure" in fails(capsys, "services", server, "--host=0.0.0.0")


def test_insecure_lets_a_server_listen_wider(run) -> None:
    """What was asked for is done."""
    assert run("orchestrator", "--host=0.0.0.0", "--insecure")[1]["host"] == "0.0.0.0"


@pytest.mark.parametrize("server", ["directory", "model_registry", "orchestrator", "trial_datastore"])
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.org"])
def test_serving_metrics_wider_than_this_machine_has_to_be_asked_for(server, host, capsys) -> None:
    """F13: nothing is in front of metrics, whatever the server itself asks for."""
    told = fails(capsys, "services", server, *_mutual_tls(), "--prometheus_port=9", f"--prometheus_host={host}")
    assert "--insecure" in told


def test_metrics_are_not_served_where_the_server_listens(run) -> None:
    """The address of the server says nothing about metrics; with ``--insecure`` they are served where they should."""
    metrics = ("--prometheus_port=9", "--host=0.0.0.0")
    assert run("orchestrator", *_mutual_tls(), *metrics)[0].prometheus_host == "127.0.0.1"
    assert run("orchestrator", "--insecure", *metrics)[0].prometheus_host == "127.0.0.1"
    assert run("orchestrator", "--insecure", *metrics, "--prometheus_host=::")[0].prometheus_host == "::"


def _mutual_tls() -> list[str]:
    folder = Path(__file__).parents[1] / "data" / "tls"
    files = {"private_key": "server.key", "trust_chain": "server.pem", "root_cert": "ca.pem"}
    return [f"--{name}={folder / file}" for name, file in files.items()]


def test_the_key_for_join_tokens_is_read_from_a_file(run, tmp_path, capsys) -> None:
    """White space around it is not part of it; the tokens that the command makes are let in with it."""
    file = tmp_path / "key"
    file.write_text("  a secret of enough bytes\n")
    assert run("orchestrator", f"--join_key_file={file}")[1]["join_key"] == b"a secret of enough bytes"
    capsys.readouterr()
    main(["client", "join_token", "trial", "alice", f"--join_key_file={file}"])
    seat = JoinTokens("a secret of enough bytes").check(capsys.readouterr().out.strip())
    assert (seat.trial_id, seat.actor_name) == ("trial", "alice")
    with pytest.raises(SystemExit):
        run("orchestrator", f"--join_key_file={tmp_path / 'nowhere'}")
    assert "cannot be read" in capsys.readouterr().err


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
        (["services", "orchestrator", "--datalog_policy=wait"], "--datalog_policy"),
        (["services", "orchestrator", "--datalog_buffer_samples=0"], "--datalog_buffer_samples"),
        (["services", "orchestrator", "--actor_web_port=80"], "there is no grpc-web port yet"),
        (["services", "orchestrator", "--actor_http_port=80"], "there is no grpc-web port yet"),
        (["services", "orchestrator", "--directory_endpoint=nonsense"], "nonsense"),
        (["services", "orchestrator", "--directory_registration_properties==b"], "name=value"),
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


@pytest.mark.parametrize("asked", ["version", "--version"])
def test_version_is_one_line(capsys, asked: str) -> None:
    """``cogment version`` and ``cogment --version`` print the version."""
    main([asked])
    assert capsys.readouterr().out == metadata.version("cogment-services") + "\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no file that is always full")
@pytest.mark.parametrize("args", [["version"], ["services", "directory", "--port=0", "--persistence_file="]])
def test_a_full_disk_is_told_in_one_line(args) -> None:
    """Output that cannot be written is an error of one line, and a server that cannot tell where it listens stops."""
    command = [sys.executable, "-m", "cogment_services", *args]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=50)
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if "[INFO]" not in line] == [
        "Error: the output cannot be written: No space left on device"
    ]


def test_results_may_be_unwanted(monkeypatch) -> None:
    """Commands work where the standard output is closed."""
    monkeypatch.setattr(sys, "stdout", None)
    with standard_output_guarded():
        click.echo("nobody reads this")
