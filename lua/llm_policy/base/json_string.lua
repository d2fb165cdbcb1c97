-- Strings of JSON text: their escapes, and what may not stand in them.

local byte, char, find, sub = string.byte, string.char, string.find, string.sub
local concat = table.concat

local QUOTE, BACKSLASH = byte('"\\', 1, 2)

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

-- What ends a run of plain string bytes: `"`, `\` and control characters, named by what they are not, since
-- `%c` follows the locale.
local SPECIAL = "[^ !#-[%]^-" .. char(255) .. "]"

local json_string = {}

local function fail(message, at)
  return nil, nil, message, at
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

--- The string whose opening quote is before the position, and the position after its closing one;
--- after an error neither, but a message and its position.
---@param text string
---@param at integer
---@return string?
---@return integer? after
---@return string? message
---@return integer? where
function json_string.read(text, at)
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

return json_string
