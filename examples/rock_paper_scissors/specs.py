"""The types of the messages in a match, made from ``cogment.yaml`` and ``data.proto``.

A project of your own would run ``python -m cogment.generate`` when its spec file changes. Here it is done on import, so
that the example needs no step before it runs.
"""

from pathlib import Path

HERE = Path(__file__).parent
SOURCES = [HERE / "cogment.yaml", HERE / "data.proto"]
SETTINGS = HERE / "cog_settings.py"


def generate_if_stale() -> None:
    """Make ``cog_settings.py`` and ``data_pb2.py``, unless they are newer than what they are made from."""
    if SETTINGS.exists() and SETTINGS.stat().st_mtime > max(source.stat().st_mtime for source in SOURCES):
        return
    from cogment.generate import generate  # only here: once generated, the modules need no generator

    generate(SOURCES[0], SETTINGS, pyi=True)


generate_if_stale()

import cog_settings  # noqa: E402
import data_pb2  # noqa: E402

__all__ = ["cog_settings", "data_pb2"]
