-- Claims about the gate at load.

local platform = require("llm_policy.base.platform")

return function(check)
  local agrees, reason = platform.check()
  check("this runtime agrees", agrees == true and reason == nil, reason)
  check("an agreeing runtime is let in", platform.demand() == nil)
  check("the compiler is off only where there is one", not platform.wants_jit_off or type(rawget(_G, "jit")) == "table")
end
