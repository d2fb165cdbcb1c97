-- Claims about reading JSON text.

local json = require("llm_policy.base.json")

local function is_text(text, expected)
  return json.decode(text) == expected
end

-- Text -> the message that refuses it.
local REFUSED = {
  [""] = "1:1: value expected",
  ["  "] = "1:3: value expected",
  ["null"] = "1:1: null at the top",
  ["[1,null]"] = "1:4: null in an array",
  ['{"a":1,"a":2}'] = "1:8: repeated key",
  ['{"a":null,"a":2}'] = "1:11: repeated key",
  ["[1,]"] = "1:4: value expected",
  ["[1 2]"] = "1:4: `,` or `]` expected",
  ['{"a":1,}'] = "1:8: a key in quotes expected",
  ["{a:1}"] = "1:2: a key in quotes expected",
  ['{"a" 1}'] = "1:6: `:` expected",
  ['{"a":1 "b":2}'] = "1:8: `,` or `}` expected",
  ["[1]\n[2]"] = "2:1: end of text expected",
  ['{"a":\n  [1,\n   x]}'] = "3:4: value expected",
  ["tru"] = "1:1: value expected",
  ["NaN"] = "1:1: value expected",
  ["01"] = "1:1: bad number",
  ["1e999"] = "1:1: bad number",
  ["[-]"] = "1:2: bad number",
  ['"abc'] = "1:5: unfinished string",
  ['"a\nb"'] = "1:3: control character in a string",
  ['"\\x"'] = "1:3: bad escape",
  ['"\\u12g4"'] = "1:4: bad escape",
  ['"\\ud800"'] = "1:4: lone surrogate",
  ['"\\ud800\\u0041"'] = "1:4: lone surrogate",
  ['"\\udc00"'] = "1:4: lone surrogate",
}

local function check_values(check)
  local value = json.decode(' {"a": [1, -2.5e1, true, false, "x"], "b": null, "c": {}, "d": {"e": []}} ')
  local a = value.a
  check("an array keeps its order", #a == 5 and a[1] == 1 and a[2] == -25 and a[3] == true and a[4] == false)
  check("a string is a string", a[5] == "x")
  check("a null member is absent", value.b == nil)
  check("empty tables are empty", next(value.c) == nil and next(value.d.e) == nil)
  check("the top may be any value", is_text("false", false) and is_text(' "x"', "x") and is_text("7 ", 7))
  check("numbers round to the nearest", is_text("9007199254740993", 9007199254740992))
end

local function check_strings(check)
  check("escapes are read", is_text('"\\"\\\\\\/\\b\\f\\n\\r\\t"', '"\\/\b\f\n\r\t'))
  check("an escaped letter is UTF-8", is_text('"\\u0041\\u00e9\\u20ac"', "A" .. string.char(195, 169, 226, 130, 172)))
  check("a pair is one character", is_text('"\\ud83d\\uDE00"', string.char(240, 159, 152, 128)))
  check("an escaped zero is a byte", is_text('"a\\u0000b"', "a" .. string.char(0) .. "b"))
  for code = 0, 255 do
    local text = "a" .. string.char(code) .. "b"
    if code ~= 34 and code ~= 92 then
      local expected = code >= 32 and text or nil
      check("a byte passes unless it is a control character: " .. code, json.decode('"' .. text .. '"') == expected)
    end
  end
end

return function(check)
  check_values(check)
  check_strings(check)
  for text, expected in pairs(REFUSED) do
    local value, message = json.decode(text)
    check("refused: " .. text, value == nil and message == expected, message)
  end
  local deepest = string.rep("[", 64) .. string.rep("]", 64)
  local _, message = json.decode("[" .. deepest .. "]")
  check("64 levels are read", json.decode(deepest) ~= nil)
  check("65 are not", message == "1:65: nested too deep", message)
  check("only text is read", json.decode(nil) == nil)
end
