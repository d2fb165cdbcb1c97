-- The verb filter: who is eligible. What each Pred operation means (spec 1.6).
--
-- A predicate is {holds(view, i) -> true | false, reason; keep(view, idx, m) -> m}: `holds` is the
-- meaning, for one candidate; `keep` narrows a list of candidate indices in place, in order, and
-- says how many are left. `drop`, where there is one, keeps those for which it does not hold.

local numbers = require("llm_policy.base.numbers")
local observation = require("llm_policy.verbs.observation")
local vocabularies = require("llm_policy.language.vocabulary")

local at, column = vocabularies.at, observation.column
local type, next = type, next
local HIGH, is_finite = numbers.HIGH, numbers.is_finite

--- `keep` (or `drop`, with wanted false) by asking one candidate after the other.
local function each(holds, wanted)
  return function(view, idx, m)
    local kept = 0
    for k = 1, m do
      local i = idx[k]
      if (holds(view, i)) == wanted then
        kept = kept + 1
        idx[kept] = i
      end
    end
    return kept
  end
end

local function predicate(holds)
  return { holds = holds, keep = each(holds, true) }
end

local function keep_equal(values, value, idx, m)
  local kept = 0
  for k = 1, m do
    local i = idx[k]
    if values[i] == value then
      kept = kept + 1
      idx[kept] = i
    end
  end
  return kept
end

--- Holds where the aspect equals the value.
local function same(aspect, value, reason)
  return {
    holds = function(view, i)
      if column(view, aspect)[i] == value then
        return true
      end
      return false, reason
    end,
    keep = function(view, idx, m)
      return keep_equal(column(view, aspect), value, idx, m)
    end,
  }
end

--- Holds where the flag is set.
local function flag(aspect, reason)
  local pred = same(aspect, true, reason)
  pred.drop = function(view, idx, m)
    return keep_equal(column(view, aspect), false, idx, m)
  end
  return pred
end

-- stylua: ignore
local COMPARE = {
  lt = function(a, b) return a < b end,
  le = function(a, b) return a <= b end,
  eq = function(a, b) return a == b end,
  ne = function(a, b) return a ~= b end,
  ge = function(a, b) return a >= b end,
  gt = function(a, b) return a > b end,
}

-- How an absent-high value compares with any number.
local COMPARE_HIGH = { lt = false, le = false, eq = false, ne = true, ge = true, gt = true }

--- A loop of its own per relation: each stays one tight trace.
local function keep_compared(is_kept)
  return function(values, x, idx, m)
    local kept = 0
    for k = 1, m do
      local i = idx[k]
      if is_kept(values[i], x) then
        kept = kept + 1
        idx[kept] = i
      end
    end
    return kept
  end
end

local KEEP = {
  lt = keep_compared(COMPARE.lt),
  le = function(values, x, idx, m)
    local kept = 0
    for k = 1, m do
      local i = idx[k]
      if values[i] <= x then
        kept = kept + 1
        idx[kept] = i
      end
    end
    return kept
  end,
  eq = keep_compared(COMPARE.eq),
  ne = keep_compared(COMPARE.ne),
  ge = function(values, x, idx, m)
    local kept = 0
    for k = 1, m do
      local i = idx[k]
      if values[i] >= x then
        kept = kept + 1
        idx[kept] = i
      end
    end
    return kept
  end,
  gt = keep_compared(COMPARE.gt),
}

--- Holds where the number of the aspect compares so with x.
local function compare(aspect, rel, x, reason)
  local holds_for, holds_high = COMPARE[rel], COMPARE_HIGH[rel]
  local function holds(view, i)
    local value = column(view, aspect)[i]
    local ok
    if value == HIGH then
      ok = holds_high
    else
      ok = holds_for(value, x)
    end
    if ok then
      return true
    end
    return false, reason
  end
  if not HIGH then
    return predicate(holds)
  end
  local keep = KEEP[rel] -- an infinite HIGH compares as COMPARE_HIGH says
  return {
    holds = holds,
    keep = function(view, idx, m)
      return keep(column(view, aspect), x, idx, m)
    end,
  }
end

--- Holds where all do; the first that fails gives the reason.
local function all(preds)
  return {
    holds = function(view, i)
      for j = 1, #preds do
        local ok, reason = preds[j].holds(view, i)
        if not ok then
          return false, reason
        end
      end
      return true
    end,
    keep = function(view, idx, m)
      for j = 1, #preds do
        m = preds[j].keep(view, idx, m)
      end
      return m
    end,
  }
end

--- Something is given: not nothing, not false, not an empty list.
local function is_given(value)
  return value ~= nil and value ~= false and not (type(value) == "table" and next(value) == nil)
end

local function wants_json(request)
  local kind = at(at(request, "response_format"), "type")
  return kind == "json_object" or kind == "json_schema"
end

local function has_need(requirements, name)
  local needs = at(requirements, "needs")
  if type(needs) ~= "table" then
    return false
  end
  for i = 1, #needs do
    if needs[i] == name then
      return true
    end
  end
  return false
