-- Lowering: what the sugar of every part of a profile has in common (spec 1.8).
--
-- A lowering function is (low, at, value) -> term. It always answers a term: a mistake goes into
-- `low.report`, and a placeholder stands for what could not be read, so that one walk finds all.

local admission = require("llm_policy.language.admission")
local reports = require("llm_policy.language.report")
local signature = require("llm_policy.language.signature")
local tables = require("llm_policy.base.tables")

local type, rawget = type, rawget
local below = reports.below

-- As many parts as a term may have nodes: what is larger, or cyclic, could be no term.
local MAX_PARTS = 4096
-- Two keys for each of the 64 levels of a term, and those above the profile.
local MAX_DEPTH = 140

local PLACEHOLDERS = {
  Pred = { "bot" },
  Scorer = { "zero" },
  Selector = { "ordered" },
  Xform = { "id" },
  FailPlan = { "always", { action = "abort" } },
}

local lowering = {}

--- What one lowering reads and notes.
---@param options table|nil {vocabulary?, allows_functions?, retry_policies?, profiles?, chain?, report?}; with a
---vocabulary every part is admitted
function lowering.new(options)
  options = options or {}
  return {
    report = options.report or reports.new(),
    vocabulary = options.vocabulary,
    allows_functions = options.allows_functions,
    retry_policies = options.retry_policies or {},
    profiles = options.profiles or {},
    chain = options.chain,
    parts = 0,
  }
end

--- Notes a mistake and answers the placeholder of the sort.
function lowering.fail(low, at, sort, detail)
  reports.add(low.report, at, detail)
  return PLACEHOLDERS[sort]
end

--- Notes an unknown name and answers the placeholder of the sort.
function lowering.fail_unknown(low, at, sort, noun, name, known)
  reports.add_unknown(low.report, at, noun, name, known)
  return PLACEHOLDERS[sort]
end

local function operation_of(term)
  local op = rawget(term, 1)
  return signature.by_name[op] or signature.locals[op]
end

--- Whether a value is meant as a term: a list that starts with the name of an operation.
---@param words table<string, any>|nil names that mean something else here
function lowering.is_term(value, words)
  local op = type(value) == "table" and tables.dense(value) and rawget(value, 1)
  if type(op) ~= "string" or words and words[op] then
    return false
  end
  return operation_of(value) ~= nil
end

--- The sort of a term, or its refusal; without a vocabulary only its head is looked at.
local function sort_of(low, term)
  if low.vocabulary then
    return admission.check(term, low.vocabulary, low.allows_functions)
  end
  if not lowering.is_term(term) then
    return nil, { code = "not_a_term", path = "$", detail = "a term is wanted" }
  end
  return operation_of(term).sort
end

--- The refusal of a term that is not of the sort.
local function refusal_of(low, term, sort)
  local found, refusal = sort_of(low, term)
  if found and found ~= sort then
    return { code = "sort_mismatch", path = "$", detail = "a " .. sort .. " is wanted, this is a " .. found }
  end
  return refusal
end

--- A term as it is written at a place.
function lowering.written(low, at, term, sort)
  local refusal = refusal_of(low, term, sort)
  if refusal then
    reports.add_refusal(low.report, at, refusal)
    return PLACEHOLDERS[sort]
  end
  return term
end

--- A term made of what is written at a place.
---@param is_spread boolean|nil the arguments of the term are the entries of a list there
function lowering.made(low, at, term, sort, is_spread)
  local refusal = refusal_of(low, term, sort)
  if refusal then
    reports.add_refused(low.report, at, refusal, is_spread)
    return PLACEHOLDERS[sort]
  end
  return term
end

--- Whether one part more may be looked at; the first that is too many, or too deep, is the last.
function lowering.may_enter(low, at)
  low.parts = low.parts + 1
  local is_full = low.parts > MAX_PARTS or #at > MAX_DEPTH
  if is_full and not low.is_full then
    reports.add(low.report, at, "more parts, or deeper ones, than a policy may have")
  end
  low.is_full = low.is_full or is_full
  return not low.is_full
end

--- Each entry of a list, lowered.
function lowering.each_entry(low, at, list, sort, lower)
  local n, out = type(list) == "table" and tables.dense(list), {}
  if not n then
    return { lowering.fail(low, at, sort, "a list is wanted") }
  end
  for i = 1, n do
    out[i] = lower(low, below(at, i), rawget(list, i))
  end
  return out
end

--- Each entry of a record in byte order of its keys, lowered by (low, at, value, key).
function lowering.each_key(low, at, record, sort, lower)
  if type(record) ~= "table" then
    return { lowering.fail(low, at, sort, "a record is wanted") }
  end
  local keys, has_others = tables.keys(record)
  if has_others then
    return { lowering.fail(low, at, sort, "a record with names as keys is wanted") }
  end
  local out = {}
  for i = 1, #keys do
    out[i] = lower(low, below(at, keys[i]), rawget(record, keys[i]), keys[i])
  end
  return out
end

--- A lowering by the row of a table that the key names: {lower, takes}, how it is lowered, and what kind
--- of value it takes as data: {kind, entry? of a list, value? of a map of parameters, rows? of a record,
--- either? of alternatives, words?}; a kind is a shape's, a sort, or `Filter` or `Change`, the sugar itself.
function lowering.by_row(rows, sort, noun)
  return function(low, at, value, key)
    local row = rows[key]
    if not row then
      return lowering.fail_unknown(low, at, sort, noun, key, tables.keys(rows))
    end
    return row.lower(low, at, value)
  end
end

--- Terms under one operation: none is its unit, one stands alone.
function lowering.joined(op, terms, unit)
  if #terms <= 1 then
    return terms[1] or { unit }
  end
  local out = { op }
  for i = 1, #terms do
    out[i + 1] = terms[i]
  end
  return out
end

return lowering
