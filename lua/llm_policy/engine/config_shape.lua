-- Shapes: what the values of a config may be. A shape is a record: its `kind` and what it is made of as
-- data, which a schema is made from, and `check`, a function (report, at, value) that notes every mistake
-- of a value and of all that it holds.

local names = require("llm_policy.language.sorts")
local numbers = require("llm_policy.base.numbers")
local reports = require("llm_policy.language.report")
local tables = require("llm_policy.base.tables")

local type, rawget, concat = type, rawget, table.concat
local add, below, is_finite = reports.add, reports.below, numbers.is_finite

-- As deep as plain data may be: a cyclic table is deeper.
local MAX_DEPTH = 12

local shapes = {}

--- A shape of one test: what it wants, in words.
local function wants(kind, words, holds)
  return {
    kind = kind,
    check = function(report, at, value)
      if not holds(value) then
        add(report, at, words)
      end
    end,
  }
end

--- A shape with another check, and more that is said of it.
function shapes.checked(shape, check, more)
  local out, keys = tables.copy(shape), tables.keys(more or {})
  for i = 1, #keys do
    out[keys[i]] = more[keys[i]]
  end
  out.check = check
  return out
end

shapes.text = wants("text", "a text is wanted", function(value)
  return type(value) == "string"
end)

shapes.name = wants("name", "a name of 1 to 256 bytes is wanted", names.is_name)

shapes.flag = wants("flag", "true or false is wanted", function(value)
  return type(value) == "boolean"
end)

shapes.number = wants("number", "a finite number is wanted", is_finite)

shapes.amount = wants("amount", "a number of at least 0 is wanted", function(value)
  return is_finite(value) and value >= 0
end)

shapes.fn = wants("function", "a function is wanted", function(value)
  return type(value) == "function"
end)

shapes.scalar = wants("scalar", "a text, a finite number, true or false is wanted", function(value)
  return type(value) == "string" or type(value) == "boolean" or is_finite(value)
end)

--- One of a closed list of words.
function shapes.word(noun, words)
  local known = tables.set(words)
  local function check(report, at, value)
    if type(value) ~= "string" then
      add(report, at, "one of the words " .. concat(words, " ") .. " is wanted")
    elseif not known[value] then
      reports.add_unknown(report, at, noun, value, words)
    end
  end
  return { kind = "word", words = words, check = check }
end

--- Whether the value is a list; if not, that is noted.
local function length(report, at, value)
  local n = type(value) == "table" and tables.dense(value)
  if not n then
    add(report, at, "a list is wanted")
  end
  return n or 0
end

--- A list, each entry of a shape.
function shapes.list(entry)
  local function check(report, at, value)
    for i = 1, length(report, at, value) do
      entry.check(report, below(at, i), rawget(value, i))
    end
  end
  return { kind = "list", entry = entry, check = check }
end

--- The keys of a record in byte order; what is no record is noted and has none.
---@return table|nil keys
function shapes.keys(report, at, value)
  if type(value) ~= "table" then
    add(report, at, "a record is wanted")
    return nil
  end
  local keys, has_others = tables.keys(value)
  if has_others then
    add(report, at, "a record with names as keys is wanted")
    return nil
  end
  return keys
end

--- A record of any names, each value of a shape.
function shapes.map(entry)
  local function check(report, at, value)
    local keys = shapes.keys(report, at, value) or {}
    for i = 1, #keys do
      local here = below(at, keys[i])
      shapes.name.check(report, here, keys[i])
      entry.check(report, here, rawget(value, keys[i]))
    end
  end
  return { kind = "map", entry = entry, check = check }
end

--- A record whose keys are rows, each of its shape.
---@param noun string what a key is, for messages
---@param rows table key -> shape
---@param needs table|nil list of keys that must be there
---@param other table|nil the shape of every other key; absent: no other key is known
function shapes.record(noun, rows, needs, other)
  local function check(report, at, value)
    local keys = shapes.keys(report, at, value)
    for i = 1, keys and needs and #needs or 0 do
      if rawget(value, needs[i]) == nil then
        add(report, below(at, needs[i]), "is wanted here")
      end
    end
    for i = 1, keys and #keys or 0 do
      local here, shape = below(at, keys[i]), rows[keys[i]] or other
      if shape then
        shape.check(report, here, rawget(value, keys[i]))
      else
        reports.add_unknown(report, here, noun, keys[i], tables.keys(rows))
      end
    end
  end
  return { kind = "record", noun = noun, rows = rows, needs = needs, other = other, check = check }
end

--- Any plain data: texts, numbers, booleans, and tables of them.
shapes.plain = { kind = "plain" }

function shapes.plain.check(report, at, value)
  if type(value) ~= "table" then
    return shapes.scalar.check(report, at, value)
  end
  if #at > MAX_DEPTH then
    return add(report, at, "nested too deep")
  end
  local keys, has_others = tables.keys(value)
  if has_others then
    return shapes.list(shapes.plain).check(report, at, value)
  end
  for i = 1, #keys do
    shapes.plain.check(report, below(at, keys[i]), rawget(value, keys[i]))
  end
end

return shapes
