-- What a Lua table can hold and JSON cannot: the escapes {"$": word} of a case, and {"$json": text}
-- for what is deeper than the core's JSON goes.
--
-- Where a runtime has no infinity and no NaN, a function stands for them: no number, and as
-- inadmissible as they are.

local json = require("llm_policy.base.json")
local numbers = require("llm_policy.base.numbers")

local type = type

local function nothing() end

local infinity = numbers.HIGH or nothing
local WORDS = {
  ["nan"] = infinity ~= nothing and infinity - infinity or nothing,
  ["inf"] = infinity,
  ["-inf"] = infinity ~= nothing and -infinity or nothing,
  ["-0"] = -(numbers.MAX - numbers.MAX),
  ["function"] = nothing,
}

--- The word of an escape, or nothing.
local function word_of(value, mark)
  local word = value[mark]
  if type(word) == "string" and next(value, next(value)) == nil then
    return word
  end
end

local decode
decode = function(value, place)
  if type(value) ~= "table" then
    return value
  end
  local deep = word_of(value, "$json")
  if deep then
    return decode(assert(json.decode(deep)), place)
  end
  local word = word_of(value, "$")
  if word == "cycle" then
    return place.root
  elseif word == "hole" then
    return nil
  elseif word and WORDS[word] then
    return WORDS[word]
  end
  local out = {}
  place.root = place.root or out
  for key, each in next, value do
    out[key] = decode(each, place)
  end
  return out
end

return {
  --- A value of a case, its escapes read.
  decode = function(value)
    return decode(value, {})
  end,
}
