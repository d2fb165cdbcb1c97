-- Predicates: what filters are made of, and the loops that narrow candidates by them.
--
-- A predicate is data with its meaning: {holds(self, view, i) -> true | false, reason;
-- keep(self, view, idx, m) -> m}. `holds` is the meaning, for one candidate; `keep` narrows a list of
-- candidate indices in place, in order, and says how many are left; `drop`, where there is one, keeps
-- those for which it does not hold. No predicate has a function of its own: whatever policies come,
-- the loops stay the same few, and a tracing compiler knows them.

local numbers = require("llm_policy.base.numbers")
local observation = require("llm_policy.verbs.observation")

local column, HIGH = observation.column, numbers.HIGH

--- `keep` by asking one candidate after the other.
local function keep_each(self, view, idx, m)
  local kept = 0
  for k = 1, m do
    local i = idx[k]
    if self:holds(view, i) then
      kept = kept + 1
      idx[kept] = i
    end
  end
  return kept
end

local function drop_each(self, view, idx, m)
  local kept = 0
  for k = 1, m do
    local i = idx[k]
    if not self:holds(view, i) then
      kept = kept + 1
      idx[kept] = i
    end
  end
  return kept
end

-- Equality with an aspect ------------------------------------------------------------------------------

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

local function holds_same(self, view, i)
  if column(view, self.aspect)[i] == self.value then
    return true
  end
  return false, self.reason
end

local function keep_same(self, view, idx, m)
  return keep_equal(column(view, self.aspect), self.value, idx, m)
end

local function drop_flag(self, view, idx, m)
  return keep_equal(column(view, self.aspect), false, idx, m)
end

--- Holds where the aspect equals the value.
local function same(aspect, value, reason)
  return { holds = holds_same, keep = keep_same, aspect = aspect, value = value, reason = reason }
end

--- Holds where the flag is set.
local function flag(aspect, reason)
  local pred = same(aspect, true, reason)
  pred.drop = drop_flag
  return pred
end

-- Comparison with a number -----------------------------------------------------------------------------

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

local function holds_compared(self, view, i)
  local value = column(view, self.aspect)[i]
  local ok
  if value == HIGH then
    ok = COMPARE_HIGH[self.rel]
  else
    ok = COMPARE[self.rel](value, self.value)
  end
  if ok then
    return true
  end
  return false, self.reason
end

--- A loop of its own for the relations that ceilings and floors use: each stays one tight trace.
local function keep_le(self, view, idx, m)
  local values, x, kept = column(view, self.aspect), self.value, 0
  for k = 1, m do
    local i = idx[k]
    if values[i] <= x then
      kept = kept + 1
      idx[kept] = i
    end
  end
  return kept
end

local function keep_ge(self, view, idx, m)
  local values, x, kept = column(view, self.aspect), self.value, 0
  for k = 1, m do
    local i = idx[k]
    if values[i] >= x then
      kept = kept + 1
      idx[kept] = i
    end
  end
  return kept
end

-- An infinite HIGH compares as COMPARE_HIGH says; one that is no number needs asking.
local KEEP = HIGH and { le = keep_le, ge = keep_ge } or {}

--- Holds where the number of the aspect compares so with x.
local function compare(aspect, rel, x, reason)
  local keep = KEEP[rel] or keep_each
  return { holds = holds_compared, keep = keep, aspect = aspect, rel = rel, value = x, reason = reason }
end

-- Composition ------------------------------------------------------------------------------------------

local function holds_all(self, view, i)
  for j = 1, #self do
    local ok, reason = self[j]:holds(view, i)
    if not ok then
      return false, reason
    end
  end
  return true
end

local function keep_all(self, view, idx, m)
  for j = 1, #self do
    m = self[j]:keep(view, idx, m)
  end
  return m
end

--- Holds where all do; the first that fails gives the reason.
local function all(preds)
  preds.holds, preds.keep = holds_all, keep_all
  return preds
end

--- A predicate that is asked candidate by candidate.
local function asked(holds, parts)
  parts.holds, parts.keep = holds, keep_each
  return parts
end

return {
  all = all,
  asked = asked,
  compare = compare,
  drop_each = drop_each,
  flag = flag,
  same = same,
}
