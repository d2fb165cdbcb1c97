-- The language as embedders of it know it: terms, their carriers, and policies to plan with.

local admission = require("llm_policy.language.admission")
local decide = require("llm_policy.semantics.decide")
local encoding = require("llm_policy.language.encoding")
local explain = require("llm_policy.semantics.explain")
local normal_form = require("llm_policy.language.normal_form")
local numbers = require("llm_policy.base.numbers")
local policies = require("llm_policy.semantics.policy")
local sequence = require("llm_policy.verbs.sequence")
local signature = require("llm_policy.language.signature")
local tables = require("llm_policy.base.tables")
local vocabularies = require("llm_policy.language.vocabulary")

local type = type

--- The vocabulary of options: `opts.schema`, or the options themselves as a schema.
local function vocabulary_of(opts)
  return vocabularies.new(opts and opts.schema or opts)
end

local function normal_encoding(term)
  return encoding.encode(normal_form.normalize(term))
end

local term = {
  --- The sort of a term, or nothing and its refusal {code, path, detail}.
  check = function(t, schema)
    local sort, refusal = admission.check(t, schema)
    return sort, refusal
  end,
  --- The normal form of an admitted term.
  normalize = normal_form.normalize,
  --- The bytes of an admitted term, as it stands.
  encode = encoding.encode,
  --- The fingerprint of an admitted term's normal form.
  fingerprint = function(t)
    return encoding.fingerprint(normal_encoding(t))
  end,
  --- The identity of an admitted term's normal form: "sha256:" and 64 hex digits.
  identity = function(t)
    return encoding.identity(normal_encoding(t))
  end,
  --- An admitted term in plain words.
  describe = explain.describe,
  --- An admitted Policy by its verbs, in plain words: a list of {verb, title, lines}.
  outline = explain.outline,
}

local function leave_as_integers(request)
  local names = tables.keys(request)
  for i = 1, #names do
    local value = request[names[i]]
    if type(value) == "number" then
      request[names[i]] = numbers.integral(value)
    end
  end
  return request
end

--- The survivors' scores, and the positions of all candidates.
local function score_all(scorer, candidates, ctx)
  local view, idx, scores = decide.view(candidates, ctx), {}, {}
  for i = 1, #candidates do
    idx[i] = i
  end
  scorer:score(view, idx, #candidates, scores)
  return scores
end

local function select_all(selector, scored, ctx)
  local candidates, idx, scores, out = {}, {}, {}, {}
  for i = 1, #scored do
    candidates[i], idx[i], scores[i] = scored[i].candidate, i, scored[i].score
  end
  local found = decide.all(selector:select(decide.view(candidates, ctx), idx, #scored, scores), idx)
  for r = 1, #found do
    out[r] = { candidate = candidates[found[r].index], score = found[r].score }
  end
  return out
end

local function plan_with(policy, vocabulary)
  return {
    term = policy.term,
    fingerprint = policy.fingerprint,
    id = policy.id,
    --- Plans over candidates in their given order.
    plan = function(candidates, ctx)
      return policies.plan(policy, vocabulary, decide.view(candidates, ctx))
    end,
    classify = function(kind)
      return sequence.classify(policy.carriers.failures, kind)
    end,
  }
end

-- What a carrier is to an embedder, by sort.
local FACES = {
  Pred = function(pred)
    return function(candidate, ctx)
      return pred:holds(decide.view({ candidate }, ctx), 1)
    end
  end,
  Scorer = function(scorer)
    return function(candidates, ctx)
      return score_all(scorer, candidates, ctx)
    end
  end,
  Selector = function(selector)
    return function(scored, ctx)
      return select_all(selector, scored, ctx)
    end
  end,
  Xform = function(transform)
    return function(request, candidate, ctx)
      return leave_as_integers(transform(tables.copy(request), decide.view({ candidate or {} }, ctx), 1))
    end
  end,
  FailPlan = function(plan)
    return plan
  end,
}

--- The carrier of any term: a Pred is fn(candidate, ctx) -> holds, reason; a Scorer
--- fn(candidates, ctx) -> scores; a Selector fn(list of {candidate, score}, ctx) -> list; an Xform
--- fn(request, candidate, ctx) -> request; a FailPlan the table reason -> action; a Policy as `compile`.
---@return any carrier
---@return string|table sort the refusal where there is no carrier
---@return table|nil normal_form
local function eval_sort(t, opts)
  local vocabulary = vocabulary_of(opts)
  local sort, refusal = admission.check(t, vocabulary)
  if not sort then
    return nil, refusal
  end
  if sort == "Policy" then
    local policy = policies.build(t, vocabulary)
    return plan_with(policy, vocabulary), sort, policy.term
  end
  local nf = normal_form.normalize(t)
  return FACES[sort](decide.carrier(nf, vocabulary)), sort, nf
end

--- A policy to plan with: {plan(candidates, ctx), classify(kind), term, fingerprint, id}.
---@return table|nil policy
---@return table|nil refusal
local function compile(t, opts)
  local vocabulary = vocabulary_of(opts)
  local allows_functions = opts ~= nil and opts.allows_functions == true
  local ok, refusal, is_local = policies.check(t, vocabulary, allows_functions)
  if not ok then
    return nil, refusal
  end
  return plan_with(policies.build(t, vocabulary, is_local), vocabulary)
end

--- A policy narrowed by an envelope, a Pred and-ed to its filter.
---@return table|nil term in normal form
---@return table|nil refusal
local function constrain(t, envelope, schema)
  local ok, refusal = policies.check(t, schema)
  if not ok then
    return nil, refusal
  end
  local sort, envelope_refusal = admission.check(envelope, schema)
  if sort ~= "Pred" then
    return nil, envelope_refusal or { code = "sort_mismatch", path = "$", detail = "an envelope is a Pred" }
  end
  return normal_form.normalize(policies.constrain(t, envelope))
end

--- The fields of a vocabulary: name -> {sort, default}; without a default: absent-high.
local function fields_of(schema)
  local all, out = vocabularies.new(schema).fields, {}
  local names = tables.keys(all)
  for i = 1, #names do
    local field = all[names[i]]
    out[names[i]] = { sort = field.sort }
    if field.sort == "Bool" or field.default ~= numbers.HIGH then
      out[names[i]].default = field.default
    end
  end
  return out
end

--- The core's fields; called with a schema, those that it declares too.
local fields = setmetatable(fields_of(), {
  __call = function(_, schema)
    return fields_of(schema)
  end,
})

return {
  term = term,
  eval_sort = eval_sort,
  compile = compile,
  constrain = constrain,
  fields = fields,
  sig = signature,
}