end

--- A need: named in the requirements, or derived from the request's shape.
local function need(name, is_derived)
  local pred = flag(observation.support(name), "missing_capability:" .. name)
  return function(request, requirements)
    if has_need(requirements, name) or is_derived(request) then
      return pred
    end
  end
end

local function never()
  return false
end

--- What a request demands, in the order in which a failure is reported: each row makes the
--- predicate of one requirement, or nothing where the request does not have it.
local function requirement_rows(vocabulary)
  local context, tok_s = observation.field(vocabulary, "context"), observation.field(vocabulary, "tok_s")
  local has_tee, no_log = observation.field(vocabulary, "has_tee"), observation.field(vocabulary, "no_log")
  local tee = flag(has_tee, "tee_required")
  local private = predicate(function(view, i)
    if column(view, no_log)[i] or column(view, has_tee)[i] then
      return true
    end
    return false, "no_log"
  end)

  local function at_least(key, aspect)
    return function(_, requirements)
      local least = at(requirements, key)
      return is_finite(least) and compare(aspect, "ge", least + 0.0, key) or nil
    end
  end
  local function equal(key, aspect)
    return function(_, requirements)
      local wanted = at(requirements, key)
      return type(wanted) == "string" and same(aspect, wanted, key) or nil
    end
  end

  return {
    need("tools", function(request)
      return is_given(at(request, "tools"))
    end),
    need("vision", function(request)
      return is_given(at(request, "images"))
    end),
    need("json_mode", wants_json),
    need("seed", never),
    at_least("min_context", context),
    equal("model_family", observation.FAMILY),
    equal("tier", observation.TIER),
    function(_, requirements)
      local privacy = at(requirements, "privacy")
      return privacy == "tee_required" and tee or privacy == "no_log" and private or nil
    end,
    at_least("min_tok_s", tok_s),
  }
end

--- The request's requirements as one predicate, made once per view.
local function demanded(view, rows)
  if not view.demanded then
    local request, preds = at(view.ctx, "request"), {}
    local requirements = at(request, "requirements")
    for j = 1, #rows do
      preds[#preds + 1] = rows[j](request, requirements)
    end
    view.demanded = all(preds)
  end
  return view.demanded
end

-- Each entry makes the predicate of its operation from (arguments, vocabulary).
local operations = {}

operations.top = function()
  return predicate(function()
    return true
  end)
end

operations.bot = function()
  return predicate(function()
    return false, "bot"
  end)
end

operations["and"] = function(args)
  return all(args)
end

operations["or"] = function(args)
  return predicate(function(view, i)
    for j = 1, #args do
      if args[j].holds(view, i) then
        return true
      end
    end
    return false, "or"
  end)
end

operations["not"] = function(args)
  local child = args[1]
  local pred = predicate(function(view, i)
    if child.holds(view, i) then
      return false, "not"
    end
    return true
  end)
  pred.keep = child.drop or each(child.holds, false)
  return pred
end

operations.meets_req = function(_, vocabulary)
  local rows = requirement_rows(vocabulary)
  return {
    holds = function(view, i)
      return demanded(view, rows).holds(view, i)
    end,
    keep = function(view, idx, m)
      return demanded(view, rows).keep(view, idx, m)
    end,
  }
end

operations.scope_matches = function()
  return predicate(function(view, i)
    local scope = column(view, observation.SCOPE)[i]
    if scope == nil or scope == at(at(view.ctx, "request"), "scope") then
      return true
    end
    return false, "scope"
  end)
end

operations.is = function(args, vocabulary)
  return flag(observation.field(vocabulary, args[1]), "is:" .. args[1])
end

operations.cmp = function(args, vocabulary)
  local reason = "cmp:" .. args[1] .. ":" .. args[2]
  return compare(observation.field(vocabulary, args[1]), args[2], args[3] + 0.0, reason)
end

operations.tier_eq = function(args)
  return same(observation.TIER, args[1], "tier")
end

operations.min_tier = function(args, vocabulary)
  return compare(observation.tier_rank(vocabulary), "ge", vocabulary.tiers[args[1]], "min_tier")
end

operations.family_eq = function(args)
  return same(observation.FAMILY, args[1], "model_family")
end

operations.provider_eq = function(args)
  return same(observation.PROVIDER, args[1], "provider_id")
end

operations.served_by_eq = function(args)
  return same(observation.SERVED_BY, args[1], "served_by")
end

operations.has_cap = function(args)
  return flag(observation.capability(args[1]), "missing_capability:" .. args[1])
end

--- A local policy's own predicate: fn(candidate, ctx) -> holds, reason.
operations.where = function(args)
  local fn = args[1]
  return predicate(function(view, i)
    local ok, reason = fn(view.candidates[i], view.ctx)
    if ok then
      return true
    end
    return false, type(reason) == "string" and reason or "where"
  end)
end

return { operations = operations, compare = compare, same = same, all = all }
