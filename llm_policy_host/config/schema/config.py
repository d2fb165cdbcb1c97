"""The schema of a whole config: the core's rows and the host's, with what each key means."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llm_policy_host.config import auths
from llm_policy_host.config.meanings import NOUNS
from llm_policy_host.config.policy_files import SUFFIXES
from llm_policy_host.config.settings import SETTINGS
from llm_policy_host.core.language import Language
from llm_policy_host.core.shapes import shapes_of
from llm_policy_host.core.vm import RUNTIMES, Vm
from llm_policy_host.core.words import words_of

from .parts import NULL, but_for, list_of, map_of, name, none, optional, record, ref
from .terms import arguments, definitions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from llm_policy_host.config.kinds import Schema
    from llm_policy_host.config.setting import Setting
    from llm_policy_host.core.language import Operation
    from llm_policy_host.core.shapes import Node, Shapes
    from llm_policy_host.core.words import Words

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_AMOUNT: Schema = {"type": "number", "minimum": 0}
_PLAIN: Mapping[str, Schema] = {
    "any": {},
    "plain": {},
    "text": {"type": "string"},
    "name": name(),
    "flag": {"type": "boolean"},
    "number": {"type": "number"},
    "amount": _AMOUNT,
    "scalar": ref("Scalar"),
    "param": ref("ParamName"),
    "waits": ref("Waits"),
    "function": none("functions stand in Lua configs only"),
}


def config_schema(runtime: str | None = None) -> Schema:
    """Make the schema; it is the same on every runtime."""
    vm = Vm(runtime)
    reader = _Reader(shapes_of(vm), words_of(vm, {}), Language(vm).signature())
    return {
        "$schema": _DRAFT,
        "title": "A config of llm-policy",
        "description": "Who can be called for what, and the policies that choose among them.",
        **reader.root(),
        "$defs": reader.definitions(),
    }


class _Reader:
    """Makes a schema of each kind of value that the core's rows name."""

    def __init__(self, shapes: Shapes, said: Words, operations: Mapping[str, Operation]) -> None:
        self._shapes = shapes
        self._said = said
        self._operations = operations
        self._made: Mapping[str, Callable[[Node], Schema]] = {
            "record": self._record,
            "map": lambda node: map_of(self.read(node["entry"]), **self._refused_names(node["entry"])),
            "list": self._list,
            "word": lambda node: {"enum": [*node["words"]]},
            "either": lambda node: {"anyOf": [self.read(each) for each in node["either"]]},
            "params": self._params,
            "arguments": lambda node: arguments(self._operations[node["op"]]),
        }

    def definitions(self) -> dict[str, Schema]:
        return definitions(self._shapes, self._said, self._operations, self.read)

    def root(self) -> Schema:
        schema = self._record(self._shapes.config)
        host = {"runtime": {"enum": [*RUNTIMES, None]}, "host": _rows(SETTINGS)}
        keys = {**schema["properties"], **{key: _told("config key", key, each) for key, each in host.items()}}
        return {**schema, "type": "object", "properties": _in_order("config key", keys)}

    def read(self, node: Node) -> Schema:
        """Give the schema of a kind; what is none of these is a sort, and has a definition."""
        kind = node["kind"]
        if kind in self._made:
            return self._made[kind](node)
        return dict(_PLAIN[kind]) if kind in _PLAIN else ref(kind)

    def _record(self, node: Node) -> Schema:
        noun = node["noun"]
        hosts = _HOSTS.get(noun, {})
        rows = {
            key: _told(noun, key, hosts[key](self.read(each)) if key in hosts else self.read(each))
            for key, each in node["rows"].items()
        }
        other = self.read(node["other"]) if "other" in node else None
        if node.get("has_fields"):
            other = _DECLARED
        more = _address(self._shapes.addressed) if noun == "provider key" else {}
        return record(_in_order(noun, rows), node.get("needs", ()), other, **more)

    def _list(self, node: Node) -> Schema:
        entry = self.read(node["entry"])
        if "length" in node:
            return {"type": "array", "items": entry, "minItems": node["length"], "maxItems": node["length"]}
        return list_of(entry, **({"uniqueItems": True} if node.get("is_unique") else {}))

    def _params(self, node: Node) -> Schema:
        value = self.read(node["value"])
        never = but_for(self._shapes.never, "never a parameter")
        return record(dict.fromkeys(self._said.params, value), (), value, **never)

    def _refused_names(self, entry: Node) -> Schema:
        """Say which names an operator's own may not be."""
        if entry.get("noun") == "provider key":
            return {"patternProperties": {"[|]": none("a provider's name has no `|`")}}
        if entry.get("noun") == "field key":
            rows = self._shapes.config["rows"]
            routes = rows["models"]["entry"]["rows"]["served_by"]["entry"]
            own = {*self._said.fields, *rows["providers"]["entry"]["rows"], *routes["rows"]}
            return but_for(sorted(own), "known already, and no field to declare")
        return {}


