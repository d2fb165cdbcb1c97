-- Claims about explanations: they agree with the ranking, add up to its scores, name the clauses, and
-- have no effect; and about identities that stand for admitted policies.

local boundary = require("llm_policy.engine.boundary")
local encoding = require("llm_policy.language.encoding")
local explanation = require("llm_policy.engine.explanation")
local face = require("llm_policy")
local tables = require("llm_policy.base.tables")

local SCORER = { "add", { "scale", 2, { "field", "tok_s" } }, { "lit", 1 } }
local CONFIG = {
  providers = { a = { base_url = "http://a" }, b = { base_url = "http://b" }, c = { base_url = "http://c" } },
  models = {
    m = {
      served_by = {
        { provider = "a", price_in = 1, tok_s = 3 },
        { provider = "b", price_in = 2, tok_s = 5 },
        { provider = "c", price_in = 9 },
      },
    },
  },
  profiles = {
    default = { filter = { { cmp = { "price_in", "le", 5 } }, "not_disabled" }, scorer = SCORER },
    narrow = { filter = { provider_in = { "a" } } },
  },
}

local function explained(contract)
  return explanation.explained(assert(face.new(CONFIG)), contract, { now_ms = 0 })
end

local function order(check)
  local engine = assert(face.new(CONFIG))
  local before = encoding.value(engine:dump_state())
  local told = explanation.explained(engine, {}, { now_ms = 0 })
  local ranked, _, rejected = engine:rank({}, { now_ms = 0 })
  check("as many are explained as are ranked", #told.ordered == #ranked and #ranked == 2)
  for r = 1, #ranked do
    local entry, sum = told.ordered[r], 0
    for p = 1, #entry.contributions do
      sum = sum + entry.contributions[p].score
    end
    check("in the same order", entry.provider_id == ranked[r].provider_id, entry)
    check("the contributions add up to the score", sum == ranked[r].score and entry.score == sum, entry)
  end
  check("the fastest is first, by its throughput", told.ordered[1].contributions[2].score == 10, told.ordered[1])
  check("a contribution has words", told.ordered[1].contributions[2].term == "2 x tok_s", told.ordered[1])
  check("who is rejected is the same", told.rejected[1].reason == rejected[1].reason and #told.rejected == 1)
  check("the clause is named", told.rejected[1].clause == "price_in <= 5", told.rejected[1])
  check("nothing changes", encoding.value(engine:dump_state()) == before)
  check("the policy is the run's", told.policy.id == engine:start({}, {}).state_handle.policy_id, told.policy)
end

local function others(check)
  local pinned = explained({ requirements = { pin = { provider = "b" } } })
  check("a pin narrows", #pinned.ordered == 1 and pinned.ordered[1].provider_id == "b")
  local own = pinned.rejected[1]
  check("what the contract itself refuses has no clause", own.reason == "provider_id" and own.clause == nil, own)
  check("a clause alone is one", explained({ profile = "narrow" }).rejected[1].clause == "provider is a")
  check("an unknown profile is an error", explained({ profile = "x" }).error == "unknown_profile")
  local refused = explained({ policy_ir = { "policies" } })
  check(
    "a refused policy says why",
    refused.error == "policy_refused" and refused.refusal.code == "unknown_op",
    refused
  )
  local config = tables.copy(CONFIG)
  local fn = require("llm_policy").dsl.F.where(function(candidate)
    return candidate.provider_id == "a"
  end)
  config.profiles = { default = { filter = fn, scorer = SCORER } }
  local told = explanation.explained(assert(face.new(config)), {}, {})
  check("functions have words", told.rejected[1].clause == "a function of the operator holds", told.rejected)
  check("and no identity", told.policy.id == nil and told.policy.term == nil)
end

local function term(number)
  return { "policy", { "top" }, { "lit", number }, { "argmax" }, { "id" }, { "always", { action = "abort" } } }
end

local function identities(check)
  local engine = assert(face.new(CONFIG))
  local open = boundary.open(engine)
  local first, forgotten = open.admit(term(0)), open.admit(term(1))
  check("an admitted policy is known", open.knows(first) == true)
  check("another is not", open.knows("sha256:0") == false)
  for number = 1, 2000 do
    open.admit(term(number))
    if number - 100 * math.floor(number / 100) == 0 then
      check("one that is asked for stays", open.knows(first) == true, number)
    end
  end
  check("and stands for its term", engine:rank({ policy_ir = first }) ~= nil)
  check("one that nobody asked for goes", open.knows(forgotten) == false)
end

return function(check)
  order(check)
  others(check)
  identities(check)
end
