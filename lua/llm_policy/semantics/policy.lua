-- A policy ready to decide: admitted, in normal form, identified, and compiled to its carriers.

local admission = require("llm_policy.language.admission")
local decide = require("llm_policy.semantics.decide")
local encoding = require("llm_policy.language.encoding")
local explain = require("llm_policy.semantics.explain")
local normal_form = require("llm_policy.language.normal_form")
local numbers = require("llm_policy.base.numbers")

--- A term with the operator's envelope and-ed to its filter: it narrows, never widens (spec 1.7).
local function constrain(term, envelope)
  if not envelope then
    return term
  end
  return { "policy", { "and", envelope, term[2] }, term[3], term[4], term[5], term[6] }
end

--- The compiled policy of a term in normal form and its encoding.
local function identified(nf, text, vocabulary)
  return {
    term = nf,
    carriers = decide.carrier(nf, vocabulary),
    encoding = text,
    fingerprint = encoding.fingerprint(text),
    id = encoding.identity(text),
  }
end

--- The compiled policy of an admitted Policy term.
---@param term table admitted; is_local where functions stand in it: it is taken as it is then
---@return table policy {term, carriers, encoding?, fingerprint?, id?}
local function build(term, vocabulary, is_local)
  if is_local then
    return { term = term, carriers = decide.carrier(term, vocabulary), is_local = true }
  end
  local nf = normal_form.normalize(term)
  return identified(nf, encoding.encode(nf), vocabulary)
end

--- Whether any value is an admitted Policy term.
---@return true|nil
---@return table|nil refusal
---@return boolean|nil is_local
local function check(term, vocabulary, allows_functions)
  local sort, refusal, is_local = admission.check(term, vocabulary, allows_functions)
  if not sort then
    return nil, refusal
  end
  if sort ~= "Policy" then
    return admission.refuse("sort_mismatch", "$", "a Policy is wanted, this is a " .. sort)
  end
  return true, nil, is_local
end

--- The contributions to one survivor's score.
local function breakdown(parts, place)
  local out = {}
  for p = 1, #parts do
    out[p] = { term = parts[p].term, score = numbers.integral(parts[p].scores[place]) }
  end
  return out
end

--- The whole plan over a view: everyone in order with the score's parts, and everyone rejected.
---@return table plan {ordered = list of {candidate, score, score_breakdown},
---rejected = list of {provider, model, reason}}
local function plan(policy, vocabulary, view)
  local carriers, idx, scores, ordered, rejected = policy.carriers, {}, {}, {}, {}
  local cursor, m = decide.shortlist(carriers, view, idx, scores)
  local found = decide.all(cursor, idx)
  local parts = explain.contributions(policy.term[3], vocabulary, view, idx, m)
  for r = 1, #found do
    ordered[r] = {
      candidate = view.candidates[found[r].index],
      score = numbers.integral(found[r].score),
      score_breakdown = breakdown(parts, found[r].place),
    }
  end
  local refused = decide.rejections(carriers, view)
  for r = 1, #refused do
    local candidate = view.candidates[refused[r].index]
    rejected[r] = { provider = candidate.provider_id, model = candidate.model_family, reason = refused[r].reason }
  end
  return { ordered = ordered, rejected = rejected }
end

return { constrain = constrain, identified = identified, build = build, check = check, plan = plan }
