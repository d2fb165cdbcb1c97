-- Attribution: whose doing a run's failures may be, so that no caller writes health that others read
-- (decision 0016). Pure; it knows of no breaker.

local contracts = require("llm_policy.engine.contract")
local numbers = require("llm_policy.base.numbers")
local vocabularies = require("llm_policy.language.vocabulary")

local is_finite, route = numbers.is_finite, vocabularies.route

-- How long an attempt may take, in parts: what a caller may shorten until anybody fails.
local BOUNDS = { "timeout_ms", "ttft_ms", "idle_ms" }

local API_KIND = "openai_compatible"

--- Whether a candidate of a contract is where the config's provider of its name is.
local function is_at_home(config, candidate)
  local provider = config.providers[candidate.provider_id]
  return provider ~= nil
    and provider.base_url == candidate.base_url
    and (provider.api_kind or API_KIND) == (candidate.api_kind or API_KIND)
end

--- Whether the contract brings this candidate's route, at an address that is not the config's.
---@param config table the engine's
---@param contract table
---@param candidate table
local function is_foreign(config, contract, candidate)
  local extra = contract.extra_candidates
  local wanted = extra and route(candidate)
  for i = 1, extra and #extra or 0 do
    if route(extra[i]) == wanted and not is_at_home(config, extra[i]) then
      return true
    end
  end
  return false
end

--- A bound as a host obeys it; what is no number above 0 bounds nothing.
local function bound(value)
  return is_finite(value) and value > 0 and value or nil
end

--- Whether a contract gives any bound.
local function gives_bounds(contract)
  return contract.timeout_ms ~= nil or contract.ttft_ms ~= nil or contract.idle_ms ~= nil
end

--- The parameters of a contract as they were without its bounds.
---@param names table of the declared parameters
---@param defaults table the config's
local function without_bounds(contract, names, defaults)
  local out = contracts.parameters(contract, names, defaults)
  out.timeout_ms, out.ttft_ms, out.idle_ms = defaults.timeout_ms, nil, nil
  return out
end

--- The bounds of a call that are shorter than the operator's own; nothing where there are none.
---@param params table of the call
---@param own table parameters with the operator's bounds; one that is absent there bounds nothing
---@param defaults table the config's
---@return table|nil names
local function shorter(params, own, defaults)
  local out
  for i = 1, #BOUNDS do
    local name = BOUNDS[i]
    local given, operators = bound(params[name]), bound(own[name]) or i == 1 and defaults.timeout_ms or nil
    if given and (not operators or given < operators) then
      out = out or {}
      out[#out + 1] = name
    end
  end
  return out
end

return { is_foreign = is_foreign, gives_bounds = gives_bounds, without_bounds = without_bounds, shorter = shorter }
