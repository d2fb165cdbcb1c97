-- A report: all mistakes found in what an operator wrote, each with its place.
--
-- A place is a list of keys from the root (`at`) and its text: `$.profiles.cheap.filter.any_of[2]`.

local bytes = require("llm_policy.base.bytes")
local names = require("llm_policy.base.names")
local numbers = require("llm_policy.base.numbers")
local tables = require("llm_policy.base.tables")

local type = type
local byte, find, match, sub = string.byte, string.find, string.match, string.sub

--- The text of a place.
local function path(at)
  local out = "$"
  for i = 1, #at do
    local key = at[i]
    if type(key) == "number" then
      out = out .. "[" .. numbers.format(key) .. "]"
    elseif find(key, "^[A-Za-z_][A-Za-z0-9_]*$") then
      out = out .. "." .. key
    else
      out = out .. "[" .. bytes.quote(key) .. "]"
    end
  end
  return out
end

--- The place one key below.
local function below(at, key)
  local out = {}
  for i = 1, #at do
    out[i] = at[i]
  end
  out[#at + 1] = key
  return out
end

local function new()
  return { errors = {} }
end

local function append(report, where, at, detail, nearest)
  report.errors[#report.errors + 1] = { path = where, at = at, detail = detail, nearest = nearest }
end

--- Notes a mistake at a place.
---@param nearest string|nil the known name that was probably meant
local function add(report, at, detail, nearest)
  append(report, path(at), at, detail, nearest)
end

--- Notes a name that is none of the known ones.
---@param noun string what it names
---@param known table list of names
local function add_unknown(report, at, noun, name, known)
  local is_short = type(name) == "string" and #name <= 64
  local shown = is_short and " `" .. name .. "`" or ""
  add(report, at, "no " .. noun .. shown, is_short and names.nearest(name, known) or nil)
end

--- The place that a refusal's path leads to from one in the data.
---@param inner string the path after its `$`
---@param offset integer argument k is entry k + offset of the list there
local function place_of(at, inner, offset)
  local _, last, digits = find(inner, "%[(%d+)%]")
  while digits do
    local position = 0
    for i = 1, #digits do
      position = position * 10 + byte(digits, i) - 48
    end
    at = below(at, position + offset)
    _, last, digits = find(inner, "%[(%d+)%]", last + 1)
  end
  return at
end

--- What a refusal says, and the name that was probably meant.
local function words_of(refusal)
  local said, nearest = match(refusal.detail, "^(.*), did you mean `(.*)`%?$")
  return refusal.code .. ": " .. (said or refusal.detail), nearest
end

--- Notes that the term written at a place is refused; the path goes on as the refusal's does.
local function add_refusal(report, at, refusal)
  local inner = sub(refusal.path, 2)
  append(report, path(at) .. inner, place_of(at, inner, 1), words_of(refusal))
end

--- Notes that the term made of what is written at a place is refused.
---@param is_spread boolean|nil its arguments are the entries of a list there
local function add_refused(report, at, refusal, is_spread)
  add(report, is_spread and place_of(at, refusal.path, 0) or at, words_of(refusal))
end

--- The mistakes in byte order of their paths, the first of each path; or nothing.
---@return table|nil errors list of {path, at, detail, nearest}
local function errors(report)
  local found = tables.sort(tables.copy(report.errors), function(a, b)
    return bytes.less(a.path, b.path)
  end)
  local out = {}
  for i = 1, #found do
    if i == 1 or found[i].path ~= found[i - 1].path then
      out[#out + 1] = found[i]
    end
  end
  return #out > 0 and out or nil
end

return {
  new = new,
  add = add,
  add_unknown = add_unknown,
  add_refusal = add_refusal,
  add_refused = add_refused,
  errors = errors,
  below = below,
  path = path,
}
