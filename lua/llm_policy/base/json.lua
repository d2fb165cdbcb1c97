-- JSON text to plain tables, strictly: what would read differently elsewhere is an error (spec 1.2).
--
-- Why not the host's reader: numbers are rounded correctly, a null in an array and a repeated key
-- are refused instead of guessed at. Bytes above 127 pass through as they are.

local numbers = require("llm_policy.base.numbers")

local byte, char, find, sub = string.byte, string.char, string.find, string.sub
local concat = table.concat
local type = type
local parse_number = numbers.parse

local DEEPEST = 64

local QUOTE, BACKSLASH = byte('"\\', 1, 2)
local COMMA, COLON = byte(",:", 1, 2)
local BRACKET_OPEN, BRACKET_CLOSE, BRACE_OPEN, BRACE_CLOSE = byte("[]{}", 1, 4)

local WORDS = { ["true"] = true, ["false"] = false }
local ESCAPES = {
  ['"'] = '"',
  ["\\"] = "\\",
  ["/"] = "/",
  b = "\b",
  f = "\f",
  n = "\n",
  r = "\r",
  t = "\t",
}

local json = {}

-- What ends a run of plain string bytes: `"`, `\` and control characters, named by what they are not, since
-- `%c` follows the locale.
local SPECIAL = "[^ !#-[%]^-" .. char(255) .. "]"

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

local function utf8_char(code)
  local low = code % 64
  local rest = (code - low) / 64
  if code < 128 then
    return char(code)
  elseif code < 2048 then
    return char(192 + rest, 128 + low)
  end
  local middle = rest % 64
  rest = (rest - middle) / 64
  if code < 65536 then
    return char(224 + rest, 128 + middle, 128 + low)
  end
  local third = rest % 64
  return char(240 + (rest - third) / 64, 128 + third, 128 + middle, 128 + low)
end

-- The four hexadecimal digits at a position as a number.
local function hex4(text, at)
  if not find(text, "^%x%x%x%x", at) then
    return nil
  end
  local code = 0
  for i = at, at + 3 do
    local digit = byte(text, i)
    code = code * 16 + (digit < 58 and digit - 48 or (digit < 97 and digit - 55 or digit - 87))
  end
  return code
end

-- The bytes of a `\u` escape whose digits start at a position, the second of a pair included.
local function read_unicode(text, at)
  local code = hex4(text, at)
  if not code then
    return fail("bad escape", at)
  elseif code < 55296 or code > 57343 then
    return utf8_char(code), at + 4
  end
  local low = code < 56320 and find(text, "^\\u", at + 4) and hex4(text, at + 6)
  if not low or low < 56320 or low > 57343 then
    return fail("lone surrogate", at)
  end
  return utf8_char(65536 + (code - 55296) * 1024 + (low - 56320)), at + 10
end

local function read_escape(text, at)
  local letter = sub(text, at, at)
  if letter == "u" then
    return read_unicode(text, at + 1)
  elseif ESCAPES[letter] then
    return ESCAPES[letter], at + 1
  end
  return fail("bad escape", at)
end

-- A string whose opening quote is before the position.
local function read_string(text, at)
  local parts, count = nil, 0
  while true do
    local stop = find(text, SPECIAL, at)
    local found = stop and byte(text, stop)
    if found == QUOTE and not parts then
      return sub(text, at, stop - 1), stop + 1
    elseif not stop then
      return fail("unfinished string", #text + 1)
    elseif found ~= QUOTE and found ~= BACKSLASH then
      return fail("control character in a string", stop)
    end
    parts = parts or {}
    parts[count + 1] = sub(text, at, stop - 1)
    if found == QUOTE then
      return concat(parts), stop + 1
    end
    local escaped, after, message, where = read_escape(text, stop + 1)
    if not after then
      return fail(message, where)
    end
    parts[count + 2] = escaped
    count, at = count + 2, after
  end
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
