"""Write the text of ``cog_settings.py`` and of its stub from fixed templates."""

from __future__ import annotations

from functools import cache

import jinja2

from cogment_generate.plan import ImportedModule, Plan
from cogment_generate.shape import check_module, check_stub

__all__ = ["render_settings", "render_stub"]


def render_settings(plan: Plan, protobuf: str | None = None) -> str:
    """The text of ``cog_settings.py``.

    Args:
        plan: What it says.
        protobuf: The oldest protobuf that the modules beside it load with, None if they do not ask for one.
    """
    text = _render("cog_settings.py.j2", plan, protobuf=protobuf)
    check_module(text, plan)
    return text


def render_stub(plan: Plan) -> str:
    """The text of ``cog_settings.pyi``."""
    text = _render("cog_settings.pyi.j2", plan)
    check_stub(text, plan)
    return text


def _render(template: str, plan: Plan, **values: str | None) -> str:
    exported = sorted(["actor_classes", "environment", "trial", *(module.alias for module in plan.imports)])
    functions = {"literal": repr, "import_line": _import_line, "type_of": _type_of}
    return _templates().get_template(template).render(plan=plan, exported=exported, **functions, **values)


@cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("cogment_generate"),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _import_line(module: ImportedModule) -> str:
    start = f"from {module.source} import" if module.source else "import"
    return f"{start} {module.name} as {module.alias}"


def _type_of(expression: str | None) -> str:
    return "None" if expression is None else f"type[{expression}]"
