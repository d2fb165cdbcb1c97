-- The validator's world: all that is fixed when the script has loaded. Catalog, chains and policies as
-- the engine's config; nothing here changes afterwards, and nothing is of a session.

local catalogs = require("greybox.catalog")
local chains = require("greybox.chains")
local filters = require("greybox.filters")
local llm_policy = require("llm_policy")
local tables = require("llm_policy.base.tables")

local dsl = llm_policy.dsl
local error, type, concat = error, type, table.concat

local FALL_THROUGH = { unknown = { action = "next_candidate" } }
local MUTATE = { set_param = { seed = "from_ctx" } }

-- Without chains and without a policy: what the operator ranks high, what costs little.
local function default_profile()
  return {
    filter = { "requirements", "not_disabled" },
    scorer = dsl.S.balanced({ price_in = 1, price_out = 1, priority = 3, success_rate = 1 }),
    mutate = MUTATE,
    retry_policy = "fall_through",
  }
end

local function chain_profile(chain)
  return { selector = "chain", chain = chain, mutate = MUTATE, retry_policy = "fall_through" }
end

--- The entries of both maps, the second's over the first's.
local function merged(map, over)
  local out, keys = tables.copy(map), tables.keys(over or {})
  for i = 1, #keys do
    out[keys[i]] = over[keys[i]]
  end
  return out
end

--- A plan that walks a chain; `chain` tells whom it can name.
local function chain_plan(profile, label, chain)
  local keys = {}
  for i = 1, #chain do
    keys[catalogs.key(chain[i].provider, chain[i].model)] = true
  end
  return { profile = profile, label = label, chain = keys }
end

--- What decides: the policy where there is one, else the chains, else the default profile. By medium.
---@return table plans {text = {profile, label, chain?}, image = {profile, label, chain?}}
---@return table profiles those that the plans add
local function plans_of(policy, chain)
  if type(policy) == "string" then
    local plan = { profile = policy, label = "policy" }
    return { text = plan, image = plan }, {}
  elseif type(policy) == "table" then
    local text = policy.text or policy
    local image = policy.image or text
    local plans = { text = { profile = "greybox_text", label = "policy" } }
    plans.image = { profile = "greybox_image", label = "policy" }
    return plans, { greybox_text = { policy_ir = text }, greybox_image = { policy_ir = image } }
  elseif chain then
    local plans = { text = chain_plan("text_chain", "text chain", chain.text) }
    plans.image = chain_plan("image_chain", "image chain", chain.image)
    return plans, {}
  end
  local plan = { profile = "default", label = "default profile" }
  return { text = plan, image = plan }, {}
end

--- The profiles that a policy may extend or that decide by themselves; the overlay's go over them.
local function profiles_of(chain)
  local out = { default = default_profile() }
  if chain then
    out.text_chain, out.image_chain = chain_profile(chain.text), chain_profile(chain.image)
  end
  return out
end

local function refuse(errors)
  local lines = {}
  for i = 1, #errors do
    local nearest = errors[i].nearest
    lines[i] = errors[i].path .. ": " .. errors[i].detail .. (nearest and ", did you mean `" .. nearest .. "`?" or "")
  end
  error("greybox: " .. concat(lines, "\n"), 0)
end

local function engine_of(config)
  local engine, errors = llm_policy.new(config)
  return engine or refuse(errors)
end

--- The config of the whole node, as `llm-policy` reads it too.
local function config_of(overlay, pairs_, plan_profiles, chain)
  local fields = merged(catalogs.FIELDS, overlay.fields)
  local providers, models = catalogs.entries(pairs_, overlay, fields)
  return {
    providers = providers,
    models = models,
    fields = fields,
    params = overlay.params,
    tier_order = overlay.tier_order,
    customs = overlay.customs,
    defaults = overlay.defaults,
    policy_envelope = overlay.policy_envelope,
    retry_policies = merged({ fall_through = FALL_THROUGH }, overlay.retry_policies),
    profiles = merged(merged(profiles_of(chain), overlay.profiles), plan_profiles),
  }
end

local function is_required(natives, overlay)
  local meta = natives.llm.meta
  return overlay.greybox_required == true or type(meta) == "table" and meta.greybox_required == true
end

--- Refuses a plan that no call could follow.
local function check_plan(engine, plan)
  if not engine.config.profiles[plan.profile] then
    error("greybox: policy: no profile `" .. plan.profile .. "`", 0)
  end
  filters.check(engine:profile_term(plan.profile))
end

local function pairs_by_key(pairs_)
  local out = {}
  for i = 1, #pairs_ do
    out[catalogs.key(pairs_[i].backend, pairs_[i].model)] = pairs_[i]
  end
  return out
end

--- Builds the world, or fails with every mistake of what the operator wrote.
---@param natives table what `natives.find` gives
---@param overlay table what `overlay.load` gives
---@return table world {natives, config, candidates, pairs, plans}
local function build(natives, overlay)
  local providers = natives.llm.providers or natives.lib.providers or {}
  local pairs_ = catalogs.read(providers)
  catalogs.check_names(overlay, providers)
  local chain = chains.build(pairs_)
  if not chain and is_required(natives, overlay) then
    error("greybox: `greybox_required` is set, and no enabled model has a place in `meta.greybox`", 0)
  end
  local plans, plan_profiles = plans_of(overlay.policy, chain)
  local config = config_of(overlay, pairs_, plan_profiles, chain)
  local engine = engine_of(config)
  check_plan(engine, plans.text)
  check_plan(engine, plans.image)
  return {
    natives = natives,
    config = config,
    candidates = engine.catalog.candidates,
    pairs = pairs_by_key(pairs_),
    plans = plans,
  }
end

--- An engine for one session. It has the config's policies and no catalog: each call brings its own
--- candidates, those that GenVM allows for it.
local function session_engine(world)
  local config = tables.copy(world.config)
  config.models = nil
  return engine_of(config)
end

return { build = build, engine = session_engine }
