"""``cogment services orchestrator``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from cogment_services.cli.directory_options import directory_options, directory_settings
from cogment_services.cli.join_token import read_join_key
from cogment_services.cli.options import PORT, SPACED_OR_COMMAS, option
from cogment_services.cli.server_options import app_options, secured, server_options
from cogment_services.polling import choose_fast_polling

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from cogment_services import app

__all__ = ["orchestrator"]

_PREFIX = "COGMENT_ORCHESTRATOR_"


@click.command()
@option(
    "--lifecycle_port",
    ["COGMENT_LIFECYCLE_PORT", "TRIAL_LIFECYCLE_PORT"],
    type=PORT,
    metavar="PORT",
    default=9000,
    help="Port for Controllers; 0 lets the system choose.",
)
@option(
    "--actor_port",
    ["COGMENT_ACTOR_PORT", "TRIAL_ACTOR_PORT"],
    type=PORT,
    metavar="PORT",
    default=9000,
    help="Port for client actors; may be the same.",
)
@option("--actor_web_port", "COGMENT_WEB_PROXY_PORT", type=PORT, metavar="PORT", default=0, help="Not available yet.")
@option("--actor_http_port", type=PORT, metavar="PORT", default=0, hidden=True)
@option("--params", "COGMENT_DEFAULT_PARAMS_FILE", help="YAML file of default trial parameters.")
@option(
    "--pre_trial_hooks",
    "COGMENT_PRE_TRIAL_HOOKS",
    help="Endpoints of pre-trial hooks, in order; may be repeated.",
    **SPACED_OR_COMMAS,
)
@directory_options("ORCHESTRATOR", auto_register=True)
@option(
    "--gc_frequency",
    "COGMENT_GC_FREQUENCY",
    type=click.IntRange(0),
    default=10,
    help="Forget ended trials at every so many starts.",
)
@option(
    "--max_trials", f"{_PREFIX}MAX_TRIALS", type=click.IntRange(1), default=10_000, help="Most trials at the same time."
)
@option(
    "--datalog_policy",
    f"{_PREFIX}DATALOG_POLICY",
    type=click.Choice(["stop", "drop"]),
    default="stop",
    help="What happens when there is no room for samples that a datalog does not take: the trial ends, or samples are "
    "dropped and counted.",
)
@option(
    "--datalog_buffer_samples",
    f"{_PREFIX}DATALOG_BUFFER_SAMPLES",
    type=click.IntRange(1),
    default=10_000,
    help="Room for samples that wait for the datalog, of each trial.",
)
@option(
    "--datalog_buffer_bytes",
    f"{_PREFIX}DATALOG_BUFFER_BYTES",
    type=click.IntRange(1),
    default=64 * 2**20,
    help="The same, in bytes.",
)
@option(
    "--datalog_total_bytes",
    f"{_PREFIX}DATALOG_TOTAL_BYTES",
    type=click.IntRange(1),
    default=2**30,
    help="Room for samples that wait for datalogs, of all trials together, in bytes.",
)
@option(
    "--join_key_file",
    f"{_PREFIX}JOIN_KEY_FILE",
    help="File of a secret: client actors have to show a token made with it, see 'cogment client join_token'.",
)
@server_options(_PREFIX, prometheus_names=("PROMETHEUS_PORT",))
def orchestrator(**options: Any) -> None:
    """Run trials: bring environments and actors together, step by step."""
    _refuse_what_is_not_there(options)
    _refuse_what_is_a_mistake(options)
    choose_fast_polling()  # before the following imports, for which it is too late afterwards
    from cogment_core.endpoints import ServiceType
    from cogment_services import app
    from cogment_services.orchestrator.limits import Limits
    from cogment_services.orchestrator.orchestrator import Orchestrator
    from cogment_services.registration import registered
    from cogment_services.tracing import traced, tracer_provider

    tls, directory = secured(options), directory_settings(options)
    join_key = read_join_key(options["join_key_file"]) if options["join_key_file"] else None

    def make(registry: CollectorRegistry | None) -> app.Server:
        provider = tracer_provider("cogment-orchestrator", os.environ)  # here, so that the log says what is wrong
        server = Orchestrator(
            options["params"],
            options["pre_trial_hooks"],
            port=options["lifecycle_port"],
            actor_port=options["actor_port"],
            host=options["host"],
            tls=tls,
            gc_frequency=options["gc_frequency"],
            max_trials=options["max_trials"],
            directory=None if directory is None else directory.endpoint,
            directory_token=None if directory is None else directory.token,
            limits=Limits(
                datalog_samples=options["datalog_buffer_samples"],
                datalog_bytes=options["datalog_buffer_bytes"],
                datalog_total_bytes=options["datalog_total_bytes"],
            ),
            datalog_policy=options["datalog_policy"],
            join_key=join_key,
            prometheus_registry=registry,
            tracer_provider=provider,
        )
        server_in_directory = registered(
            server,
            directory,
            lambda: {ServiceType.CLIENT_ACTOR: server.actor_port, ServiceType.LIFE_CYCLE: server.port},
            host=options["host"],
            tls=tls,
            prometheus_registry=registry,
        )
        return traced(server_in_directory, provider)

    app.run(make, app_options("Orchestrator", options))


def _refuse_what_is_not_there(options: dict[str, Any]) -> None:
    if options["actor_web_port"] or options["actor_http_port"]:
        raise click.UsageError("--actor_web_port: there is no grpc-web port yet; leave it out")


def _refuse_what_is_a_mistake(options: dict[str, Any]) -> None:
    for hook in options["pre_trial_hooks"]:
        if hook.lower().startswith("cogment:") and not options["directory_endpoint"]:
            url = hook.partition("?")[0]  # there may be a token after that
            raise click.UsageError(f"--pre_trial_hooks: {url} needs a Directory: give --directory_endpoint too")
