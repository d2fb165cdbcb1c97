-- The catalog: providers x models as candidates, in one canonical order, and their columns.
--
-- A candidate is one (provider, model) that could serve a call. Three sources, one shape: the config,
-- a marketplace's offers, and candidates that a trusted caller brings along (spec 2.2).

local bytes = require("llm_policy.base.bytes")
local numbers = require("llm_policy.base.numbers")
local sorts = require("llm_policy.language.sorts")
local tables = require("llm_policy.base.tables")
local vocabularies = require("llm_policy.language.vocabulary")

local at, is_finite, is_name = vocabularies.at, numbers.is_finite, sorts.is_name
local type = type

-- What a candidate takes from its provider, and what its served_by entry says about the route.
local FROM_PROVIDER =
  { "api_kind", "base_url", "auth", "auth_env", "tier", "scope", "has_tee", "no_log", "region", "aws_region", "source" }
local FROM_ROUTE =
  { "price_in", "price_out", "latency_ms", "tok_s", "success_rate", "tier", "scope", "has_tee", "no_log", "source" }

local function overlay(candidate, source, names)
  for i = 1, #names do
    local value = source[names[i]]
    if value ~= nil then
      candidate[names[i]] = value
    end
  end
end

local function merged_capabilities(model, route)
  local out = tables.copy(model.capabilities or {})
  local own = route.capabilities or {}
  local names = tables.keys(own)
  for i = 1, #names do
    out[names[i]] = own[names[i]]
  end
  return out
end

--- One candidate of a route; `declared` names the config's own fields.
local function route_candidate(family, model, provider_id, provider, route, declared)
  local candidate = {
    provider_id = provider_id,
    model_family = family,
    served_model_id = route.provider_model_id or family,
    capabilities = merged_capabilities(model, route),
  }
  overlay(candidate, provider, FROM_PROVIDER)
  overlay(candidate, provider, declared)
  overlay(candidate, route, FROM_ROUTE)
  overlay(candidate, route, declared)
  candidate.api_kind = candidate.api_kind or "openai_compatible"
  return candidate
end

local function peer_of(candidate)
  return at(candidate.offer, "peer_id") or ""
end

local ORDER = { "model_family", "provider_id", "served_model_id" }

--- The canonical order: a total one, by bytes; the sort is stable for what is equal in all.
local function precedes(a, b)
  for i = 1, #ORDER do
    local x, y = a[ORDER[i]], b[ORDER[i]]
    if x ~= y then
      return bytes.less(x, y)
    end
  end
  return bytes.less(peer_of(a), peer_of(b))
end

