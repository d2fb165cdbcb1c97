-- The sugar of request changes: words, lists and records as transforms (spec 1.8).

local lowering = require("llm_policy.language.lowering")
local signature = require("llm_policy.language.signature")
local tables = require("llm_policy.base.tables")

local type, rawget = type, rawget
local joined = lowering.joined

local lower

--- A record of parameters, each by (name, value) -> term, or nothing where the value has no such form.
---@param value table what kind of value each takes
local function each_param(build, value)
  local function lower_param(low, at, given, name)
    local term = build(name, given)
    if not term then
      return lowering.fail(low, at, "Xform", "a number, or a list of two, is wanted")
    end
    return lowering.made(low, at, term, "Xform")
  end
  local function lower_record(low, at, given)
    return joined("seq", lowering.each_key(low, at, given, "Xform", lower_param), "id")
  end
  return { takes = { kind = "params", value = value }, lower = lower_record }
end

local function jitter(name, amplitude)
  return { "jitter", name, amplitude }
end

local function set_param(name, value)
  if value == "from_ctx" then
    return { "inject_seed", name }
  end
  return { "set_param", name, value }
end

--- The upper bound alone counts from 0; a list gives both.
local function clamp_param(name, bounds)
  if type(bounds) ~= "table" then
    return { "clamp_param", name, 0, bounds }
  end
  return tables.dense(bounds) == 2 and { "clamp_param", name, rawget(bounds, 1), rawget(bounds, 2) } or nil
end

--- The operation of that name with the value as its one parameter.
local function operation(op)
  local function lower_made(low, at, value)
    return lowering.made(low, at, { op, value }, "Xform")
  end
  return { takes = { kind = signature.by_name[op].args[1].sort }, lower = lower_made }
end

local NUMBER = { kind = "Num" }
local BOUNDS = { kind = "either", either = { NUMBER, { kind = "list", entry = NUMBER, length = 2 } } }

local ROWS = {
  identity = {
    takes = { kind = "any" },
    lower = function()
      return { "id" }
    end,
  },
  pipe = {
    takes = { kind = "list", entry = { kind = "Change" } },
    lower = function(low, at, value)
      return joined("seq", lowering.each_entry(low, at, value, "Xform", lower), "id")
    end,
  },
  jitter = each_param(jitter, NUMBER),
  set_param = each_param(set_param, { kind = "Scalar" }),
  clamp = each_param(clamp_param, BOUNDS),
  filter_text = operation("filter_text"),
  filter_image = operation("filter_image"),
  custom = operation("custom"),
}

local lower_key = lowering.by_row(ROWS, "Xform", "change")

--- Changes as a transform: `identity`, a list (one after the other), a record, or a term.
lower = function(low, at, value)
  if not lowering.may_enter(low, at) or value == "identity" then
    return { "id" }
  end
  if type(value) == "string" then
    return lowering.fail_unknown(low, at, "Xform", "change", value, tables.keys(ROWS))
  end
  if lowering.is_term(value) then
    return lowering.written(low, at, value, "Xform")
  end
  if type(value) ~= "table" then
    return lowering.fail(low, at, "Xform", "a word, a list or a record is wanted")
  end
  if tables.dense(value) then
    return ROWS.pipe.lower(low, at, value)
  end
  return joined("seq", lowering.each_key(low, at, value, "Xform", lower_key), "id")
end

return { lower = lower, ROWS = ROWS }
