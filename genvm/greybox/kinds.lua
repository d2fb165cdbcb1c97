-- Failures of provider calls as kinds of the language, decided by the HTTP status alone: GenVM calls
-- every failure fatal (spec 4.1, 4.2).

local numbers = require("llm_policy.base.numbers")

local pcall, type = pcall, type

local KINDS = {
  [400] = "bad_request",
  [401] = "auth_error",
  [402] = "payment_required",
  [403] = "auth_error",
  [404] = "model_unavailable",
  [408] = "timeout",
  [429] = "rate_limit",
  [504] = "timeout",
}

--- The kind of a status; none means that the provider was never reached.
---@param status number|nil
---@return string
local function of_status(status)
  if status == nil then
    return "network_error"
  end
  return KINDS[status] or status >= 500 and "server_error" or "unknown"
end

--- What a raised error says of the provider, or nothing where it is not about the call at all: such an
--- error is raised again as it is.
---@param as_user_error function|nil the native
---@param raised any
---@return table|nil failure {ok = false, error_kind, http_status}: an event of the engine
local function read(as_user_error, raised)
  if not as_user_error or type(raised) == "string" then
    return nil
  end
  local ok, told = pcall(as_user_error, raised)
  if not ok or type(told) ~= "table" then
    return nil
  end
  local status = type(told.ctx) == "table" and told.ctx.status or nil
  status = numbers.is_finite(status) and numbers.integral(status) or nil
  return { ok = false, error_kind = of_status(status), http_status = status }
end

return { of_status = of_status, read = read }
