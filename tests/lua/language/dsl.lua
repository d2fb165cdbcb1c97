-- Claims about the dsl: it builds the terms that the language names, and blames the right constructor.

local admission = require("llm_policy.language.admission")
local dsl = require("llm_policy.language.dsl")
local encoding = require("llm_policy.language.encoding")
local normal_form = require("llm_policy.language.normal_form")

local F, S, R, M, P = dsl.F, dsl.S, dsl.R, dsl.M, dsl.P

local SCHEMA = { params = { "style" }, customs = { "redact" } }

-- constructed term -> its normal form's encoding, without the tag
local BUILT = {
  { F.all_of({ F.requirements(), F.not_disabled() }), '(and (meets_req) (not (is "disabled")))' },
  { F.all_of({}), "(top)" },
  { F.any_of({}), "(bot)" },
  { F.none_of({ F.is("has_tee"), F.has_cap("vision") }), '(not (or (has_cap "vision") (is "has_tee")))' },
  { F.all_of({ "breaker_closed", F.scope_matches() }), '(and (not (is "breaker_open")) (scope_matches))' },
  { F.tier_in({ "partner" }), '(tier_eq "partner")' },
  { F.provider_not_in({ "a", "b" }), '(not (or (provider_eq "a") (provider_eq "b")))' },
  { F.price_max({ input = 2, output = 6 }), '(and (cmp "price_in" "le" 2) (cmp "price_out" "le" 6))' },
  { S.balanced({ price_in = 0.75, context = 0.25 }), nil },
  { S.add({ S.lit(1) }), "(lit 1)" },
  { S.clamp(0, 1, S.neg(S.field("context"))), '(clamp 0 1 (neg (field "context")))' },
  { R.sample(), "(sample 1)" },
  { R.top_k(), "(top_k 3 (argmax))" },
  { R.prefer(F.is("no_log")), '(prefer (is "no_log") (argmax))' },
  { R.chain({ { provider = "p", model = "m" } }), '(chain [{"model":"m","provider":"p"}])' },
  { M.pipe({ M.id(), M.set_param("style", "dry") }), '(set_param "style" "dry")' },
  { M.clamp("temperature", 0, 1), '(clamp_param "temperature" 0 1)' },
  { M.from_ctx("seed"), '(inject_seed "seed")' },
  { M.custom("redact"), '(custom "redact")' },
  { M.when(F.top(), M.jitter("top_p", 0.5)), '(when (top) (jitter "top_p" 0.5))' },
  {
    P.plan({ unknown = { action = "abort" }, timeout = { action = "retry_same" } }),
    '(override (always {"action":"abort"}) "timeout" {"action":"retry_same"})',
  },
}

local BALANCED = '(add (scale 0.25 (normalize (field "context"))) (scale 0.75 (neg (normalize (field "price_in")))))'

-- a part of the message, the constructor that raises it, and what it is given
local BLAMED = {
  { "F.cmp: argument 2", F.cmp, "price_in", "less", 1 },
  { "F.is: argument 1", F.is },
  { "F.top: more arguments", F.top, 1 },
  { "F.all_of[1]: no filter `requirments`", F.all_of, { "requirments" } },
  { "F.all_of[2]: ", F.all_of, { F.top(), R.argmax() } },
  { "F.price_max.into: ", F.price_max, { into = 1 } },
  { "S.add[1]: ", S.add, { 5 } },
  { "S.balanced.context: ", S.balanced, { context = "much" } },
  { "R.prefer: argument 1", R.prefer },
  { "M.custom: argument 1", M.custom, 5 },
  { "P.always: argument 1", P.always, { action = "retry" } },
  { "P.plan.timeout: ", P.plan, { timeout = {} } },
  { "policy: no part `selectr`, did you mean `selector`?", dsl.policy, { selectr = 1 } },
  { "policy.filter: a Pred is wanted", dsl.policy, { filter = R.argmax() } },
}

return function(check)
  for i = 1, #BUILT do
    local term, expected = BUILT[i][1], BUILT[i][2] or BALANCED
    local sort = admission.check(term, SCHEMA)
    local text = sort and encoding.term(normal_form.normalize(term))
    check("it builds " .. expected, text == expected, text)
  end

  for i = 1, #BLAMED do
    local ok, message = pcall(BLAMED[i][2], BLAMED[i][3], BLAMED[i][4], BLAMED[i][5])
    local found = not ok and string.find(message, BLAMED[i][1], 1, true) ~= nil
    check("it blames " .. BLAMED[i][1], found, message)
  end

  local whole = encoding.term(dsl.policy({}))
  local expected = '(policy (and (meets_req) (not (is "disabled"))) (zero) (argmax) (id) '
    .. '(always {"action":"next_candidate"}))'
  check("a policy of no parts filters, orders and fails as a profile does", whole == expected, whole)

  local function fn() end
  local is_local = dsl.policy({ filter = F.where(fn), selector = R.custom(fn), mutate = M.custom(fn) })
  local _, refusal = admission.check(is_local, SCHEMA)
  check("a policy with a function is refused as a term", refusal.code == "unknown_op", refusal.code)
  local _, _, found = admission.check(is_local, SCHEMA, true)
  check("a policy with a function is local where functions are allowed", found == true)

  local first, second = F.not_disabled(), F.not_disabled()
  check("two terms never share a table", first ~= second and first[2] ~= second[2])
end
