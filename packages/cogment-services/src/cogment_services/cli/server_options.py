"""The options that all servers have: where they listen, TLS, metrics, the status file, how they stop, and the log."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cogment_services.cli.options import PORT, log_options, log_settings, option

if TYPE_CHECKING:
    from cogment_services.app import AppOptions
    from cogment_services.tls import Tls

__all__ = ["app_options", "secured", "server_options"]

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def server_options(prefix: str, *, prometheus_names: tuple[str, ...] = ()) -> Callable[[FunctionT], FunctionT]:
    """Add these options to the command of a server.

    Args:
        prefix: What its environment variables begin with, for example ``COGMENT_DIRECTORY_``.
        prometheus_names: Further environment variables of the port for metrics.
    """
    prometheus = [f"{prefix}PROMETHEUS_PORT", *prometheus_names]
    adders = (
        option("--host", f"{prefix}HOST", default="127.0.0.1", help="Address to listen on; 0.0.0.0 or :: for all."),
        option("--private_key", "COGMENT_PRIVATE_KEY_FILE", help="PEM file: the key of this server, for TLS."),
        option("--trust_chain", "COGMENT_TRUST_CHAIN_FILE", help="PEM file: its certificate, and who vouches for it."),
        option("--root_cert", "COGMENT_ROOT_CERT_FILE", help="PEM file: who has to vouch for peers, for mutual TLS."),
        option(
            "--insecure",
            f"{prefix}INSECURE",
            is_flag=True,
            default=False,
            help="Let strangers connect: listen wider than this machine without mutual TLS, or serve metrics there.",
        ),
        option(
            "--prometheus_port", prometheus, type=PORT, metavar="PORT", default=0, help="Port for metrics; 0 for none."
        ),
        option(
            "--prometheus_host",
            f"{prefix}PROMETHEUS_HOST",
            default="127.0.0.1",
            help="Address to serve metrics on; they have neither TLS nor a password.",
        ),
        option(
            "--status_file",
            "COGMENT_STATUS_FILE",
            help="File that I, R and T are appended to: starting, ready, stopped.",
        ),
        option(
            "--grace",
            f"{prefix}GRACE",
            type=click.FloatRange(0),
            default=5.0,
            help="Seconds that what is under way has to end when the server is stopped.",
        ),
        log_options,
    )

    def add(function: FunctionT) -> FunctionT:
        for adder in reversed(adders):
            function = adder(function)
        return function

    return add


def secured(options: dict[str, Any]) -> Tls | None:
    """What the options say of TLS, if the server may listen like this.

    Raises:
        click.UsageError: ``--host`` or ``--prometheus_host`` is empty.
        CogmentError: It may not, or a file for TLS cannot be used.
    """
    from cogment_services.exposure import check_exposure, check_metrics_exposure
    from cogment_services.tls import load_tls

    for name in ("host", "prometheus_host"):
        if not options[name]:  # ``--host=$HOST`` without HOST must not open all addresses
            raise click.UsageError(f"--{name} is empty; write an address to listen on, or 0.0.0.0 or :: for all")
    tls = load_tls(options["private_key"], options["root_cert"], options["trust_chain"])
    check_exposure(options["host"], tls, insecure=options["insecure"])
    if options["prometheus_port"]:
        check_metrics_exposure(options["prometheus_host"], insecure=options["insecure"])
    return tls


def app_options(name: str, options: dict[str, Any]) -> AppOptions:
    """How the options say that the server runs in its process.

    Args:
        name: What it is called in the log.
        options: All options of the command.

    Raises:
        click.UsageError: ``--grace`` is no number.
    """
    from cogment_services.app import AppOptions

    if math.isnan(options["grace"]):
        raise click.UsageError("--grace has to be a number of seconds")
    return AppOptions(
        name=name,
        log=log_settings(),
        status_file=options["status_file"],
        prometheus_host=options["prometheus_host"],
        prometheus_port=options["prometheus_port"],
        grace=options["grace"],
    )
