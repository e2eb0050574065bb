"""The Directory: services register, and are found by what they are."""

from cogment_services.directory.server import DirectoryServer

__all__ = ["DirectoryServer"]
