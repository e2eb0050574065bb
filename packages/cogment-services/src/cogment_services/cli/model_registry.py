"""``cogment services model_registry``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cogment_services.cli.directory_options import directory_options, directory_settings
from cogment_services.cli.options import PORT, option
from cogment_services.cli.server_options import app_options, secured, server_options
from cogment_services.polling import choose_fast_polling

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from cogment_services import app

__all__ = ["model_registry"]

_PREFIX = "COGMENT_MODEL_REGISTRY_"
_AT_LEAST_ONE = click.IntRange(1)


@click.command("model_registry")
@option(
    "--port",
    f"{_PREFIX}PORT",
    type=PORT,
    metavar="PORT",
    default=9002,
    help="Port to listen on; 0 lets the system choose.",
)
@option(
    "--archive_dir",
    f"{_PREFIX}ARCHIVE_DIR",
    default=".cogment/model_registry",
    help="Directory that models are kept in; made if it is not there.",
)
@option(
    "--cache_max_items",
    f"{_PREFIX}VERSION_CACHE_MAX_ITEMS",
    type=_AT_LEAST_ONE,
    default=100,
    help="How many transient versions are kept.",
)
@option(
    "--cache_max_bytes",
    f"{_PREFIX}VERSION_CACHE_MAX_BYTES",
    type=_AT_LEAST_ONE,
    default=8 * 1024**3,
    help="How many bytes of transient versions are kept, on the disk.",
)
@option(
    "--sent_version_chunk_size",
    f"{_PREFIX}SENT_MODEL_VERSION_DATA_CHUNK_SIZE",
    type=_AT_LEAST_ONE,
    default=2 * 1024**2,
    help="Bytes of data in one message to a client.",
)
@option(
    "--max_model_size",
    f"{_PREFIX}MAX_MODEL_SIZE",
    type=_AT_LEAST_ONE,
    default=2 * 1024**3,
    help="Most bytes of data that one version may have.",
)
@option("--grpc_reflection", f"{_PREFIX}GRPC_REFLECTION", is_flag=True, default=False, hidden=True)
@directory_options("MODEL_REGISTRY")
@server_options(_PREFIX)
def model_registry(**options: Any) -> None:
    """Keep models, in numbered versions, for those who train them and those who use them."""
    _refuse_what_is_a_mistake(options)
    choose_fast_polling()  # before the following imports, for which it is too late afterwards
    from cogment_core.endpoints import ServiceType
    from cogment_services import app
    from cogment_services.model_registry.server import ModelRegistryServer
    from cogment_services.registration import registered

    tls, directory = secured(options), directory_settings(options)

    def make(registry: CollectorRegistry | None) -> app.Server:
        server = ModelRegistryServer(
            options["archive_dir"],
            port=options["port"],
            host=options["host"],
            tls=tls,
            cache_max_items=options["cache_max_items"],
            cache_max_bytes=options["cache_max_bytes"],
            max_model_size=options["max_model_size"],
            chunk_size=options["sent_version_chunk_size"],
            prometheus_registry=registry,
        )
        return registered(
            server,
            directory,
            lambda: {ServiceType.MODEL_REG: server.port},
            host=options["host"],
            tls=tls,
            prometheus_registry=registry,
        )

    app.run(make, app_options("Model Registry", options))


def _refuse_what_is_a_mistake(options: dict[str, Any]) -> None:
    if options["grpc_reflection"]:
        raise click.UsageError("--grpc_reflection: there is no reflection service; leave it out")
    if not options["archive_dir"]:  # ``--archive_dir=$DIR`` without DIR must not mean the current directory
        raise click.UsageError("--archive_dir is empty")
