"""``python -m cogment_services``: the ``cogment`` command."""

from cogment_services.cli import main

main()
