"""Tables of the documentation that follow from the code; cog calls these."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import lupa.lua54

from llm_policy_host.analysis.warnings import WARNINGS
from llm_policy_host.cases import rows as case_rows
from llm_policy_host.cli.main import parser
from llm_policy_host.config import meanings
from llm_policy_host.config.settings import HOST_KEYS, SETTINGS
from llm_policy_host.conform.cases import case_files, group_of
from llm_policy_host.core.gates import GATE_FIELDS
from llm_policy_host.hindsight.invariants import INVARIANTS
from llm_policy_host.ledger.schema import ENDED, ROWS, TYPES
from tests.runtimes import RUNTIMES
from tests.runtimes.results import recorded

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from llm_policy_host.config.setting import Setting
    from llm_policy_host.ledger.schema import Row as EventRow

LUA = Path(__file__).resolve().parents[2] / "lua"

_OPERATIONS = """
local out = {}
local signature = require("llm_policy.language.signature")
for i, operation in ipairs(signature.operations) do
  local args = {}
  for j, argument in ipairs(operation.args) do
    args[j] = argument.label .. " " .. argument.sort .. (argument.is_many and ", 1 or more" or "")
  end
  local law = operation.law or {}
  local words = law.kind or ""
  if law.unit then words = words .. ", unit " .. law.unit end
  if law.absorbing then words = words .. ", absorbing " .. law.absorbing end
  out[i] = { operation.op, operation.sort, table.concat(args, "; "), words, operation.meaning }