_DECLARED: Schema = {
    "type": ["number", "boolean"],
    "errorMessage": "neither a known key nor a value of a declared field",
}


def _told(noun: str, key: str, schema: Schema) -> Schema:
    """Give a key's schema with what the key means."""
    meaning = NOUNS.get(noun, {}).get(key)
    return {"description": _LINK.sub(r"\1", meaning), **schema} if meaning else schema


def _in_order(noun: str, keys: Mapping[str, Schema]) -> dict[str, Schema]:
    """Put keys in the order of their words; the core's tables have none."""
    order = [*NOUNS.get(noun, {})]
    return {key: keys[key] for key in sorted(keys, key=lambda key: (order.index(key) if order else 0, key))}


def _rows(settings: Iterable[Setting]) -> Schema:
    """Take a record of the host's rows, which knows no other key."""
    keys = {
        setting.key: {"description": setting.about, **optional(_setting(setting))} for setting in settings
    }
    return {"type": "object", "properties": keys, "additionalProperties": False}


def _setting(setting: Setting) -> Schema:
    schema = dict(setting.kind.schema)
    if setting.is_each:
        return {
            **schema,
            "additionalProperties": {**_rows(setting.parts), **schema.get("additionalProperties", {})},
        }
    return {**schema, **_rows(setting.parts)} if setting.parts else schema


def _auth(_: Schema) -> Schema:
    """Take one of the host's records of secrets; the core only carries them."""
    return {"anyOf": [_auth_of(kind, rows) for kind, rows in auths.KINDS.items()]}


def _auth_of(kind: str, rows: Iterable[Setting]) -> Schema:
    schema = _rows(rows)
    one = {"oneOf": [{"required": [source]} for source in auths.SOURCES]} if kind == "bearer" else {}
    return {
        **schema,
        "properties": {"kind": {"const": kind}, **schema["properties"]},
        "required": ["kind"],
        **one,
    }


def _policy(term: Schema) -> Schema:
    """Take a term, or the name of a policy's file."""
    ends = "|".join(suffix.removeprefix(".") for suffix in SUFFIXES)
    return {"anyOf": [term, {"type": "string", "pattern": rf"\.({ends})$"}]}


_HOSTS: Mapping[str, Mapping[str, Callable[[Schema], Schema]]] = {
    "provider key": {"auth": _auth},
    "profile key": {"policy_ir": _policy},
}
"""Keys of the core's rows that the host reads first."""


def _address(addressed: Iterable[str]) -> Schema:
    """Say of a provider what must be there for it to be found, and what not besides."""
    is_market = {"properties": {"discovery": {"const": "marketplace"}}, "required": ["discovery"]}
    knows = {"properties": {"api_kind": {"enum": [*addressed]}}, "required": ["api_kind"]}
    given = {key: {"not": NULL} for key in ("auth", "auth_env")}
    return {
        "allOf": [
            {
                "if": is_market,
                "then": {"required": ["discovery_id"]},
                "else": {"if": {"type": "object", "not": knows}, "then": {"required": ["base_url"]}},
            },
            {
                "if": {"properties": given, "required": [*given]},
                "then": {"properties": {"auth_env": none("both `auth` and `auth_env` are given")}},
            },
        ]
    }
