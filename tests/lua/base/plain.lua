-- Claims about data from outside that a handle carries.

local numbers = require("llm_policy.base.numbers")
local plain = require("llm_policy.base.plain")

return function(check)
  local data = { a = { 1, "x", true, false }, b = {} }
  check("clean data stays itself", plain.clean(data) == data)
  check("nothing stays nothing", plain.clean(nil) == nil)

  local dirty = { a = { 1, next, false }, b = true }
  local clean = plain.clean(dirty)
  check("a function becomes an empty text", clean.a[2] == "")
  check("what stands beside it stays", clean.a[1] == 1 and clean.a[3] == false and clean.b == true)
  check("the original is left alone", dirty.a[2] == next)

  if numbers.HIGH then
    check("an infinity becomes an empty text", plain.clean({ numbers.HIGH })[1] == "")
    check("so does a NaN", plain.clean({ numbers.HIGH - numbers.HIGH })[1] == "")
  end
end