end
return out
"""

# What a row wants, it says of a value that nothing admits.
_ROWS = """
local function upvalue(fn, name, seen)
  seen = seen or {}
  seen[fn] = true
  local below = {}
  for i = 1, 60 do
    local key, value = debug.getupvalue(fn, i)
    if key == name then return value end
    if type(value) == "function" and not seen[value] then below[#below + 1] = value end
  end
  for _, value in ipairs(below) do
    local found = not seen[value] and upvalue(value, name, seen)
    if found then return found end
  end
end
local function wanted(shape)
  local report = require("llm_policy.language.report").new()
  shape.check(report, { "x" }, print)
  return report.errors[1].detail
end
local function described(rows)
  local out = {}
  for key, shape in pairs(rows) do out[key] = wanted(shape) end
  return out
end
local parts = require("llm_policy.engine.config_schema").parts(require("llm_policy.language.vocabulary").new())
local sugar = require("llm_policy.language.sugar")
local models = parts.models.entry.rows
local made = {
  CONFIG = described(parts),
  PROVIDER = described(parts.providers.entry.rows),
  MODEL = described(models),
  SERVED_BY = described(models.served_by.entry.rows),
  CAPABILITIES = described(models.capabilities.rows),
  FIELD = described(parts.fields.entry.rows),
  DEFAULTS = described(parts.defaults.rows),
  PROFILE = sugar.PARTS,
  SELECTORS = sugar.SELECTORS,
  FILTER = require("llm_policy.language.sugar_filter").ROWS,
  MUTATE = require("llm_policy.language.sugar_mutate").ROWS,
  ACTION = require("llm_policy.language.sorts").ACTION_KEYS,
  ACTIONS = require("llm_policy.language.sorts").ACTIONS,
  KINDS = require("llm_policy.language.sorts").KINDS,
  NUMBERS = require("llm_policy.engine.config_schema").DEFAULTS,
  CHECKS = upvalue(require("llm_policy.base.platform").check, "CHECKS"),
  FIELDS = require("llm_policy").ir.fields(),
  PARAMS = require("llm_policy.language.vocabulary").CORE_PARAMS,
}
return made[(...)]
"""


def _lua(source: str, *values: str) -> Any:
    lua = lupa.lua54.LuaRuntime(unpack_returned_tuples=True)
    lua.globals().package.path = f"{LUA}/?.lua"
    return lua.execute(source, *values)


def _rows(name: str) -> dict[str, Any]:
    return dict(_lua(_ROWS, name))


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _told(keys: Iterable[str], words: Mapping[str, str]) -> list[str]:
    """Give the keys in the order of their words; each must have some, and no other."""
    if set(keys) != set(words):
        raise ValueError(f"keys without words, or words without a key: {sorted(set(keys) ^ set(words))}")
    return list(words)


def rows_table(head: str, rows: Mapping[str, str]) -> str:
    """Names and what each means, in the order of the code."""
    return _table((head, "means"), ((f"`{name}`", told) for name, told in rows.items()))


def operation_table() -> str:
    """Give the signature as a table: operation, sort, arguments, law, meaning."""
    rows = ([row[place] for place in range(1, 6)] for row in _lua(_OPERATIONS).values())
    head = ("operation", "sort", "arguments", "law", "meaning")
    return _table(
        head, ((f"`{op}`", sort, args or "-", law or "-", words) for op, sort, args, law, words in rows)
    )


def config_table(name: str) -> str:
    """Give the keys of one part of a config, with what each takes and means."""
    takes = _rows(name)
    if name == "CONFIG":
        record = dict.fromkeys(("profiles", *HOST_KEYS[1:]), "a record is wanted")
        takes |= {"policy_envelope": "a filter is wanted", "runtime": "a runtime's name is wanted", **record}
    words = getattr(meanings, name)
    numbers = _rows("NUMBERS") if name == "DEFAULTS" else {}
    rows = []
    for key in _told(takes, words):
        default = f" (default {numbers[key]})" if key in numbers else ""
        rows.append((f"`{key}`", _takes(takes[key]), words[key] + default))
    return _table(("key", "takes", "meaning"), rows)


def _takes(detail: str) -> str:
    """Say what a shape takes, from what it answers to a value that it does not."""
    start, _, words = detail.removesuffix(" is wanted").partition(" the words ")
    return " ".join(f"`{word}`" for word in words.split()) if words else start


def word_table(name: str) -> str:
    """Give the keys of one part of the sugar with what each means."""
    words = getattr(meanings, name)
    return _table(("key", "meaning"), ((f"`{key}`", words[key]) for key in _told(_rows(name), words)))


def word_list(name: str) -> str:
    """Give a closed list of words."""
    found = _lua(_ROWS, name)
    words = found.values() if 1 in found else sorted(found)
    return ", ".join(f"`{word}`" for word in words)


def field_table() -> str:
    """Give the core's fields with what is seen where a candidate has no value."""
    fields = _rows("FIELDS")
    rows = ((f"`{key}`", fields[key].sort, _default(fields[key].default)) for key in sorted(fields))
    return _table(("field", "sort", "default"), rows)


def _default(value: bool | float | None) -> str:  # noqa: FBT001 - a value of Lua
    if value is None:
        return "absent-high"
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"


def case_table(name: str) -> str:
    """Give the keys of one part of a file of cases."""
    rows: Sequence[Setting] = getattr(case_rows, name)
    return _table(
        ("key", "takes", "meaning"), ((f"`{row.key}`", row.kind.accepts, row.about) for row in rows)
    )


def setting_table() -> str:
    """Give the host's settings."""
    return _table(("key", "takes", "meaning"), _setting_rows("host", SETTINGS))


def _setting_rows(under: str, settings: Iterable[Setting]) -> Iterator[tuple[str, str, str]]:
    """Give a row for each setting and, below a record, for each of its parts."""
    for setting in settings:
        key = f"{under}.{setting.key}"
        yield f"`{key}`", setting.kind.accepts, setting.about
        yield from _setting_rows(f"{key}.NAME" if setting.is_each else key, setting.parts)


def auth_table(settings: Sequence[Setting]) -> str:
    """Give the keys of one kind of `auth`."""
    rows = ((f"`{setting.key}`", setting.kind.accepts, setting.about) for setting in settings)
    return _table(("key", "takes", "meaning"), rows)


# Areas of cases, and the groups of each.
AREAS = {
    "language": ("admission", "encoding", "identity", "json", "normal_form", "randomness"),
    "meaning": ("failplans", "policies", "predicates", "scorers", "selectors", "xforms"),
    "engine": ("configs", "profiles", "runs", "runs_by_kind"),
    "flows": ("flows",),
}


def runtime_table() -> str:
    """Give the runtimes with what they show on the cases of each area."""
    groups = [group_of(name) for name in case_files()]
    _told(groups, {group: "" for part in AREAS.values() for group in part})
    counts = [sum(groups.count(group) for group in part) for part in AREAS.values()]
    head = (f"{area} ({count})" for area, count in zip(AREAS, counts, strict=True))
    rows = ((f"`{each.name}`", each.what, *_shown_by(recorded()[each.name])) for each in RUNTIMES)
    return _table(("runtime", "what it is", *head, "what differs"), rows)


def _shown_by(row: Mapping[str, Any]) -> Sequence[str]:
    """Give the cells of a runtime: what it shows of each area, and what differs or why it is refused."""
    if "refused" in row:
        return (*("-" for _ in AREAS), f"refused: {row['refused']}")
    names = row["differing"]
    wrong = ([name for name in names if group_of(name) in part] for part in AREAS.values())
    return (*(f"all but {len(each)}" if each else "all" for each in wrong), ", ".join(names) or "nothing")


def gate_list() -> str:
    """Give what the platform gate refuses, in its own words."""
    return "\n".join(f"- {check[2]}" for check in _lua(_ROWS, "CHECKS").values())


def gate_table() -> str:
    """List what gates may name of an attempt."""
    return _table(("field", "", "of the attempt"), [(f"`{name}`", *row) for name, row in GATE_FIELDS.items()])


def event_table() -> str:
    """Give the types of the ledger's events: who emits each, and what it may follow."""
    after = {place: name for name, row in ROWS.items() if (place := row.leads_to) not in (None, ENDED)}
    rows = [
        (f"`{name}`", ", ".join(row.by), _place(row, after), "ends the run" if row.is_terminal else "")
        for name, row in ROWS.items()
    ]
    return _table(("event", "by", "comes after", ""), rows)


def _place(row: EventRow, after: Mapping[str, str]) -> str:
    """Say where an event may stand."""
    if row.subject is not None:
        words = {"opens": "opens", "needs": "is about an open", "closes": "closes"}
        return f"{words[row.deed]} `{row.subject[1]}`"
    if row.is_start:
        return "begins a run"
    return ", ".join(f"`{after[place]}`" for place in row.follows or ()) or "anything"


def event_field_table() -> str:
    """Give every field of every type of event, and what it holds."""
    rows = [
        (f"`{name}`", f"`{part}.{key}`" + ("?" if each.is_optional else ""), each.kind.words)
        for name, of in TYPES.items()
        for part, fields in of.fields.items()
        for key, each in fields.items()
    ]
    return _table(("event", "field", "holds"), rows)


def invariant_table() -> str:
    """Give the invariants of a ledger, as they are checked."""
    return _table(("invariant", "holds that"), ((f"`{row.name}`", row.claim) for row in INVARIANTS))


def warning_table() -> str:
    """Give the warnings that need the catalog."""
    return _table(("warning", "means"), ((f"`{kind}`", meaning) for kind, (_, meaning) in WARNINGS.items()))


def option_table(*command: str) -> str:
    """Give a command's arguments and options."""
    rows = (
        (f"`{_written(action)}`", action.help or "-") for action in _actions(command) if action.dest != "help"
    )
    return _table(("argument", "meaning"), rows)


def _actions(command: Sequence[str]) -> list[argparse.Action]:
    found = parser()
    for name in command:
        found = next(action.choices[name] for action in found._actions if isinstance(action.choices, dict))
    return found._actions


def _written(action: argparse.Action) -> str:
    if not action.option_strings:
        return str(action.metavar)
    value = action.metavar or action.dest.upper()
    return ", ".join(action.option_strings) + (f" {value}" if action.nargs != 0 else "")
