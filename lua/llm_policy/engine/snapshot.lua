-- The snapshot of one run: all that its decisions may read, frozen when it is planned, and the view
-- of the candidates that follows from it.
--
-- INVARIANT: plain data. From the snapshot and the config the same plan follows in any runtime, so a
-- run's handle carries the snapshot instead of a ranking of candidates that are never tried.

local catalogs = require("llm_policy.engine.catalog")
local health = require("llm_policy.engine.health")
local numbers = require("llm_policy.base.numbers")
local observation = require("llm_policy.verbs.observation")
local plain = require("llm_policy.base.plain")
local tables = require("llm_policy.base.tables")
local vocabularies = require("llm_policy.language.vocabulary")

local at, route = vocabularies.at, vocabularies.route
local bound, times, is_finite, HIGH = numbers.bound, numbers.times, numbers.is_finite, numbers.HIGH
local next, type = next, type

local function is_filled(t)
  return type(t) == "table" and next(t) ~= nil
end

--- What the host gathered, fit to be written down; nothing where it is empty.
local function given(data)
  return is_filled(data) and plain.clean(data) or nil
end

--- The offers, fit to be written down: those that are kept are.
local function given_offers(engine, offers)
  local kept = engine.catalog.kept
  return kept and kept.offers == offers and offers or given(offers)
end

--- The contract as the handle keeps it.
local function kept(contract)
  local extra = contract.extra_candidates
  local clean = extra and plain.clean(extra)
  if clean == extra then
    return contract
  end
  local out = tables.copy(contract)
  out.extra_candidates = clean
  return out
end

--- Credits by provider: what the host says now over what the engine knows.
local function credits(engine, inputs)
  if not is_filled(inputs.credits) then
    return engine.credits
  end
  local out, now = tables.copy(engine.credits or {}), plain.clean(inputs.credits)
  local ids = tables.keys(now)
  for i = 1, #ids do
    out[ids[i]] = now[ids[i]]
  end
  return out
end

--- Disabled providers: the engine's own and the host's extras.
local function disabled_providers(engine, inputs, now_ms)
  local own = health.disabled_now(engine.health, now_ms)
  if not is_filled(inputs.disabled) then
    return own
  end
  own = tables.copy(own)
  local extras = tables.keys(inputs.disabled)
  for i = 1, #extras do
    local until_ms = inputs.disabled[extras[i]]
    if until_ms == true or is_finite(until_ms) and until_ms > now_ms then
      own[extras[i]] = until_ms
    end
  end
  return own
end

--- Freezes what a plan of this contract may read.
---@param engine table
---@param contract table
---@param inputs table spec 2.3
---@return table snapshot {ctx, observed?, price_multipliers?, offers?}
local function freeze(engine, contract, inputs)
  local now_ms = inputs.now_ms or 0
  return {
    ctx = {
      request = kept(contract),
      now_ms = now_ms,
      seed = contract.seed or inputs.seed,
      attempt = 1,
      state = {
        ema = engine.prices,
        credits = credits(engine, inputs),
        breakers = health.open_breakers(engine.health, now_ms),
        disabled = disabled_providers(engine, inputs, now_ms),
      },
    },
    observed = given(inputs.observed),
    price_multipliers = given(inputs.price_multipliers),
    offers = given_offers(engine, inputs.offers),
  }
end

--- The ranking multiplier of a candidate's source, else of its provider; 1 where it is not above 0.
local function multiplier(snapshot, candidate)
  local found = at(snapshot.price_multipliers, candidate.source or candidate.provider_id)
  return is_finite(found) and found > 0 and found or 1
end

--- A price as it ranks; an unknown one stays unknown.
local function multiplied(snapshot, candidate, raw)
  if raw == HIGH then
    return HIGH
  end
  return times(multiplier(snapshot, candidate), bound(raw))
end

