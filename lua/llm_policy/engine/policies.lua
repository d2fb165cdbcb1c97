-- The policies of one engine: profiles lowered once, callers' terms admitted and cached.
--
-- A cached policy costs a table lookup. Callers choose terms, so the cache is bounded: two
-- generations, the older one dropped when the younger is full.

local contracts = require("llm_policy.engine.contract")
local encoding = require("llm_policy.language.encoding")
local normal_form = require("llm_policy.language.normal_form")
local observation = require("llm_policy.verbs.observation")
local policies = require("llm_policy.semantics.policy")
local predicates = require("llm_policy.verbs.predicate")
local sugar = require("llm_policy.language.sugar")
local tables = require("llm_policy.base.tables")
local vocabularies = require("llm_policy.language.vocabulary")

local at, type = vocabularies.at, type

local GENERATION = 256

local function new()
  return { young = {}, old = {}, count = 0, profiles = {} }
end

local function recall(cache, key)
  return cache.young[key] or cache.old[key]
end

local function remember(cache, key, policy)
  if cache.count >= GENERATION then
    cache.old, cache.young, cache.count = cache.young, {}, 0
  end
  cache.young[key], cache.count = policy, cache.count + 1
  return policy
end

--- Whether a policy is known; it then counts as young again.
local function keep(cache, key)
  local known = recall(cache, key)
  if known and not cache.young[key] then
    remember(cache, key, known)
  end
  return known ~= nil
end

--- The policy of a term that is known to be admitted, with the envelope over it.
local function compiled(engine, term, is_local)
  local whole = policies.constrain(term, engine.config.envelope)
  if is_local then
    return policies.build(whole, engine.config.vocabulary, true)
  end
  local nf = normal_form.normalize(whole)
  local text = encoding.encode(nf)
  local found = recall(engine.policies, text)
  if found then
    return found
  end
  local policy = policies.identified(nf, text, engine.config.vocabulary)
  remember(engine.policies, policy.id, policy)
  return remember(engine.policies, text, policy)
end

--- Admits a term and compiles it, or gives its refusal.
local function admit(engine, term, allows_functions)
  local ok, refusal, is_local = policies.check(term, engine.config.vocabulary, allows_functions)
  if not ok then
    return nil, refusal
  end
  return compiled(engine, term, is_local)
end

--- Lowers a profile; the contract may bring the chain.
local function lower(engine, name, chain)
  local config = engine.config
  local term, refusal = sugar.lower(config.profiles[name], { retry_policies = config.retry_policies, chain = chain })
  if not term then
    return nil, refusal
  end
  return admit(engine, term, true)
end

--- The profile that a contract without one means.
local function default_profile(config)
  local name = config.defaults.profile
  if name then
    return name
  end
  if config.profiles.default then
    return "default"
  end
  local names = tables.keys(config.profiles)
  return #names == 1 and names[1] or nil
end

local function of_profile(engine, name, chain)
  if type(name) ~= "string" or not engine.config.profiles[name] then
    return nil, "unknown_profile"
  end
  if chain ~= nil then
    local policy, refusal = lower(engine, name, chain)
    if policy and policy.is_local then
      policy.profile = name
    end
    return policy, policy and nil or "policy_refused", refusal
  end
  local known = engine.policies.profiles[name]
  if known then
    return known
  end
  local policy, refusal = lower(engine, name)
  if not policy then
    return nil, "policy_refused", refusal
  end
  policy.profile = policy.is_local and name or nil
  engine.policies.profiles[name] = policy
  return policy
end

--- The policy that a contract asks for, once the contract is checked.
---@return table|nil policy
---@return string|nil error "unknown_profile" or "policy_refused"
---@return table|nil refusal
local function of_contract(engine, contract)
  local is_good, mistake = contracts.check(contract, engine.params)
  if not is_good then
    return nil, "policy_refused", mistake
  end
  local term = contract.policy_ir
  if term == nil then
    return of_profile(engine, contract.profile or default_profile(engine.config), contract.chain)
  end
  if type(term) == "string" then -- the identity of a policy that was admitted before
    local known = recall(engine.policies, term)
    if known then
      return known
    end
  end
  local policy, refusal = admit(engine, term)
  return policy, policy and nil or "policy_refused", refusal
end

--- The policy of a run: known here, or compiled from the term that its handle carries.
local function of_handle(engine, handle)
  if handle.profile then
    return (of_profile(engine, handle.profile, handle.snapshot.ctx.request.chain))
  end
  local known = recall(engine.policies, handle.policy_id)
  if known then
    return known
  end
  local policy = policies.check(handle.term, engine.config.vocabulary)
      and policies.build(handle.term, engine.config.vocabulary)
    or nil
  return policy and policy.id == handle.policy_id and remember(engine.policies, policy.id, policy) or nil
end

--- The encoding of how a policy changes requests and what failures lead to: what may write health.
local function way_of(policy)
  return encoding.term(policy.term[5]) .. encoding.term(policy.term[6])
end

--- The ways of all profiles; a local one is no caller's to send.
local function ways_of(engine)
  local out, names = {}, tables.keys(engine.config.profiles)
  for i = 1, #names do
    local policy = of_profile(engine, names[i])
    if policy and not policy.is_local then
      out[way_of(policy)] = true
    end
  end
  return out
end

--- Whether the policy of a run is a caller's: the contract brought it, and no profile acts as it does. A
--- profile that was narrowed for one caller is the operator's (decision 0016).
local function is_callers(engine, policy, contract, inputs)
  if contract.policy_ir == nil or not inputs.is_callers_policy then
    return false
  end
  engine.policies.ways = engine.policies.ways or ways_of(engine)
  policy.way = policy.way or way_of(policy)
  return not engine.policies.ways[policy.way]
end

--- The filter with the contract's own pins and latency bound after the policy's.
local function narrowed(engine, policy, contract)
  local requirements = at(contract, "requirements")
  local pin, max_latency_ms = at(requirements, "pin"), at(requirements, "max_latency_ms")
  if pin == nil and max_latency_ms == nil then
    return policy.carriers
  end
  local preds, carriers = { policy.carriers.filter }, tables.copy(policy.carriers)
  if at(pin, "provider") ~= nil then
    preds[#preds + 1] = predicates.same(observation.PROVIDER, pin.provider, "provider_id")
  end
  if at(pin, "model") ~= nil then
    preds[#preds + 1] = predicates.same(observation.FAMILY, pin.model, "model_family")
  end
  if max_latency_ms ~= nil then
    local latency = engine.config.vocabulary.fields.latency_ms
    preds[#preds + 1] = predicates.compare(latency, "le", max_latency_ms + 0.0, "cmp:latency_ms:le")
  end
  carriers.filter = predicates.all(preds)
  return carriers
end

return {
  new = new,
  admit = admit,
  recall = recall,
  keep = keep,
  compiled = compiled,
  of_profile = of_profile,
  of_contract = of_contract,
  of_handle = of_handle,
  is_callers = is_callers,
  narrowed = narrowed,
}