local function declared_names(vocabulary)
  local out, names = {}, tables.keys(vocabulary.fields)
  for i = 1, #names do
    if not vocabularies.CORE_FIELDS[names[i]] then
      out[#out + 1] = names[i]
    end
  end
  return out
end

--- The marketplace routes of a config: discovery_id -> family -> {model, provider_id, provider, route}.
local function add_market(markets, family, entry)
  local id = entry.provider.discovery_id or entry.provider_id
  markets[id] = markets[id] or {}
  markets[id][family] = markets[id][family] or {}
  local list = markets[id][family]
  list[#list + 1] = entry
end

local function forget(catalog)
  catalog.columns, catalog.texts, catalog.kept = {}, {}, nil
end

--- The names of all capabilities that some candidate has.
local function capability_names(candidates)
  local known = {}
  for i = 1, #candidates do
    local names = tables.keys(candidates[i].capabilities)
    for j = 1, #names do
      known[names[j]] = true
    end
  end
  return known
end

--- The catalog of a validated config.
---@param config table what `config.read` gives
---@return table catalog {candidates, markets, discovery_ids, declared, capabilities, columns, texts}: columns and
---texts are what was read of the candidates at rest, kept until the engine forgets them; with `keeps_offers`,
---which a host sets that never changes offers it gave, `kept` is what was made of the last ones
local function build(config)
  local declared, candidates, markets = declared_names(config.vocabulary), {}, {}
  local families = tables.keys(config.models)
  for f = 1, #families do
    local family = families[f]
    local model = config.models[family]
    for r = 1, #model.served_by do
      local route = model.served_by[r]
      local provider = config.providers[route.provider]
      if provider.discovery == "marketplace" then
        add_market(markets, family, { model = model, provider_id = route.provider, provider = provider, route = route })
      else
        candidates[#candidates + 1] = route_candidate(family, model, route.provider, provider, route, declared)
      end
    end
  end
  tables.sort(candidates, precedes)
  return {
    candidates = candidates,
    markets = markets,
    discovery_ids = tables.keys(markets),
    declared = declared,
    capabilities = capability_names(candidates),
    columns = {},
    texts = {},
    forget = forget,
  }
end

local function is_price(value)
  return value == nil or is_finite(value) and value >= 0
end

--- Whether a foreign candidate has the shape of one.
local function is_candidate(candidate)
  return type(candidate) == "table"
    and is_name(candidate.provider_id)
    and is_name(candidate.model_family)
    and (candidate.served_model_id == nil or is_name(candidate.served_model_id))
    and is_price(candidate.price_in)
    and is_price(candidate.price_out)
    and (candidate.capabilities == nil or type(candidate.capabilities) == "table")
end

--- An offer's price, in either spelling.
local function offer_price(offer, name)
  local own = offer[name]
  if own == nil then
    own = offer[name .. "_usd_per_mtok"]
  end
  return own
end

local function is_offer(offer, now_ms)
  return type(offer) == "table"
    and is_name(offer.peer_id)
    and is_name(offer.model_family)
    and (offer.wire_model_id == nil or is_name(offer.wire_model_id))
    and is_price(offer_price(offer, "price_in"))
    and is_price(offer_price(offer, "price_out"))
    and (offer.capabilities == nil or type(offer.capabilities) == "table")
    and (offer.expires_at_ms == nil or is_finite(offer.expires_at_ms) and offer.expires_at_ms > now_ms)
end

--- The candidate of an offer: the route it belongs to, with the offer's own words over it.
local function offer_candidate(offer, market, declared)
  local out =
    route_candidate(offer.model_family, market.model, market.provider_id, market.provider, market.route, declared)
  out.offer = { peer_id = offer.peer_id }
  out.served_model_id = offer.wire_model_id or out.served_model_id
  out.base_url = offer.seller_endpoint or out.base_url
  out.price_in = offer_price(offer, "price_in") or out.price_in
  out.price_out = offer_price(offer, "price_out") or out.price_out
  out.capabilities = merged_capabilities(out, offer)
  overlay(out, offer, declared)
  return out
end

--- Candidates of the offers that belong to the catalog's marketplace routes.
local function from_offers(catalog, offers, now_ms, out)
  for d = 1, #catalog.discovery_ids do
    local id = catalog.discovery_ids[d]
    local list = at(offers, id) or {}
    for i = 1, #list do
      local offer = list[i]
      local markets = is_offer(offer, now_ms) and catalog.markets[id][offer.model_family] or {}
      for j = 1, #markets do
        out[#out + 1] = offer_candidate(offer, markets[j], catalog.declared)
      end
    end
  end
end

local function foreign_candidate(candidate)
  local out = tables.copy(candidate)
  out.served_model_id = out.served_model_id or out.model_family
  out.api_kind = out.api_kind or "openai_compatible"
  out.capabilities = out.capabilities or {}
  return out
end

--- All candidates of one plan, in canonical order; the catalog's own list where nothing is added.
local function with_foreign(catalog, offers, extra, now_ms)
  local out = tables.copy(catalog.candidates)
  from_offers(catalog, offers, now_ms, out)
  for i = 1, #(extra or {}) do
    out[#out + 1] = foreign_candidate(extra[i])
  end
  return #out > #catalog.candidates and tables.sort(out, precedes) or catalog.candidates
end

--- When the first of the offers ends that are good now; nothing where none of them ends.
local function first_end(catalog, offers, now_ms)
  local first
  for d = 1, #catalog.discovery_ids do
    local list = at(offers, catalog.discovery_ids[d]) or {}
    for i = 1, #list do
      local until_ms = at(list[i], "expires_at_ms")
      if is_finite(until_ms) and until_ms > now_ms and (not first or until_ms < first) then
        first = until_ms
      end
    end
  end
  return first
end

local function is_valid(kept, offers, now_ms)
  return kept ~= nil
    and kept.offers == offers
    and now_ms >= kept.from_ms
    and (kept.until_ms == nil or now_ms < kept.until_ms)
end

--- The catalog with a market's offers, made once for as long as they are the same and none of them ends.
---@return table market {candidates, capabilities, columns}, as of a catalog
local function with_offers(catalog, offers, now_ms)
  if is_valid(catalog.kept, offers, now_ms) then
    return catalog.kept
  end
  local candidates = with_foreign(catalog, offers, nil, now_ms)
  catalog.kept = {
    offers = offers,
    from_ms = now_ms,
    until_ms = first_end(catalog, offers, now_ms),
    candidates = candidates,
    capabilities = capability_names(candidates),
    columns = {},
  }
  return catalog.kept
end

return { build = build, with_foreign = with_foreign, with_offers = with_offers, is_candidate = is_candidate }
