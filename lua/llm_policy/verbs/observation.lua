-- Observation: candidates as columns. A view holds a list of candidates and one ctx; an aspect is
-- one thing to know of each (a field of the vocabulary is one); a column is an aspect of all of
-- them, read once per plan.
--
-- An embedder may keep columns that do not change between calls and hand them in (`provide`).

local vocabularies = require("llm_policy.language.vocabulary")

local at = vocabularies.at
local type = type

--- A view of candidates in a ctx.
---@param provide function|nil (view, aspect) -> column or nothing
---@param spare table|nil pool of scratch lists
local function view(candidates, ctx, provide, spare)
  return { n = #candidates, candidates = candidates, ctx = ctx, columns = {}, provide = provide, spare = spare or {} }
end

local function read_column(seen, aspect)
  local out, read, candidates, ctx = {}, aspect.read, seen.candidates, seen.ctx
  for i = 1, seen.n do
    out[i] = read(candidates[i], ctx)
  end
  return out
end

--- The aspect of every candidate of the view, in their order.
local function column(seen, aspect)
  local key = aspect.key
  local found = seen.columns[key]
  if not found then
    found = seen.provide and seen.provide(seen, aspect) or read_column(seen, aspect)
    seen.columns[key] = found
  end
  return found
end

local function text(name)
  return {
    key = "candidate:" .. name,
    read = function(candidate)
      local value = at(candidate, name)
      return type(value) == "string" and value or false
    end,
  }
end

--- Whether the capability is there, under its own name or as `supports_<name>`.
local function capability(name)
  local supports = "supports_" .. name
  return {
    key = "capability:" .. name,
    capability = name,
    read = function(candidate)
      local capabilities = at(candidate, "capabilities")
      return at(capabilities, name) == true or at(capabilities, supports) == true
    end,
  }
end

--- What the request needs is a capability under `supports_<need>` alone.
local function support(need)
  local supports = "supports_" .. need
  return {
    key = "support:" .. need,
    read = function(candidate)
      return at(at(candidate, "capabilities"), supports) == true
    end,
  }
end

local function tier_name(candidate)
  local tier = at(candidate, "tier")
  return type(tier) == "string" and tier or "fallback"
end

--- The tier's place in the order, lowest 1; one outside the order ranks below all.
local function tier_rank(vocabulary)
  return {
    key = "tier_rank",
    read = function(candidate)
      return vocabulary.tiers[tier_name(candidate)] or 0
    end,
  }
end

--- The peer of an offer, or the provider of a direct route.
local function served_by(candidate)
  local peer = at(at(candidate, "offer"), "peer_id")
  return type(peer) == "string" and peer or at(candidate, "provider_id") or false
end

--- A list from a pool of scratch lists; `give` returns it. What it holds is left over.
local function borrow(pool)
  local n = #pool
  local list = pool[n]
  pool[n] = nil
  return list or {}
end

local function give(pool, list)
  pool[#pool + 1] = list
end

return {
  view = view,
  column = column,
  capability = capability,
  support = support,
  tier_rank = tier_rank,
  tier_name = tier_name,
  served_by = served_by,
  borrow = borrow,
  give = give,
  TIER = { key = "tier", read = tier_name },
  SERVED_BY = { key = "served_by", read = served_by },
  PROVIDER = text("provider_id"),
  FAMILY = text("model_family"),
  SCOPE = {
    key = "candidate:scope",
    read = function(candidate)
      return at(candidate, "scope")
    end,
  },
}
