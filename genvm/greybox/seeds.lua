-- Seeds: where validators differ. A seed follows from the transaction, the node and the number of the
-- call, so that a decision can be derived again; without these it is drawn from the host (spec 4.2).

local numbers = require("llm_policy.base.numbers")
local sha256 = require("llm_policy.base.sha256")

local tonumber, type, sub, byte = tonumber, type, string.sub, string.byte

-- The first forbidden seed: 2^31 - 1.
local LIMIT = 2147483647
-- 48 bits: exact in a double, and far more than the limit, so that every seed is as likely.
local DIGITS, BYTES = 12, 6

--- A text with its length, so that two neighbours cannot trade bytes.
local function framed(text)
  return numbers.format(#text) .. ":" .. text
end

--- The seed of a transaction, a node and a call; the same in every runtime.
---@param tx_id string
---@param node_address string
---@param call number from 1
---@return integer seed from 0, below 2^31 - 1
local function of_call(tx_id, node_address, call)
  local digest = sha256.hex("greybox-seed/v1" .. framed(tx_id) .. framed(node_address) .. numbers.format(call))
  return numbers.integral(tonumber(sub(digest, 1, DIGITS), 16) % LIMIT)
end

local function drawn(random_bytes)
  local bytes, value = random_bytes(BYTES), 0
  for i = 1, BYTES do
    value = value * 256 + byte(bytes, i)
  end
  return numbers.integral(value % LIMIT)
end

local function is_name(value)
  return type(value) == "string" and value ~= ""
end

--- The seed of a session's call, or nothing where the host gives nothing to make one of.
---@param ctx table
---@param call number
---@param random_bytes function|nil the native
local function make(ctx, call, random_bytes)
  local data = type(ctx) == "table" and ctx.host_data or nil
  if type(data) == "table" and is_name(data.tx_id) and is_name(data.node_address) then
    return of_call(data.tx_id, data.node_address, call)
  end
  return random_bytes and drawn(random_bytes) or nil
end

return { of_call = of_call, make = make, LIMIT = LIMIT }
