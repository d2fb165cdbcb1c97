-- Normal form: two terms that the laws of the signature make equal become one (spec 1.3).
--
-- Bottom-up; each operation's law is a row of LAWS. No arithmetic is done: a law compares numbers
-- with exactly 0 and 1 only, so that identity does not depend on the numeric model.

local bytes = require("llm_policy.base.bytes")
local encoding = require("llm_policy.language.encoding")
local numbers = require("llm_policy.base.numbers")
local signature = require("llm_policy.language.signature")
local sorts = require("llm_policy.language.sorts")
local tables = require("llm_policy.base.tables")

local type, rawget = type, rawget

local TOP, BOT, ZERO = { "top" }, { "bot" }, { "zero" }

--- Appends a child, its own children instead when it is the same operation; a unit is dropped.
local function append_flat(out, child, op, unit)
  if child[1] == op then
    for i = 2, #child do
      out[#out + 1] = child[i]
    end
  elseif child[1] ~= unit then
    out[#out + 1] = child
  end
end

--- The flattened children of a variadic operation.
local function flat_children(term, unit)
  local out = {}
  for i = 2, #term do
    append_flat(out, term[i], term[1], unit)
  end
  return out
end

--- An operation over its children: none is the unit, one alone replaces the operation.
local function rebuild(op, children, unit)
  if #children == 0 then
    return { unit }
  end
  if #children == 1 then
    return children[1]
  end
  local out = { op }
  for i = 1, #children do
    out[i + 1] = children[i]
  end
  return out
end

local function sort_by_encoding(children)
  local keyed = {}
  for i = 1, #children do
    keyed[i] = { key = encoding.term(children[i]), term = children[i] }
  end
  tables.sort(keyed, function(a, b)
    return bytes.less(a.key, b.key)
  end)
  for i = 1, #keyed do
    children[i] = keyed[i].term
  end
  return children
end

--- The base action and the action per reason of a plan; the outermost override of a reason wins.
local function read_plan(term)
  local by_reason = {}
  while term[1] == "override" do
    if by_reason[term[3]] == nil then
      by_reason[term[3]] = term[4]
    end
    term = term[2]
  end
  local base = by_reason.unknown or term[2]
  by_reason.unknown = nil
  return base, by_reason
end

local LAWS = {
  ac = function(term, law)
    for i = 2, #term do
      if law.absorbing and term[i][1] == law.absorbing then
        return { law.absorbing }
      end
    end
    return rebuild(term[1], sort_by_encoding(flat_children(term, law.unit)), law.unit)
  end,
  sequence = function(term, law)
    return rebuild(term[1], flat_children(term, law.unit), law.unit)
  end,
  negation = function(term)
    local child = term[2]
    if child[1] == "not" then
      return child[2]
    end
    return child[1] == "top" and BOT or child[1] == "bot" and TOP or term
  end,
  scale = function(term)
    if term[2] == 1 then
      return term[3]
    end
    return (term[2] == 0 or term[3][1] == "zero") and ZERO or term
  end,
  gate = function(term)
    if term[2][1] == "top" then
      return term[3]
    end
    return (term[2][1] == "bot" or term[3][1] == "zero") and ZERO or term
  end,
  idempotent = function(term)
    return term[2][1] == term[1] and term[2] or term
  end,
  plan = function(term)
    local base, by_reason = read_plan(term)
    local base_bytes, out = encoding.value(base), { "always", base }
    local reasons = tables.keys(by_reason)
    for i = 1, #reasons do
      local action = by_reason[reasons[i]]
      if encoding.value(action) ~= base_bytes then
        out = { "override", out, reasons[i], action }
      end
    end
    return out
  end,
}

--- Numbers as doubles, also inside records and lists; every table made anew.
local plain
plain = function(value)
  if type(value) == "number" then
    return numbers.carrier(value)
  end
  if type(value) ~= "table" then
    return value
  end
  local out, n = {}, tables.dense(value)
  if n then
    for i = 1, n do
      out[i] = plain(rawget(value, i))
    end
    return out
  end
  local keys = tables.keys(value)
  for i = 1, #keys do
    out[keys[i]] = plain(rawget(value, keys[i]))
  end
  return out
end

local function plain_chain(chain)
  local out = {}
  for i = 1, tables.dense(chain) do
    local provider, model = sorts.chain_entry(rawget(chain, i))
    out[i] = { provider = provider, model = model }
  end
  return out
end

local function plain_parameter(value, sort)
  if sort == "Chain" then
    return plain_chain(value)
  end
  return plain(value)
end

--- Rebuilds a term from normal children and applies its law; a plan within a plan is left to the
--- outermost, since an override of `unknown` outside changes the base that others are compared with.
local rewrite
rewrite = function(term, is_within_plan)
  local op = rawget(term, 1)
  local operation, out = signature.by_name[op], { op }
  for i = 2, tables.dense(term) do
    local argument, value = signature.argument(operation, i - 1), rawget(term, i)
    out[i] = argument.is_term and rewrite(value, op == "override") or plain_parameter(value, argument.sort)
  end
  local law = not is_within_plan and operation.law
  return law and LAWS[law.kind](out, law) or out
end

--- The normal form of an admitted term; shares no table with it.
---@param term table
---@return table normal_form
local function normalize(term)
  return rewrite(term, false)
end

return { normalize = normalize }
