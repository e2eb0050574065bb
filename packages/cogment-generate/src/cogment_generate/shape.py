"""Check that generated text is nothing but imports, names and calls of four known functions.

Names are checked when the spec is read, so this never fails unless the generator itself has a fault. It is the second
lock on the same door: importing what was generated never runs text of a spec file.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from cogment_generate.errors import CogmentGenerateError
from cogment_generate.plan import Plan

__all__ = ["check_module", "check_stub"]

_SPECS = "cogment_core.specs"
_FUNCTIONS = frozenset({"ActorClass", "ActorClassList", "ConfigSpec", "require_protobuf"})
_SETTINGS = frozenset({"__all__", "actor_classes", "environment", "trial"})

_COMMON_NODES: tuple[type[ast.AST], ...] = (
    *(ast.Module, ast.Expr, ast.Constant, ast.Name, ast.Attribute, ast.Load, ast.Store, ast.List),
    *(ast.Import, ast.ImportFrom, ast.alias, ast.Assign),
)
_MODULE_NODES = (*_COMMON_NODES, ast.Call, ast.keyword)
_STUB_NODES = (*_COMMON_NODES, ast.AnnAssign, ast.ClassDef, ast.Subscript, ast.Tuple)


def check_module(text: str, plan: Plan) -> None:
    """Check the text of ``cog_settings.py``.

    Raises:
        CogmentGenerateError: It contains something that the template does not write.
    """
    tree = _parsed(text)
    _check_nodes(tree, _MODULE_NODES)
    _check_imports(tree, plan)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS):
            raise _fault(node)
    _check_bound_names(tree, {*_SETTINGS, *(f"_{actor_class.name}_class" for actor_class in plan.actor_classes)})


def check_stub(text: str, plan: Plan) -> None:
    """Check the text of ``cog_settings.pyi``.

    Raises:
        CogmentGenerateError: It contains something that the template does not write.
    """
    tree = _parsed(text)
    _check_nodes(tree, _STUB_NODES)
    _check_imports(tree, plan)
    names = [actor_class.name for actor_class in plan.actor_classes]
    _check_bound_names(tree, {*_SETTINGS, *names, *(f"_class_{name}" for name in names)})


def _parsed(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise CogmentGenerateError(f"the generated module is no Python: a fault of the generator ({error})") from error


def _check_nodes(tree: ast.Module, allowed: tuple[type[ast.AST], ...]) -> None:
    for node in ast.walk(tree):
        if not isinstance(node, allowed):
            raise _fault(node)
        if isinstance(node, ast.Constant) and not (isinstance(node.value, str) or node.value in (None, ...)):
            raise _fault(node)


def _check_imports(tree: ast.Module, plan: Plan) -> None:
    expected = {(module.source, module.name, module.alias) for module in plan.imports}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported = {("", alias.name, alias.asname) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = "." * node.level + (node.module or "")
            imported = {(source, alias.name, alias.asname) for alias in node.names if source not in (_SPECS, "typing")}
        else:
            continue
        if not imported <= expected:
            raise _fault(node)


def _check_bound_names(tree: ast.Module, expected: Iterable[str]) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id not in expected:
            raise _fault(node)


def _fault(node: ast.AST) -> CogmentGenerateError:
    line = getattr(node, "lineno", "?")
    return CogmentGenerateError(f"line {line} of the generated module is not as it should be: a fault of the generator")