--- A field as the run sees it: with the host's observations and price multipliers over it.
local function reader(snapshot, aspect)
  if aspect.dynamic == "price" and snapshot.price_multipliers then
    return function(candidate, ctx)
      return multiplied(snapshot, candidate, aspect.read(candidate, ctx))
    end
  end
  if aspect.dynamic == "observed" and snapshot.observed then
    return function(candidate, ctx)
      local seen = at(at(snapshot.observed, route(candidate)), aspect.key)
      if seen == nil then
        return aspect.read(candidate, ctx)
      end
      return aspect.show(seen)
    end
  end
  return aspect.read
end

--- Whether an aspect reads nothing that differs from the catalog at rest.
local function is_at_rest(snapshot, aspect)
  local kind, state = aspect.dynamic, snapshot.ctx.state
  if kind == "price" then
    return not snapshot.price_multipliers
  elseif kind == "observed" then
    return not snapshot.observed
  elseif kind == "state" then
    return not (next(state.breakers) or next(state.disabled) or is_filled(state.credits))
  end
  return true
end

local function read_all(candidates, read, ctx)
  local out = {}
  for i = 1, #candidates do
    out[i] = read(candidates[i], ctx)
  end
  return out
end

--- A column of a plan's view; those at rest stay with the catalog. A capability that no candidate of
--- the catalog names does not: callers choose such names.
local function provide(view, aspect)
  local snapshot, columns = view.snapshot, view.catalog.columns
  local stays = view.is_resident
    and is_at_rest(snapshot, aspect)
    and (not aspect.capability or view.catalog.capabilities[aspect.capability])
  local column = stays and columns[aspect.key] or read_all(view.candidates, reader(snapshot, aspect), view.ctx)
  if stays then
    columns[aspect.key] = column
  end
  return column
end

--- The candidates of a run, in canonical order.
local function candidates(engine, snapshot)
  local catalog, extra, offers = engine.catalog, snapshot.ctx.request.extra_candidates, snapshot.offers
  if not offers and not extra then
    return catalog.candidates
  elseif catalog.keeps_offers and not extra then
    return catalogs.with_offers(catalog, offers, snapshot.ctx.now_ms).candidates
  end
  return catalogs.with_foreign(catalog, offers, extra, snapshot.ctx.now_ms)
end

--- The catalog that a list of candidates is of: the config's, or the one with the offers that are kept.
local function catalog_of(catalog, list)
  local market = catalog.kept
  return market and list ~= catalog.candidates and list == market.candidates and market or catalog
end

local function view_of(engine, snapshot, list, ctx)
  local view = observation.view(list, ctx, provide, engine.spare)
  view.snapshot, view.catalog = snapshot, catalog_of(engine.catalog, list)
  view.is_resident = list == view.catalog.candidates
  return view
end

--- The view of all candidates of a run.
local function view(engine, snapshot)
  return view_of(engine, snapshot, candidates(engine, snapshot), snapshot.ctx)
end

--- The view of one candidate at an attempt.
local function single(engine, snapshot, candidate, attempt)
  local ctx = tables.copy(snapshot.ctx)
  ctx.attempt = attempt
  return view_of(engine, snapshot, { candidate }, ctx)
end

--- A candidate as results report it; a price that is unknown is left out, never 0.
local function chosen(snapshot, candidate)
  local factor = multiplier(snapshot, candidate)
  local out = {
    provider_id = candidate.provider_id,
    model_family = candidate.model_family,
    served_model_id = candidate.served_model_id,
    served_by = observation.served_by(candidate),
    price_multiplier = factor,
  }
  local function price(name)
    local raw = vocabularies.CORE_FIELDS[name].read(candidate, snapshot.ctx)
    if raw ~= HIGH then
      out["raw_" .. name] = raw
      out[name] = factor == 1 and raw or times(factor, bound(raw))
    end
  end
  price("price_in")
  price("price_out")
  return out
end

return { freeze = freeze, candidates = candidates, view = view, single = single, chosen = chosen }
