"""Tables of the documentation that follow from the code; cog calls these."""

from __future__ import annotations

from pathlib import Path

import lupa.lua54

LUA = Path(__file__).resolve().parents[2] / "lua"

_ROWS = """
package.path = ...
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


def operation_table() -> str:
    """Give the signature as a table: operation, sort, arguments, law, meaning."""
    lua = lupa.lua54.LuaRuntime(unpack_returned_tuples=True)
    rows = lua.execute(_ROWS, f"{LUA}/?.lua")
    lines = ["| operation | sort | arguments | law | meaning |", "|---|---|---|---|---|"]
    for row in rows.values():
        op, sort, args, law, meaning = (row[place] for place in range(1, 6))
        lines.append(f"| `{op}` | {sort} | {args or '–'} | {law or '–'} | {meaning} |")
    return "\n".join(lines)
