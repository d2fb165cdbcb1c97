"""The host's rows of a config in the form of the core's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.config.auths import KINDS as AUTHS
from llm_policy_host.config.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from llm_policy_host.config.setting import Setting
    from llm_policy_host.core.shapes import Node

_BY_PROVIDER: Final = ("credits", "lanes", "scripts")
"""Settings whose records are by provider."""


def host_row() -> Node:
    """Give the kind of what stands under `host`."""
    return _record(SETTINGS)


def auth_row(core: Node) -> Node:
    """Give the core's row of `auth` with the keys that this host knows of any kind."""
    rows = {setting.key: _setting(setting) for settings in AUTHS.values() for setting in settings}
    return {**core, "rows": {**core["rows"], **rows}}


def _record(settings: Iterable[Setting]) -> Node:
    return {"kind": "record", "rows": {setting.key: _setting(setting) for setting in settings}}


def _setting(setting: Setting) -> Node:
    return {**_kind(setting), "about": setting.about, "accepts": setting.kind.accepts}


def _kind(setting: Setting) -> Node:
    by = {"by": "Provider"} if setting.key in _BY_PROVIDER else {}
    if setting.parts:
        parts = _record(setting.parts)
        return {"kind": "map", "entry": parts, **by} if setting.is_each else parts
    if setting.key == "profiles":
        return {"kind": "list", "entry": {"kind": "name", "of": "profile"}}
    node = _of_schema(setting.kind.schema)
    return {**node, **by} if node["kind"] == "map" else node


def _of_schema(schema: Mapping[str, Any]) -> Node:
    if "enum" in schema:
        return {"kind": "word", "words": schema["enum"]}
    kind = schema.get("type")
    if kind == "array":
        return {"kind": "list", "entry": _of_schema(schema["items"])}
    if kind == "object":
        return {"kind": "map", "entry": {"kind": "any"}}
    return {"kind": "flag" if kind == "boolean" else "any"}
