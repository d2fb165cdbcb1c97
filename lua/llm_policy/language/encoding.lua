-- Encoding: a term as bytes, the same in every runtime; fingerprint and identity of those bytes
-- (spec 1.4).

local bytes = require("llm_policy.base.bytes")
local numbers = require("llm_policy.base.numbers")
local sha256 = require("llm_policy.base.sha256")
local signature = require("llm_policy.language.signature")
local sorts = require("llm_policy.language.sorts")
local tables = require("llm_policy.base.tables")

local type, concat, byte, rawget = type, table.concat, string.byte, rawget

local encode_value

local function encode_list(list, n)
  local parts = {}
  for i = 1, n do
    parts[i] = encode_value(rawget(list, i))
  end
  return "[" .. concat(parts, ",") .. "]"
end

local function encode_record(record)
  local keys, parts = tables.keys(record), {}
  for i = 1, #keys do
    parts[i] = bytes.quote(keys[i]) .. ":" .. encode_value(rawget(record, keys[i]))
  end
  return "{" .. concat(parts, ",") .. "}"
end

local function encode_table(value)
  local n = tables.dense(value)
  if n then
    return encode_list(value, n)
  end
  return encode_record(value)
end

local ENCODERS = {
  string = bytes.quote,
  number = numbers.format,
  table = encode_table,
  boolean = function(value)
    return value and "true" or "false"
  end,
}

--- Any plain value as bytes: strings, finite numbers, booleans, lists and records of them.
encode_value = function(value)
  return ENCODERS[type(value)](value)
end

--- A chain in its one spelling, whichever keys the term used.
local function encode_chain(chain)
  local parts = {}
  for i = 1, tables.dense(chain) do
    local provider, model = sorts.chain_entry(rawget(chain, i))
    parts[i] = '{"model":' .. bytes.quote(model) .. ',"provider":' .. bytes.quote(provider) .. "}"
  end
  return "[" .. concat(parts, ",") .. "]"
end

--- An argument that is no subterm, as bytes.
local function encode_parameter(value, sort)
  if sort == "Chain" then
    return encode_chain(value)
  end
  return encode_value(value)
end

--- e(t) of an admitted term, without the tag; reads raw, as admission does.
local encode_term
encode_term = function(term)
  local op = rawget(term, 1)
  local operation, parts = signature.by_name[op], { op }
  for i = 2, tables.dense(term) do
    local argument, value = signature.argument(operation, i - 1), rawget(term, i)
    parts[i] = argument.is_term and encode_term(value) or encode_parameter(value, argument.sort)
  end
  return "(" .. concat(parts, " ") .. ")"
end

--- The encoding of an admitted term, tag first.
local function encode(term)
  return signature.TAG .. ":" .. encode_term(term)
end

--- A cheap cache key of an encoding: two lanes over its bytes.
local function fingerprint(encoding)
  local h1, h2 = 5381 + 0.0, 52711 + 0.0
  for i = 1, #encoding do
    local b = byte(encoding, i)
    h1 = (h1 * 31 + b) % 2147483647
    h2 = (h2 * 37 + b) % 2147483629
  end
  return numbers.format(h1) .. "-" .. numbers.format(h2)
end

--- The identity of an encoding: sha256 in hex, prefixed by its name.
local function identity(encoding)
  return "sha256:" .. sha256.hex(encoding)
end

return {
  value = encode_value,
  term = encode_term,
  parameter = encode_parameter,
  encode = encode,
  fingerprint = fingerprint,
  identity = identity,
}
