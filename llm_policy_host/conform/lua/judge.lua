-- The judge: runs one conformance case on the core and tells what it shows.
--
-- A case comes as a line of JSON, its observation goes as a line of canonical encoding (spec 1.4),
-- which the oracle's must equal byte for byte. Lua 5.1's dialect, as the core: it runs wherever the
-- core runs. A case that raises answers `!error: <message>`, which equals no observation.

-- First of all the gate: where it refuses, nothing may be said.
require("llm_policy")

local encoding = require("llm_policy.language.encoding")
local json = require("llm_policy.base.json")
local transport = require("judge.transport")

-- kind -> function(case) -> observation
local KINDS = {}

local function know(kinds)
  for kind, observe in next, kinds do
    KINDS[kind] = observe
  end
end

know(require("judge.base"))
know(require("judge.language"))
know(require("judge.engine"))

local function observe(text)
  local case, fault = json.decode(text)
  if case == nil then
    error("the case is no JSON: " .. fault, 0)
  end
  local see = KINDS[case.kind]
  if not see then
    error("no such kind of case", 0)
  end
  for key, value in next, case do
    case[key] = transport.decode(value)
  end
  return encoding.value(see(case))
end

--- The observation of a case.
---@param text string the case as JSON
---@return string
return function(text)
  local ok, answer = pcall(observe, text)
  if ok then
    return answer
  end
  return "!error: " .. string.gsub(tostring(answer), "\n", " ")
end
