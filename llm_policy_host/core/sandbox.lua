-- What an operator's Lua runs in: globals of its own, libraries whose cost is bounded, an allowance of
-- instructions that no `pcall` outlives. PUC Lua only: hooks do not fire in compiled loops.
local kept, face = ...

local error, getmetatable, ipairs, load_text, next = error, kept.getmetatable, ipairs, kept.load, next
local pcall, rawget, select, setmetatable, sethook = pcall, rawget, select, setmetatable, kept.sethook
local tostring, type = tostring, type
local string, table, math = string, table, math

local MAX_TEXT = 1024 * 1024
local MAX_MATCH_STEPS = 1e8
local MAX_ITEMS = 100000
local HOOK_EVERY = 1000

--- Copies of the named functions of a library.
local function pick(library, names)
  local out = {}
  for name in names:gmatch("%S+") do
    out[name] = library[name]
  end
  return out
end

local function refuse(what)
  error(what .. " is beyond what a config may ask for", 3)
end

-- A pattern with q repetitions over n bytes may take n^(q+1) steps inside one C call, where no
-- hook fires.
local function check_match(subject, pattern)
  subject, pattern = tostring(subject), tostring(pattern)
  local _, repetitions = string.gsub(pattern, "[%*%+%-%?]", "")
  local _, balances = string.gsub(pattern, "%%[bf]", "")
  if (#subject + 1) ^ (repetitions + balances + 1) > MAX_MATCH_STEPS then
    refuse("matching this pattern")
  end
end

local safe_string = pick(string, "byte char len lower reverse sub upper")

for _, name in ipairs({ "find", "match", "gmatch", "gsub" }) do
  local original = string[name]
  safe_string[name] = function(subject, pattern, ...)
    check_match(subject, pattern)
    return original(subject, pattern, ...)
  end
end

function safe_string.rep(text, count, separator)
  if (#tostring(text) + #tostring(separator or "")) * (tonumber(count) or 0) > MAX_TEXT then
    refuse("so long a text")
  end
  return string.rep(text, count, separator)
end

function safe_string.format(form, ...)
  if #tostring(form) > 4096 or form:find("%p", 1, true) then
    refuse("this format")
  end
  local size = 0
  for index = 1, select("#", ...) do
    local value = select(index, ...)
    size = size + (type(value) == "string" and #value or 0)
  end
  if size > MAX_TEXT then
    refuse("so long a text")
  end
  return string.format(form, ...)
end

local safe_table = pick(table, "insert remove pack unpack")

function safe_table.concat(list, separator, first, last)
  first, last = first or 1, last or #list
  local size = 0
  for index = first, last do
    size = size + #tostring(rawget(list, index) or "") + #tostring(separator or "")
    if size > MAX_TEXT then
      refuse("so long a text")
    end
  end
  return table.concat(list, separator, first, last)
end

function safe_table.sort(list, less)
  if #list > MAX_ITEMS then
    refuse("sorting so long a list")
  end
  return table.sort(list, less)
end

--- No finalizer: it would run outside of any allowance.
local function safe_setmetatable(value, meta)
  if type(meta) == "table" and rawget(meta, "__gc") ~= nil then
    error("`__gc` is not allowed", 2)
  end
  return setmetatable(value, meta)
end

--- A handler that ran inside a hook's error would run unhooked: it is called after the fact.
local function safe_xpcall(fn, handler, ...)
  local function settle(ok, ...)
    if ok then
      return true, ...
    end
    return false, handler(...)
  end
  return settle(pcall(fn, ...))
end

local BASICS = "assert error ipairs next pairs pcall rawequal rawget rawlen rawset select tonumber tostring type"
local TEXTS = "byte char find format gmatch gsub len lower match rep reverse sub upper"

local function environment()
  local env = pick(_G, BASICS)
  env._G = env
  env.setmetatable, env.xpcall = safe_setmetatable, safe_xpcall
  env.string, env.table = pick(safe_string, TEXTS), {}
  for name, fn in next, safe_table do
    env.table[name] = fn
  end
  env.unpack = table.unpack -- luacheck: ignore 143
  env.math = pick(math, "abs ceil floor fmod max min modf sqrt tointeger type ult")
  env.math.huge, env.math.pi = math.huge, math.pi
  function env.require(name)
    if name ~= "llm_policy" then
      error("only `llm_policy` can be required here", 2)
    end
    return { dsl = face.dsl, VERSION = face.VERSION }
  end
  return env
end

--- Stops after an allowance; from then on every instruction stops, so that `pcall` gains nothing.
local function arm(instructions)
  local left, is_spent = instructions, false
  local function stop()
    left = left - HOOK_EVERY
    if left <= 0 then
      if not is_spent then
        is_spent = true
        sethook(stop, "", 1)
      end
      error("the allowance of " .. instructions .. " instructions is spent", 0)
    end
  end
  sethook(stop, "", HOOK_EVERY)
end

local text_meta = getmetatable("")
text_meta.__index = safe_string
text_meta.__metatable = "locked"

--- Calls a function under an allowance.
---@return boolean ok
---@return any ... its values, or the reason
local function bounded(instructions, fn, ...)
  local function settle(ok, value, ...)
    sethook()
    if not ok and type(value) ~= "string" then
      value = "the config stops with an error that is no text"
    end
    return ok, value, ...
  end
  arm(instructions)
  return settle(pcall(fn, ...))
end

--- Evaluates a config's source.
---@return boolean ok
---@return any value or the reason
local function evaluate(source, instructions)
  local chunk, reason = load_text(source, "=config", "t", environment())
  if not chunk then
    return false, reason
  end
  return bounded(instructions, chunk)
end

--- Takes the host's keys out of a config.
local function without(config, keys)
  local out = {}
  for key, value in next, config do
    out[key] = value
  end
  for _, key in ipairs(keys) do
    out[key] = nil
  end
  return out
end

return evaluate, bounded, without
