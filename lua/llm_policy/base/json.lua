-- JSON text to plain tables, strictly: what would read differently elsewhere is an error (spec 1.2).
--
-- Why not the host's reader: numbers are rounded correctly, a null in an array and a repeated key
-- are refused instead of guessed at. Bytes above 127 pass through as they are.

local json_string = require("llm_policy.base.json_string")
local numbers = require("llm_policy.base.numbers")

local byte, find, sub = string.byte, string.find, string.sub
local type = type
local parse_number = numbers.parse
local read_string = json_string.read

local DEEPEST = 64

local QUOTE = byte('"')
local COMMA, COLON = byte(",:", 1, 2)
local BRACKET_OPEN, BRACKET_CLOSE, BRACE_OPEN, BRACE_CLOSE = byte("[]{}", 1, 4)

local WORDS = { ["true"] = true, ["false"] = false }

local json = {}

-- Stands for null until its place says whether it may be one.
local NULL = {}

-- Readers take the text and a position, and answer a value and the position after it; a failure is
-- no position, with its message and its own position as the third and fourth results.
local function fail(message, at)
  return nil, nil, message, at
end

local function skip_space(text, at)
  return find(text, "[^ \t\r\n]", at) or #text + 1
end

local function read_number(text, at)
  local _, stop = find(text, "^[-+.0-9eE]+", at)
  local value = stop and parse_number(sub(text, at, stop))
  if not value then
    return fail(stop and "bad number" or "value expected", at)
  end
  return value, stop + 1
end

local function read_word(text, at)
  local _, stop = find(text, "^%a+", at)
  local word = stop and sub(text, at, stop)
  if WORDS[word] ~= nil then
    return WORDS[word], stop + 1
  elseif word == "null" then
    return NULL, stop + 1
  end
  return fail("value expected", at)
end

local read_value

local function read_array(text, at, depth)
  local list, count = {}, 0
  at = skip_space(text, at)
  if byte(text, at) == BRACKET_CLOSE then
    return list, at + 1
  end
  while true do
    local value, after, message, where = read_value(text, at, depth)
    if not after then
      return fail(message, where)
    elseif value == NULL then
      return fail("null in an array", at)
    end
    count = count + 1
    list[count] = value
    at = skip_space(text, after)
    local separator = byte(text, at)
    if separator == BRACKET_CLOSE then
      return list, at + 1
    elseif separator ~= COMMA then
      return fail("`,` or `]` expected", at)
    end
    at = skip_space(text, at + 1)
  end
end

-- A key with its colon; the position is that of the value.
local function read_key(text, at)
  if byte(text, at) ~= QUOTE then
    return fail("a key in quotes expected", at)
  end
  local key, after, message, where = read_string(text, at + 1)
  if not after then
    return fail(message, where)
  end
  after = skip_space(text, after)
  if byte(text, after) ~= COLON then
    return fail("`:` expected", after)
  end
  return key, skip_space(text, after + 1)
end

local function read_object(text, at, depth)
  local record, seen = {}, {}
  at = skip_space(text, at)
  if byte(text, at) == BRACE_CLOSE then
    return record, at + 1
  end
  while true do
    local key, value_at, message, where = read_key(text, at)
    if not value_at then
      return fail(message, where)
    elseif seen[key] then
      return fail("repeated key", at)
    end
    seen[key] = true
    local value, after
    value, after, message, where = read_value(text, value_at, depth)
    if not after then
      return fail(message, where)
    elseif value ~= NULL then
      record[key] = value
    end
    at = skip_space(text, after)
    local separator = byte(text, at)
    if separator == BRACE_CLOSE then
      return record, at + 1
    elseif separator ~= COMMA then
      return fail("`,` or `}` expected", at)
    end
    at = skip_space(text, at + 1)
  end
end

read_value = function(text, at, depth)
  local first = byte(text, at)
  if first == QUOTE then
    return read_string(text, at + 1)
  elseif first == BRACE_OPEN or first == BRACKET_OPEN then
    if depth >= DEEPEST then
      return fail("nested too deep", at)
    end
    return (first == BRACE_OPEN and read_object or read_array)(text, at + 1, depth + 1)
  elseif first and first >= 97 and first <= 122 then
    return read_word(text, at)
  end
  return read_number(text, at)
end

-- "line:column", both from 1, the column in bytes.
local function place(text, at)
  local line, line_start = 1, 1
  local line_end = find(text, "\n", 1, true)
  while line_end and line_end < at do
    line, line_start = line + 1, line_end + 1
    line_end = find(text, "\n", line_start, true)
  end
  return numbers.format(line) .. ":" .. numbers.format(at - line_start + 1)
end

--- The value of a JSON text: tables, strings, booleans, doubles. A null is an absent key of an object
--- and an error elsewhere; so are a repeated key, a lone surrogate and more than 64 levels.
---@param text string
---@return any value  nothing after an error
---@return string? message  starts with "line:column: "
function json.decode(text)
  if type(text) ~= "string" then
    return nil, "1:1: text expected"
  end
  local start = skip_space(text, 1)
  local value, after, message, where = read_value(text, start, 0)
  if after and value == NULL then
    message, where = "null at the top", start
  elseif after and skip_space(text, after) <= #text then
    message, where = "end of text expected", skip_space(text, after)
  end
  if message then
    return nil, place(text, where) .. ": " .. message
  end
  return value
end

return json
