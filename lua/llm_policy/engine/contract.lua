-- A contract's admission: what a caller may ask for, checked before anything is planned (spec 2.3).
-- Opaque parts (messages, tools, images, ...) are passed on by reference and never read.

local admission = require("llm_policy.language.admission")
local catalogs = require("llm_policy.engine.catalog")
local numbers = require("llm_policy.base.numbers")
local observation = require("llm_policy.verbs.observation")
local random = require("llm_policy.base.random")
local sorts = require("llm_policy.language.sorts")
local tables = require("llm_policy.base.tables")
local vocabularies = require("llm_policy.language.vocabulary")

local at, type = vocabularies.at, type
local is_finite, is_name, refuse = numbers.is_finite, sorts.is_name, admission.refuse

local MAX_NEEDS = 64
local MAX_CANDIDATES = 4096

-- What steers the decision, and is no part of the request.
local CONTROL = { "profile", "policy_ir", "requirements", "chain", "extra_candidates", "scope" }

-- Where a call goes and who pays: the candidate's alone.
local ADDRESS = {
  "provider_id",
  "model_family",
  "served_model_id",
  "api_kind",
  "base_url",
  "auth",
  "auth_env",
  "region",
  "aws_region",
  "offer",
}

local function is_not_negative(value)
  return is_finite(value) and value >= 0
end

local function is_needs(value)
  local n = type(value) == "table" and tables.dense(value, MAX_NEEDS)
  for i = 1, n or 0 do
    if not is_name(value[i]) then
      return false
    end
  end
  return n ~= nil and n ~= false
end

local function is_pin(value)
  return type(value) == "table"
    and (value.provider == nil or is_name(value.provider))
    and (value.model == nil or is_name(value.model))
end

local function is_privacy(value)
  return value == "tee_required" or value == "no_log" or value == "none"
end

-- key, check, refusal code
local REQUIREMENTS = {
  { "max_latency_ms", is_not_negative, "bad_number" },
  { "min_context", is_not_negative, "bad_number" },
  { "min_tok_s", is_not_negative, "bad_number" },
  { "model_family", is_name, "bad_name" },
  { "needs", is_needs, "bad_name" },
  { "pin", is_pin, "bad_name" },
  { "privacy", is_privacy, "bad_name" },
  { "tier", is_name, "bad_name" },
}

local FIELDS = {
  { "profile", is_name, "bad_name" },
  { "scope", is_name, "bad_name" },
  { "seed", random.is_seed, "bad_number" },
}

local function check_rows(record, rows, path)
  for i = 1, #rows do
    local key, is_good, code = rows[i][1], rows[i][2], rows[i][3]
    local value = at(record, key)
    if value ~= nil and not is_good(value) then
      return refuse(code, path .. "." .. key, "`" .. key .. "` has no admissible value")
    end
  end
  return true
end

local function check_params(contract, params)
  for i = 1, #params do
    local value = contract[params[i]]
    if value ~= nil and sorts.checks.Scalar(value) then
      return refuse("bad_scalar", "$." .. params[i], "a finite number, a string or a boolean is wanted")
    end
  end
  return true
end

local function check_extra(extra)
  local n = type(extra) == "table" and tables.dense(extra, MAX_CANDIDATES)
  if not n then
    return refuse("bad_chain", "$.extra_candidates", "a list of at most 4096 candidates is wanted")
  end
  for i = 1, n do
    if not catalogs.is_candidate(extra[i]) then
      local path = "$.extra_candidates[" .. numbers.format(i) .. "]"
      return refuse("bad_chain", path, "this is no candidate")
    end
  end
  return true
end

--- Whether a contract may be planned.
---@param contract any
---@param params table names of the declared parameters
---@return true|nil
---@return table|nil refusal
local function check(contract, params)
  if type(contract) ~= "table" then
    return refuse("not_a_term", "$", "a contract is a record")
  end
  local requirements, chain, extra = contract.requirements, contract.chain, contract.extra_candidates
  if requirements ~= nil and type(requirements) ~= "table" then
    return refuse("bad_scalar", "$.requirements", "`requirements` is a record")
  end
  local ok, refusal = check_rows(contract, FIELDS, "$")
  if ok then
    ok, refusal = check_rows(requirements, REQUIREMENTS, "$.requirements")
  end
  if ok then
    ok, refusal = check_params(contract, params)
  end
  if ok and chain ~= nil then
    local code, detail = sorts.checks.Chain(chain)
    if code then
      return refuse(code, "$.chain", detail)
    end
  end
  if ok and extra ~= nil then
    ok, refusal = check_extra(extra)
  end
  return ok, refusal
end

--- The parameters of a contract: what a policy may change.
local function parameters(contract, params, defaults)
  local out = {}
  for i = 1, #params do
    local value = contract[params[i]]
    if value ~= nil then
      out[params[i]] = value
    end
  end
  out.timeout_ms = out.timeout_ms or defaults.timeout_ms
  return out
end

local function clear(record, names)
  for i = 1, #names do
    record[names[i]] = nil
  end
end

--- The request of a call: the contract's opaque parts, the changed parameters, and over both the
--- candidate's address, which neither can touch.
---@param params table names of the declared parameters
---@param changed table the parameters of this attempt
local function request(contract, params, changed, candidate)
  local out = tables.copy(contract)
  clear(out, CONTROL)
  clear(out, params)
  local names = tables.keys(changed)
  for i = 1, #names do
    local value = changed[names[i]]
    out[names[i]] = type(value) == "number" and numbers.integral(value) or value
  end
  for i = 1, #ADDRESS do
    out[ADDRESS[i]] = candidate[ADDRESS[i]]
  end
  out.served_by = observation.served_by(candidate)
  return out
end

return { check = check, parameters = parameters, request = request }
