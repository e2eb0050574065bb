"""``cogment services trial_datastore``."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from cogment_services.cli.directory_options import directory_options, directory_settings
from cogment_services.cli.options import PORT, option
from cogment_services.cli.server_options import app_options, secured, server_options
from cogment_services.polling import choose_fast_polling

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from cogment_services import app

__all__ = ["trial_datastore"]

_PREFIX = "COGMENT_TRIAL_DATASTORE_"

DEFAULT_FILE = ".cogment/trial_datastore.db"

SWITCH_INTERVAL = 0.0002
"""Seconds that one thread keeps the interpreter while others want it; 5 ms is Python's default.

The thread that commits needs the interpreter for a moment before and after each statement. With the default it waits
for most of its time under load: measured, 11,000 samples are stored in a second instead of 20,000.
"""


@click.command("trial_datastore")
@option(
    "--port",
    f"{_PREFIX}PORT",
    type=PORT,
    metavar="PORT",
    default=9003,
    help="Port to listen on; 0 lets the system choose.",
)
@option(
    "--file_storage",
    f"{_PREFIX}FILE_STORAGE_PATH",
    is_flag=False,
    flag_value=DEFAULT_FILE,
    metavar="PATH",
    help=f"SQLite file that samples are kept in; made if it is not there. Default: {DEFAULT_FILE}.",
)
@option("--memory", f"{_PREFIX}MEMORY", is_flag=True, help="Keep samples in memory instead: lost at the end.")
@option(
    "--memory_storage_max_samples_size",
    [f"{_PREFIX}MEMORY_STORAGE_MAX_SAMPLES_SIZE", f"{_PREFIX}MEMORY_STORAGE_MAX_SAMPLE_SIZE"],
    type=click.IntRange(1),
    metavar="BYTES",
    default=1 << 30,
    help="Bytes of samples to keep in memory, which this chooses if there is no --file_storage; beyond them, trials "
    "that are over lose theirs.",
)
@option(
    "--resume_within",
    f"{_PREFIX}RESUME_WITHIN",
    type=click.FloatRange(0),
    default=60.0,
    help="Seconds that a trial whose log broke off stays open for its Orchestrator to come back.",
)
@option("--grpc_reflection", f"{_PREFIX}GRPC_REFLECTION", type=bool, default=False, is_flag=True, hidden=True)
@directory_options("TRIAL_DATASTORE")
@server_options(_PREFIX)
@click.pass_context
def trial_datastore(ctx: click.Context, /, **options: Any) -> None:
    """Keep what trials produce, and give it back."""
    _refuse_what_is_a_mistake(options)
    path = _path(ctx, options)
    choose_fast_polling()  # before what follows imports grpc, when it is too late
    sys.setswitchinterval(SWITCH_INTERVAL)
    from cogment_core.endpoints import ServiceType
    from cogment_services import app
    from cogment_services.datastore import TrialDatastore
    from cogment_services.registration import registered

    tls, directory = secured(options), directory_settings(options)

    def make(registry: CollectorRegistry | None) -> app.Server:
        server = TrialDatastore(
            path,
            port=options["port"],
            host=options["host"],
            tls=tls,
            memory_bytes=options["memory_storage_max_samples_size"],
            resume_within=options["resume_within"],
            prometheus_registry=registry,
        )
        return registered(
            server,
            directory,
            lambda: {ServiceType.DATASTORE: server.port, ServiceType.DATALOG: server.port},
            host=options["host"],
            tls=tls,
            prometheus_registry=registry,
        )

    app.run(make, app_options("Trial Datastore", options))


def _path(ctx: click.Context, options: dict[str, Any]) -> str | None:
    """The file to store in, None for memory.

    Command lines from before there was ``--memory`` chose memory by not choosing a file; those that say how much of it
    mean it still.
    """
    file: str | None = options["file_storage"]
    if options["memory"]:
        if file:
            raise click.UsageError("--memory and --file_storage: choose one")
        return None
    said = ctx.get_parameter_source("memory_storage_max_samples_size") is not ParameterSource.DEFAULT
    return None if said and not file else file or DEFAULT_FILE


def _refuse_what_is_a_mistake(options: dict[str, Any]) -> None:
    if options["grpc_reflection"]:
        raise click.UsageError("--grpc_reflection is not available: the protocol is public, in the .proto files")
    if math.isnan(options["resume_within"]):
        raise click.UsageError("--resume_within has to be a number of seconds")
