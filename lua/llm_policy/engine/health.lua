-- Health: pure functions (state, event, now) -> state over breakers and disabled providers, one
-- implementation for the engine and for its readers (spec 2.4).
--
-- state = {breakers = {key = {failures, until_ms}}, disabled = {provider_id = until_ms}}; a key is a
-- provider_id, or a route "provider_id|model_family". A healthy route has no entry. States are never
-- changed: an event that changes something makes a new one.

local tables = require("llm_policy.base.tables")

local next = next

-- Faults of the request, of nobody, or of a caller who has bytes already: evidence against no one.
local NO_EVIDENCE = tables.set({
  "bad_request",
  "content_filter",
  "context_overflow",
  "empty_completion",
  "stream_interrupted",
})

-- What concerns the account or the endpoint counts for the provider too, not for the route alone.
local PROVIDER_EVIDENCE = tables.set({
  "auth_error",
  "payment_required",
  "rate_limit",
  "network_error",
  "timeout",
  "server_error",
})

local EMPTY = { breakers = {}, disabled = {} }

local function with(state, breakers, disabled)
  return { breakers = breakers or state.breakers, disabled = disabled or state.disabled }
end

--- How long a breaker opens for.
local function open_ms(failure, settings)
  local by_kind = failure.kind == "rate_limit" and settings.circuit_breaker_rate_limit_ms
    or settings.circuit_breaker_failure_ms
  local at_once = failure.open_breaker_ms
  return failure.retry_after_ms or at_once and at_once > 0 and at_once or by_kind
end

--- The entry after one more failure, and whether it opened or stays open longer.
local function struck(entry, failure, now_ms, settings)
  local threshold, until_ms = settings.circuit_breaker_threshold, entry and entry.until_ms or 0
  local failures = (entry and entry.failures or 0) + 1
  if (failure.open_breaker_ms or 0) > 0 and failures < threshold then
    failures = threshold
  end
  if failures < threshold then
    return { failures = failures, until_ms = until_ms }, false
  end
  local opened_until = now_ms + open_ms(failure, settings)
  local is_longer = opened_until > until_ms
  return { failures = failures, until_ms = is_longer and opened_until or until_ms }, is_longer
end

--- A failure of a candidate.
---@param state table
---@param failure table {provider_id, route, kind, open_breaker_ms?, retry_after_ms?}
---@param now_ms number
---@param settings table the config's defaults
---@return table state
---@return table opened list of {scope = "route" | "provider", key, until_ms}
local function failed(state, failure, now_ms, settings)
  if NO_EVIDENCE[failure.kind] then
    return state, {}
  end
  local breakers, opened = tables.copy(state.breakers), {}
  local function strike(scope, key)
    local entry, has_opened = struck(breakers[key], failure, now_ms, settings)
    breakers[key] = entry
    if has_opened then
      opened[#opened + 1] = { scope = scope, key = key, until_ms = entry.until_ms }
    end
  end
  strike("route", failure.route)
  if PROVIDER_EVIDENCE[failure.kind] then
    strike("provider", failure.provider_id)
  end
  return with(state, breakers), opened
end

--- A success of a candidate: its breakers close.
local function succeeded(state, provider_id, route)
  if not state.breakers[provider_id] and not state.breakers[route] then
    return state
  end
  local breakers = tables.copy(state.breakers)
  breakers[provider_id], breakers[route] = nil, nil
  return with(state, breakers)
end

local function disabled(state, provider_id, until_ms)
  local all = tables.copy(state.disabled)
  all[provider_id] = until_ms
  return with(state, nil, all)
end

local function is_open(entry, now_ms)
  return entry ~= nil and now_ms < entry.until_ms
end

local function is_disabled(state, provider_id, now_ms)
  local until_ms = state.disabled[provider_id]
  return until_ms ~= nil and now_ms < until_ms
end

-- What nearly every snapshot holds: shared, and never changed.
local NONE = {}

--- The breakers open now, key -> true.
local function open_breakers(state, now_ms)
  if next(state.breakers) == nil then
    return NONE
  end
  return tables.map(state.breakers, function(entry)
    return is_open(entry, now_ms) or nil
  end)
end

--- The providers disabled now, provider_id -> until_ms.
local function disabled_now(state, now_ms)
  if next(state.disabled) == nil then
    return NONE
  end
  return tables.map(state.disabled, function(until_ms)
    return now_ms < until_ms and until_ms or nil
  end)
end

--- One entry as a reader wants it.
local function report(state, key, now_ms)
  local entry = state.breakers[key]
  local open = is_open(entry, now_ms)
  return {
    open = open,
    consecutive_failures = entry and entry.failures or 0,
    ms_until_recovery = open and entry.until_ms - now_ms or 0,
  }
end

return {
  EMPTY = EMPTY,
  failed = failed,
  succeeded = succeeded,
  disabled = disabled,
  is_disabled = is_disabled,
  open_breakers = open_breakers,
  disabled_now = disabled_now,
  report = report,
}
