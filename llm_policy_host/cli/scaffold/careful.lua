-- Partners that keep no log, the cheapest first, and little room for chance in what they say.

local dsl = require("llm_policy").dsl
local F, S, M, P = dsl.F, dsl.S, dsl.M, dsl.P

return dsl.policy({
  filter = F.all_of({ F.requirements(), F.not_disabled(), F.min_tier("partner"), F.is("no_log") }),
  scorer = S.neg(S.normalize(S.field("price_in"))),
  mutate = M.clamp("temperature", 0, 0.3),
  failures = P.plan({
    content_filter = { action = "abort" },
    unknown = { action = "next_candidate" },
  }),
})
