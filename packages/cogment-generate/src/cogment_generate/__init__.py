"""Compile a Cogment spec file into a Python settings module.

The way through the modules, which ``pipeline`` goes: ``document`` (YAML with limits) → ``spec`` (checked names) →
``protos`` and ``protoc`` (descriptors) → ``plan`` (each type in its module) → ``render`` and ``modules`` (texts) →
``output`` (files).
"""

from cogment_generate.cli import main
from cogment_generate.errors import CogmentGenerateError
from cogment_generate.generator import generate

__all__ = ["CogmentGenerateError", "generate", "main"]
