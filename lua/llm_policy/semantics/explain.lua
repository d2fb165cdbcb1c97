-- Explain: a second algebra over the same signature. A term in plain words, and what each part of
-- a scorer contributed to a candidate's score.

local decide = require("llm_policy.semantics.decide")
local encoding = require("llm_policy.language.encoding")
local fold = require("llm_policy.semantics.fold")
local names = require("llm_policy.language.sorts")
local numbers = require("llm_policy.base.numbers")
local tables = require("llm_policy.base.tables")

local concat, insert, type = table.concat, table.insert, type

local RELATIONS = { lt = "<", le = "<=", eq = "=", ne = "~=", ge = ">=", gt = ">" }

local function shown(value)
  if type(value) == "number" then
    return numbers.brief(value)
  end
  return type(value) == "string" and value or encoding.value(value)
end

--- A sentence with arguments in the places of {1}, {2}, ....
local function words(template)
  return function(args)
    local out = string.gsub(template, "{(%d)}", function(digit)
      return shown(args[digit == "1" and 1 or digit == "2" and 2 or digit == "3" and 3 or 4])
    end)
    return out
  end
end

local function joined(separator)
  return function(args)
    return "(" .. concat(args, separator) .. ")"
  end
end

local function chain_words(args)
  local out = {}
  for i = 1, #args[1] do
    local provider, model = names.chain_entry(args[1][i])
    out[i] = provider .. "/" .. model
  end
  return "exactly, in this order: " .. concat(out, ", ")
end

local ACTION_WORDS = {
  retry_same = "call the same again",
  next_candidate = "try the next candidate",
  next_provider_same_model = "try the next provider of the same model",
  disable_provider = "disable the provider and try the next candidate",
  abort = "give up",
}

-- Keys of an action whose words stand elsewhere in its sentence.
local TOLD = { action = true, then_action = true, attempts = true, backoff_ms = true }
local KEY_WORDS = { open_breaker_ms = "the breaker opens for {1} ms" }

local function wait_words(backoff_ms)
  if type(backoff_ms) ~= "table" then
    return " after " .. shown(backoff_ms) .. " ms"
  end
  local out = {}
  for i = 1, #backoff_ms do
    out[i] = shown(backoff_ms[i])
  end
  return " after " .. concat(out, ", then ") .. " ms"
end

--- How often the same candidate is called again, and what then.
local function retry_words(action)
  local attempts = action.attempts or 1
  local out = " " .. shown(attempts) .. (attempts == 1 and " time" or " times")
  if action.backoff_ms ~= nil then
    out = out .. wait_words(action.backoff_ms)
  end
  return out .. ", then " .. ACTION_WORDS[action.then_action or "next_candidate"]
end

