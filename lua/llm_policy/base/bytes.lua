-- Strings as bytes: their order and their quoted form, the same whatever the locale.

local byte, find, gsub = string.byte, string.find, string.gsub
local type = type

local ESCAPES = { ["\\"] = "\\\\", ['"'] = '\\"', ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }
local ESCAPED = '[\\"\n\r\t]'

local bytes = {}

-- Four bytes a call: `<` on strings is strcoll in PUC Lua, which follows the locale.
local function portable_less(a, b)
  if a == b then
    return false
  end
  local i = 1
  while true do
    local a1, a2, a3, a4 = byte(a, i, i + 3)
    local b1, b2, b3, b4 = byte(b, i, i + 3)
    if a1 ~= b1 then
      return b1 ~= nil and (a1 == nil or a1 < b1)
    elseif a2 ~= b2 then
      return b2 ~= nil and (a2 == nil or a2 < b2)
    elseif a3 ~= b3 then
      return b3 ~= nil and (a3 == nil or a3 < b3)
    elseif a4 ~= b4 then
      return b4 ~= nil and (a4 == nil or a4 < b4)
    end
    i = i + 4
  end
end

-- LuaJIT's own `<` compares bytes and needs no call.
local function native_less(a, b)
  return a < b
end

--- Whether string `a` comes before string `b` in byte order.
---@type fun(a: string, b: string): boolean
bytes.less = type(rawget(_G, "jit")) == "table" and native_less or portable_less

--- The string in double quotes, escaping exactly `\\` `\"` `\n` `\r` `\t` (spec 1.4).
---@param text string
---@return string
function bytes.quote(text)
  if find(text, ESCAPED) then
    text = gsub(text, ESCAPED, ESCAPES)
  end
  return '"' .. text .. '"'
end

return bytes
