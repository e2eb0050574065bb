"""``cogment certs``: certificates for development."""

from __future__ import annotations

import click

from cogment_services.cli.options import option, split_commas

__all__ = ["certs"]

_HELP = """\
Options of servers:
  --private_key={0}/server.key --trust_chain={0}/server.pem --root_cert={0}/ca.pem

Where a program serves:
  served = cogment.ServedEndpoint(port=9001)
  served.private_key_certificate_chain_pairs = [
      (Path({1!r}).read_text(), Path({2!r}).read_text())
  ]
  served.root_certificates = Path({5!r}).read_text()

Where a program connects:
  endpoint = cogment.Endpoint("grpc://localhost:9000")
  endpoint.set_from_files(
      private_key_file={3!r},
      certificate_chain_file={4!r},
      root_certificates_file={5!r},
  )

{0}/ca.key can certify others: keep it where none of these programs is, or delete it."""


@click.command()
@option("--folder", default="certs", help="Where to write the files.")
@option(
    "--hosts",
    multiple=True,
    callback=split_commas,
    default=("localhost", "127.0.0.1", "::1"),
    metavar="HOSTS",
    help="Names and addresses of the machines, with commas between them; may be repeated.",
)
@option("--days", type=click.IntRange(1, 3650), default=90, help="How long the certificates are valid.")
@option("--force", is_flag=True, help="Replace the files that are there.")
def certs(folder: str, hosts: tuple[str, ...], days: int, force: bool) -> None:
    """Make an authority, and certificates for servers and clients, to develop with.

    They show how TLS is used; do not protect anything by them that matters.
    """
    from cogment_services.certs import make_certificates

    make_certificates(folder, hosts, days, force=force)
    names = ("server.key", "server.pem", "client.key", "client.pem", "ca.pem")
    click.echo(f"certificates for {', '.join(hosts)} are in {folder}, for {days} days\n")
    click.echo(_HELP.format(folder, *(f"{folder}/{name}" for name in names)))
