-- Claims about the sugar that no conformance case can make: terms as parts, mistakes found together,
-- inheritance on its own.

local encoding = require("llm_policy.language.encoding")
local reports = require("llm_policy.language.report")
local sugar = require("llm_policy.language.sugar")
local vocabularies = require("llm_policy.language.vocabulary")

local function first_error(check_filter)
  local report = reports.new()
  sugar.check_filter(check_filter, { "filter" }, { report = report, vocabulary = vocabularies.new() })
  return reports.errors(report)
end

return function(check)
  local profile = {
    filter = { "requirements", { "has_cap", "vision" } },
    selector = { "prefer", { "is", "no_log" }, { "argmax" } },
    mutate = { { "set_param", "n", 1 }, { jitter = { top_p = 0.5 } } },
    retry_policy = { "always", { action = "abort" } },
  }
  local before = encoding.value(profile)
  local text = encoding.term(sugar.lower(profile))
  local expected = '(policy (and (meets_req) (has_cap "vision")) (gate (not (is "breaker_open")) (zero)) '
    .. '(prefer (is "no_log") (argmax)) (seq (set_param "n" 1) (jitter "top_p" 0.5)) (always {"action":"abort"}))'
  check("a term may stand for any part, or inside it", text == expected, text)
  check("lowering changes nothing in the profile", encoding.value(profile) == before)

  local term, errors = sugar.lower({ selector = "argmx", mutate = { "identty" }, filter = 5 })
  check("a profile with mistakes has no term", term == nil)
  check("all mistakes are found together", #errors == 3, errors)
  check("they are sorted by their paths", errors[1].path == "$.filter" and errors[3].path == "$.selector")
  check("a mistake names the nearest word", errors[3].nearest == "argmax", errors[3].nearest)

  local found = first_error({ any_of = { { "and", { "top" }, { "is", "has_te" } } } })[1]
  check("the path goes on into a term", found.path == "$.filter.any_of[1].and[2].is[1]", found.path)
  local place = encoding.value(found.at)
  check("the place is that of the data", place == '["filter","any_of",1,3,2]', place)
  check("the refusal's hint is the nearest name", found.nearest == "has_tee", found.nearest)

  local ring = {}
  ring[1], ring[2] = ring, ring
  check("a filter in a ring is one mistake", #first_error(ring) == 1)

  local profiles = {
    a = { filter = { is = "no_log", requirements = true }, selector_opts = { k = 2 } },
    b = { extends = "a", filter = { is = "has_tee" } },
    c = { extends = "b", filter = {} },
    d = { extends = "d" },
    e = { extends = "f" },
  }
  local b = encoding.value(sugar.resolve(profiles, "b"))
  check(
    "records are merged one level, the child's entries winning",
    b == '{"filter":{"is":"has_tee","requirements":true},"selector_opts":{"k":2}}',
    b
  )
  check("an empty part replaces the parent's", next(sugar.resolve(profiles, "c").filter) == nil)
  check("the profiles stay as they are", profiles.b.selector_opts == nil and profiles.b.extends == "a")
  local _, fault = sugar.resolve(profiles, "d")
  check("a ring of profiles is refused at its extends", fault.path == "$.d.extends", fault.path)
  _, fault = sugar.resolve(profiles, "e")
  check("a parent that is not there is refused", fault.path == "$.e.extends", fault.path)
end
