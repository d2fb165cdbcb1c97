-- Claims about strings as bytes.

local bytes = require("llm_policy.base.bytes")

-- In byte order; each also before all that follow it.
local ORDERED = {
  "",
  string.char(0),
  string.char(0, 0),
  "A",
  "Z",
  "_",
  "a",
  "a" .. string.char(0),
  "aa",
  "ab",
  "abcd",
  "abcda",
  "abcdb",
  "abcdefgh",
  "abce",
  "b",
  string.char(127),
  string.char(128),
  string.char(195, 169),
  string.char(255),
  string.char(255, 0),
}

return function(check)
  for i = 1, #ORDERED do
    for j = 1, #ORDERED do
      local claim = "strings come in byte order: " .. bytes.quote(ORDERED[i]) .. ", " .. bytes.quote(ORDERED[j])
      check(claim, bytes.less(ORDERED[i], ORDERED[j]) == (i < j))
    end
  end
  local plain = "plain /" .. string.char(0, 127, 195, 169)
  check("plain bytes are quoted as they are", bytes.quote(plain) == '"' .. plain .. '"')
  check("exactly five characters are escaped", bytes.quote('\\"\n\r\t\b') == '"\\\\\\"\\n\\r\\t\b"')
end