--- An action as a sentence; whatever key it has is in it.
local function action_words(action)
  local keys, out = tables.keys(action), { ACTION_WORDS[action.action] }
  if action.action == "retry_same" then
    out[1] = out[1] .. retry_words(action)
  end
  for i = 1, #keys do
    local key = keys[i]
    if not TOLD[key] or action.action ~= "retry_same" and key ~= "action" then
      out[#out + 1] = KEY_WORDS[key] and words(KEY_WORDS[key])({ action[key] }) or key .. " " .. shown(action[key])
    end
  end
  return concat(out, "; ")
end

local ALGEBRA = {
  top = words("anything"),
  bot = words("nothing"),
  ["and"] = joined(" and "),
  ["or"] = joined(" or "),
  ["not"] = words("not {1}"),
  meets_req = words("meets the contract's requirements"),
  scope_matches = words("has the request's scope or none"),
  is = words("{1}"),
  cmp = function(args)
    return args[1] .. " " .. RELATIONS[args[2]] .. " " .. shown(args[3])
  end,
  tier_eq = words("tier is {1}"),
  min_tier = words("tier is at least {1}"),
  family_eq = words("model is {1}"),
  provider_eq = words("provider is {1}"),
  served_by_eq = words("served by {1}"),
  has_cap = words("can do {1}"),
  zero = words("0"),
  add = joined(" + "),
  scale = words("{1} x {2}"),
  gate = words("({2} if {1}, else 0)"),
  neg = words("(1 - {1})"),
  normalize = words("normalized {1}"),
  clamp = words("{3} kept within {1} to {2}"),
  field = words("{1}"),
  lit = words("{1}"),
  argmax = words("highest score first"),
  ordered = words("in catalog order"),
  sample = words("drawn by the call's seed, higher scores likelier (temperature {1})"),
  chain = chain_words,
  top_k = words("the first {1} of: {2}"),
  prefer = words("{2}; those with {1} before the others"),
  id = words("unchanged"),
  seq = joined(", then "),
  set_param = words("set {1} to {2}"),
  inject_seed = words("set {1} to the call's seed"),
  clamp_param = words("keep {1} within {2} to {3}"),
  jitter = words("move {1} by up to {2}, by the call's seed"),
  filter_text = words("filter texts with {1}"),
  filter_image = words("filter images with {1}"),
  custom = words("apply the operator's {1}"),
  when = words("where {1}: {2}"),
  always = function(args)
    return "on any failure: " .. action_words(args[1])
  end,
  override = function(args)
    return args[1] .. "\non " .. args[2] .. ": " .. action_words(args[3])
  end,
  where = words("a function of the operator holds"),
  rank_with = words("as a function of the operator orders"),
  mutate_with = words("apply a function of the operator"),
}

--- The parts of a scorer whose sum is the score, and the predicates that gate them.
local function parts_of(scorer)
  local gates = {}
  while scorer[1] == "gate" do
    gates[#gates + 1] = scorer[2]
    scorer = scorer[3]
  end
  local parts = {}
  if scorer[1] ~= "add" then
    return { scorer }, gates
  end
  for i = 2, #scorer do
    parts[i - 1] = scorer[i]
  end
  return parts, gates
end

local describe

--- The arguments of an operation that joins others; anything else stands alone.
local function joined_by(op, term)
  if term[1] ~= op then
    return { term }
  end
  local out = {}
  for i = 2, #term do
    out[i - 1] = term[i]
  end
  return out
end

local function each_described(terms)
  local out = {}
  for i = 1, #terms do
    out[i] = describe(terms[i])
  end
  return out
end

local function scorer_lines(scorer)
  local parts, gates = parts_of(scorer)
  local lines = each_described(parts)
  for i = 1, #gates do
    lines[#lines + 1] = "0 unless " .. describe(gates[i])
  end
  return lines
end

--- A line for each kind of failure, what any other leads to last.
local function failure_lines(plan)
  local lines = {}
  while plan[1] == "override" do
    insert(lines, 1, plan[3] .. ": " .. action_words(plan[4]))
    plan = plan[2]
  end
  lines[#lines + 1] = (#lines > 0 and "anything else: " or "anything: ") .. action_words(plan[2])
  return lines
end

--- A policy by its verbs, in plain words.
---@param term table a Policy, admitted
---@return table outline list of {verb, title, lines}
local function outline(term)
  return {
    { verb = "filter", title = "who is eligible", lines = each_described(joined_by("and", term[2])) },
    { verb = "rank", title = "how good each is", lines = scorer_lines(term[3]) },
    { verb = "select", title = "in what order", lines = { describe(term[4]) } },
    { verb = "mutate", title = "how the request changes", lines = each_described(joined_by("seq", term[5])) },
    { verb = "sequence", title = "what failure leads to", lines = failure_lines(term[6]) },
  }
end

ALGEBRA.policy = function(_, term)
  local parts, out = outline(term), {}
  for i = 1, #parts do
    out[#out + 1] = parts[i].title .. ":"
    for j = 1, #parts[i].lines do
      out[#out + 1] = "  " .. parts[i].lines[j]
    end
  end
  return concat(out, "\n")
end

--- A term in plain words.
---@param term table admitted
---@return string
describe = function(term)
  return fold(term, ALGEBRA)
end

local function gated(part, gates)
  for i = #gates, 1, -1 do
    part = { "gate", gates[i], part }
  end
  return part
end

--- What each part of a scorer term contributes, for every survivor.
---@param scorer table the Scorer term, in normal form
---@param idx table indices of the survivors
---@return table contributions list of {term = plain words, scores = list by survivor}
local function contributions(scorer, vocabulary, view, idx, m)
  local parts, gates = parts_of(scorer)
  local out = {}
  for p = 1, #parts do
    local scores = {}
    decide.carrier(gated(parts[p], gates), vocabulary):score(view, idx, m, scores)
    out[p] = { term = describe(parts[p]), scores = scores }
  end
  return out
end

return {
  describe = describe,
  outline = outline,
  contributions = contributions,
  ALGEBRA = ALGEBRA,
  ACTION_WORDS = ACTION_WORDS,
}
