"""No module of the core holds state: nothing in any module's tables or upvalues changes over a run."""

from __future__ import annotations

from pathlib import Path

import pytest

LUA = Path(__file__).resolve().parents[2] / "lua"

# Walks every value reachable from the loaded modules, through tables and upvalues, and writes down
# its identity and contents. An engine is a value that the test made: it is not reachable from here.
PROBE = r"""
package.path = ...
local llm_policy = require("llm_policy")
local CONFIG = {
  providers = {
    a = { base_url = "http://a", tier = "partner" },
    b = { base_url = "http://b" },
    m = { discovery = "marketplace", discovery_id = "d" },
  },
  models = { x = { served_by = { { provider = "a", price_in = 1, price_out = 2 }, { provider = "b" }, { provider = "m" } } } },
  profiles = { default = { scorer = { "neg", { "normalize", { "field", "price_in" } } }, retry_policy = "r" } },
  retry_policies = { r = { timeout = { action = "retry_same", backoff_ms = 5 }, unknown = { action = "next_candidate" } } },
}

local function address(value)
  return tostring(value)
end

local walk
walk = function(value, seen, out, where)
  local kind = type(value)
  if kind ~= "table" and kind ~= "function" then return end
  if seen[value] then return end
  seen[value] = true
  if kind == "table" then
    local rows = {}
    for k, v in next, value do
      rows[#rows + 1] = address(k) .. "=" .. address(v)
      walk(k, seen, out, where)
      walk(v, seen, out, where .. "." .. address(k))
    end
    table.sort(rows)
    out[where .. " " .. address(value)] = table.concat(rows, ";")
  else
    local i, rows = 1, {}
    while true do
      local name, upvalue = debug.getupvalue(value, i)
      if not name then break end
      if name ~= "_ENV" then
        rows[#rows + 1] = name .. "=" .. address(upvalue)
        walk(upvalue, seen, out, where .. ":" .. name)
      end
      i = i + 1
    end
    out[where .. " " .. address(value)] = table.concat(rows, ";")
  end
end

local function picture()
  local out, seen = {}, {}
  seen[_G], seen[package.loaded] = true, true
  local names = {}
  for name in next, package.loaded do
    if name:find("^llm_policy") then names[#names + 1] = name end
  end
  table.sort(names)
  for i = 1, #names do walk(package.loaded[names[i]], seen, out, names[i]) end
  return out, #names
end

local function whole_run()
  local engine = assert(llm_policy.new(CONFIG))
  local inputs = { now_ms = 1, seed = 7, trace = "full", offers = { d = { { peer_id = "p", model_family = "x" } } } }
  local step = engine:start({ temperature = 1, requirements = { needs = { "tools" } } }, inputs)
  step = engine:start({ temperature = 1 }, inputs)
  for _ = 1, 20 do
    if step.status == "done" then break end
    local event = step.status == "wait" and { woke = true } or { ok = false, error_kind = "timeout" }
    step = assert(engine:resume(step.state_handle, event, { now_ms = step.until_ms or 10 }))
  end
  assert(step.status == "done")
  engine:rank({}, inputs)
  engine:provider_status(5)
  engine:restore_state(engine:dump_state())
  engine:start({ policy_ir = { "nonsense" } }, inputs)
  llm_policy.ir.term.check({ "and", { "top" } })
  return llm_policy.ir.term.describe({ "cmp", "price_in", "le", 0.1 })
end

local before, modules = picture()
local words = whole_run()
local after = picture()
local changed = {}
for where, rows in next, before do
  if after[where] ~= rows then changed[#changed + 1] = where end
end
for where in next, after do
  if before[where] == nil then changed[#changed + 1] = "new: " .. where end
end
table.sort(changed)
return table.concat(changed, "\n"), modules
"""


@pytest.mark.parametrize("runtime", ["lua54", "luajit21"])
def test_a_whole_run_changes_nothing_that_a_module_holds(runtime: str) -> None:
    lupa = pytest.importorskip(f"lupa.{runtime}")
    lua = lupa.LuaRuntime(unpack_returned_tuples=True)
    changed, modules = lua.execute(PROBE, f"{LUA}/?.lua")
    assert modules > 20
    assert changed == ""
