-- Runs one Lua suite: a module that returns function(check), where check(claim, holds, seen) notes
-- a claim. Answers `ok <number of claims>`, or the claims that failed.

local encoding = require("llm_policy.language.encoding")

local type = type

--- What was seen instead, in words; only plain values are shown.
local function shown(seen)
  if seen == nil then
    return ""
  end
  local ok, text = pcall(encoding.value, seen)
  return ": " .. (ok and text or type(seen))
end

local function run(module)
  local failures, count = {}, 0
  require(module)(function(claim, holds, seen)
    count = count + 1
    if not holds then
      failures[#failures + 1] = claim .. shown(seen)
    end
  end)
  if #failures > 0 then
    return "failed: " .. table.concat(failures, "; ")
  end
  return "ok " .. string.format("%d", count)
end

return function(module)
  local ok, answer = pcall(run, module)
  local text = ok and answer or "!error: " .. tostring(answer)
  return (string.gsub(text, "\n", " "))
end
