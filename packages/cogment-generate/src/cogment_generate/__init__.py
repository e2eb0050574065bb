"""Compile a Cogment spec file into a Python settings module."""
