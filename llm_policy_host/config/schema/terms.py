"""Schemas of terms, of what stands in them, and of the sugar."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .parts import list_of, name, optional, record, ref, words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llm_policy_host.config.kinds import Schema
    from llm_policy_host.core.language import Operation
    from llm_policy_host.core.shapes import Node, Shapes
    from llm_policy_host.core.words import Words

_NUMBER: Schema = {"type": "number"}
_MAX_ENTRIES = 1024


def definitions(
    shapes: Shapes, said: Words, operations: Mapping[str, Operation], read: Callable[[Node], Schema]
) -> dict[str, Schema]:
    """Give a schema for each sort, and for the sugar's filters and changes; `read` makes that of a node."""
    sorts = sorted({operation.sort for operation in operations.values()})
    terms = {sort: _term(sort, operations) for sort in sorts}
    return {
        **terms,
        **_parameters(shapes, said, read),
        "Filter": _sugar(
            words(said.filter_words), "Pred", terms["Pred"], "Filter", read(_row("filter", shapes.filters))
        ),
        "Change": _sugar(
            {"const": "identity"}, "Xform", terms["Xform"], "Change", read(_row("change", shapes.changes))
        ),
    }


def _row(noun: str, rows: Mapping[str, Node]) -> Node:
    return {"kind": "record", "noun": noun, "rows": rows}


def _term(sort: str, operations: Mapping[str, Operation]) -> Schema:
    """Take a list that starts with an operation of a sort, each with the arguments of its row."""
    own = {op: operations[op] for op in sorted(operations) if operations[op].sort == sort}
    return {
        "type": "array",
        "minItems": 1,
        "prefixItems": [words({op: operation.meaning for op, operation in own.items()})],
        "allOf": [
            {"if": {"prefixItems": [{"const": op}]}, "then": _arguments(operation)}
            for op, operation in own.items()
        ],
    }


def _arguments(operation: Operation) -> Schema:
    sorts = [
        {**ref(sort), "title": label} for label, sort in zip(operation.labels, operation.sorts, strict=True)
    ]
    if operation.is_variadic:
        return {"prefixItems": [True], "items": sorts[0], "minItems": 2}
    return {"prefixItems": [True, *sorts], "minItems": len(sorts) + 1, "maxItems": len(sorts) + 1}


def arguments(operation: Operation) -> Schema:
    """Take an operation's arguments as a list of their own."""
    sorts = [ref(sort) for sort in operation.sorts]
    return {"type": "array", "prefixItems": sorts, "minItems": len(sorts), "maxItems": len(sorts)}


def _parameters(shapes: Shapes, said: Words, read: Callable[[Node], Schema]) -> dict[str, Schema]:
    """Give a schema for each sort that is no term (spec 1.1); what a config declares is not known here."""
    fields = {
        sort: [key for key in sorted(said.fields) if said.fields[key].sort == sort]
        for sort in ("Num", "Bool")
    }
    wait = {"type": "number", "minimum": 0}
    provider, model = ("provider", "provider_id"), ("model", "model_family")
    return {
        "Num": _NUMBER,
        "Count": {"type": "integer", "minimum": 1},
        "Rel": {"enum": [*said.relations]},
        "Scalar": {"type": ["string", "number", "boolean"]},
        "NumField": {**name(fields["Num"]), "not": {"enum": fields["Bool"]}},
        "BoolField": {**name(fields["Bool"]), "not": {"enum": fields["Num"]}},
        "Tier": name(said.tiers),
        "ParamName": {**name(said.params), "not": {"enum": [*shapes.never]}},
        "FailReason": name(said.kinds),
        "Capability": name(_capabilities(shapes)),
        **dict.fromkeys(("Sym", "Family", "Provider", "ServedBy"), name()),
        "Action": read(shapes.action),
        "Waits": {"anyOf": [wait, {"type": "array", "items": wait, "minItems": 1, "maxItems": _MAX_ENTRIES}]},
        "Recipe": list_of({"anyOf": [name(), _dosed()]}, maxItems=_MAX_ENTRIES),
        "Chain": list_of(
            record(
                dict.fromkeys((*provider, *model), name()),
                allOf=[{"anyOf": [{"required": [key]} for key in pair]} for pair in (provider, model)],
            ),
            maxItems=_MAX_ENTRIES,
        ),
    }


def _dosed() -> Schema:
    return {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": optional(_NUMBER),
    }


def _capabilities(shapes: Shapes) -> list[str]:
    return sorted(shapes.config["rows"]["models"]["entry"]["rows"]["capabilities"]["rows"])


def _sugar(alone: Schema, sort: str, term: Schema, own: str, keys: Schema) -> Schema:
    """Take a word, a term of a sort, a list (all of it) or a record (all of it)."""
    heads = [each["const"] for each in term["prefixItems"][0]["anyOf"]]
    taken = {each["const"] for each in alone.get("anyOf", [])}
    is_term = {"prefixItems": [{"enum": [op for op in heads if op not in taken]}], "minItems": 1}
    return {
        **{key: each for key, each in keys.items() if key != "maxItems"},
        "type": ["string", "array", "object"],
        "examples": [each["const"] for each in alone.get("anyOf", [alone])],
        "allOf": [
            {"if": {"type": "string"}, "then": alone},
            {
                "if": {"type": "array"},
                "then": {"if": is_term, "then": ref(sort), "else": {"items": ref(own)}},
            },
        ],
    }
