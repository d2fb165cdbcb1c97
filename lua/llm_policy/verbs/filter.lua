-- The verb filter: who is eligible. What each Pred operation means (spec 1.6).

local observation = require("llm_policy.verbs.observation")
local predicates = require("llm_policy.verbs.predicate")
local requirements = require("llm_policy.verbs.requirements")
local vocabularies = require("llm_policy.language.vocabulary")

local at, column, demanded = vocabularies.at, observation.column, requirements.demanded
local all, asked, drop_each = predicates.all, predicates.asked, predicates.drop_each
local compare, flag, same = predicates.compare, predicates.flag, predicates.same
local type = type

local function holds_top()
  return true
end

local function holds_bot()
  return false, "bot"
end

local function holds_any(self, view, i)
  for j = 1, #self do
    if self[j]:holds(view, i) then
      return true
    end
  end
  return false, "or"
end

local function holds_not(self, view, i)
  if self.child:holds(view, i) then
    return false, "not"
  end
  return true
end

local function keep_not(self, view, idx, m)
  local child = self.child
  return (child.drop or drop_each)(child, view, idx, m)
end

local function holds_demanded(self, view, i)
  return demanded(view, self.vocabulary):holds(view, i)
end

local function keep_demanded(self, view, idx, m)
  return demanded(view, self.vocabulary):keep(view, idx, m)
end

local function holds_scope(_, view, i)
  local scope = column(view, observation.SCOPE)[i]
  if scope == nil or scope == at(at(view.ctx, "request"), "scope") then
    return true
  end
  return false, "scope"
end

local function holds_function(self, view, i)
  local ok, reason = self.fn(view.candidates[i], view.ctx)
  if ok then
    return true
  end
  return false, type(reason) == "string" and reason or "where"
end

-- Each entry makes the predicate of its operation from (arguments, vocabulary).
local operations = {}

operations.top = function()
  return asked(holds_top, {})
end

operations.bot = function()
  return asked(holds_bot, {})
end

operations["and"] = function(args)
  return all(args)
end

operations["or"] = function(args)
  return asked(holds_any, args)
end

operations["not"] = function(args)
  return { holds = holds_not, keep = keep_not, child = args[1] }
end

operations.meets_req = function(_, vocabulary)
  return { holds = holds_demanded, keep = keep_demanded, vocabulary = vocabulary }
end

operations.scope_matches = function()
  return asked(holds_scope, {})
end

operations.is = function(args, vocabulary)
  return flag(vocabulary.fields[args[1]], "is:" .. args[1])
end

operations.cmp = function(args, vocabulary)
  local reason = "cmp:" .. args[1] .. ":" .. args[2]
  return compare(vocabulary.fields[args[1]], args[2], args[3] + 0.0, reason)
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
  return asked(holds_function, { fn = args[1] })
end

return { operations = operations }
