"""``cogment services orchestrator``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from cogment_services.cli.options import PORT, SPACED_OR_COMMAS, log_options, log_settings, option
from cogment_services.polling import choose_fast_polling

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from cogment_services.orchestrator.orchestrator import Orchestrator

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
@option("--host", f"{_PREFIX}HOST", default="127.0.0.1", help="Address to listen on; 0.0.0.0 or :: for all.")
@option("--params", "COGMENT_DEFAULT_PARAMS_FILE", help="YAML file of default trial parameters.")
@option(
    "--pre_trial_hooks",
    "COGMENT_PRE_TRIAL_HOOKS",
    help="Endpoints of pre-trial hooks, in order; may be repeated.",
    **SPACED_OR_COMMAS,
)
@option("--directory_endpoint", "COGMENT_DIRECTORY_ENDPOINT", help="Not available yet.")
@option("--directory_authentication_token", "COGMENT_DIRECTORY_AUTHENTICATION_TOKEN", hidden=True)
@option("--directory_auto_register", f"{_PREFIX}DIRECTORY_AUTO_REGISTER", type=bool, default=True, hidden=True)
@option("--directory_registration_host", f"{_PREFIX}DIRECTORY_REGISTRATION_HOST", hidden=True)
@option("--directory_registration_properties", f"{_PREFIX}DIRECTORY_REGISTRATION_PROPERTIES", hidden=True)
@option(
    "--prometheus_port",
    [f"{_PREFIX}PROMETHEUS_PORT", "PROMETHEUS_PORT"],
    type=PORT,
    metavar="PORT",
    default=0,
    help="Port for metrics; 0 for none.",
)
@option("--status_file", "COGMENT_STATUS_FILE", help="File that I, R and T are appended to: starting, ready, stopped.")
@option("--private_key", "COGMENT_PRIVATE_KEY_FILE", help="PEM file, for mutual TLS: all three or none.")
@option("--root_cert", "COGMENT_ROOT_CERT_FILE", help="PEM file, for mutual TLS.")
@option("--trust_chain", "COGMENT_TRUST_CHAIN_FILE", help="PEM file, for mutual TLS.")
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
    "--grace",
    f"{_PREFIX}GRACE",
    type=click.FloatRange(0),
    default=5.0,
    help="Seconds that trials have to end when the server is stopped.",
)
@log_options
def orchestrator(**options: Any) -> None:
    """Run trials: bring environments and actors together, step by step."""
    _refuse_what_is_not_there(options)
    _refuse_what_is_a_mistake(options)
    choose_fast_polling()  # before the following imports, for which it is too late afterwards
    from cogment_services import app
    from cogment_services.orchestrator.orchestrator import Orchestrator
    from cogment_services.tls import load_tls

    def make(registry: CollectorRegistry | None) -> Orchestrator:
        return Orchestrator(
            options["params"],
            options["pre_trial_hooks"],
            port=options["lifecycle_port"],
            actor_port=options["actor_port"],
            host=options["host"],
            tls=load_tls(options["private_key"], options["root_cert"], options["trust_chain"]),
            gc_frequency=options["gc_frequency"],
            max_trials=options["max_trials"],
            prometheus_registry=registry,
        )

    app.run(
        make,
        app.AppOptions(
            name="Orchestrator",
            log=log_settings(),
            status_file=options["status_file"],
            host=options["host"],
            prometheus_port=options["prometheus_port"],
            grace=options["grace"],
        ),
    )


def _refuse_what_is_not_there(options: dict[str, Any]) -> None:
    if options["actor_web_port"] or options["actor_http_port"]:
        raise click.UsageError("--actor_web_port: there is no grpc-web port yet; leave it out")
    if options["directory_endpoint"]:
        raise click.UsageError("--directory_endpoint: there is no Directory yet; leave it out, use grpc:// endpoints")
    for hook in options["pre_trial_hooks"]:
        if hook.lower().startswith("cogment:"):
            raise click.UsageError(f"--pre_trial_hooks: {hook} needs a Directory, which is not there yet; use grpc://")


def _refuse_what_is_a_mistake(options: dict[str, Any]) -> None:
    if not options["host"]:  # ``--host=$HOST`` without HOST must not open all addresses
        raise click.UsageError("--host is empty; write an address to listen on, or 0.0.0.0 or :: for all")
    if math.isnan(options["grace"]):
        raise click.UsageError("--grace has to be a number of seconds")
