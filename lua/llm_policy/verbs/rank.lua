-- The verb rank/select: in what order. What each Scorer and Selector operation means (spec 1.6).
--
-- A scorer is data with its meaning, score(self, view, idx, m, out): it writes the score of candidate
-- idx[k] to out[k], k = 1..m, every one within [-T, T]. A selector's is select(self, view, idx, m,
-- scores) -> cursor. As with predicates, none has a function of its own.

local cursors = require("llm_policy.verbs.cursor")
local numbers = require("llm_policy.base.numbers")
local observation = require("llm_policy.verbs.observation")
local sorts = require("llm_policy.language.sorts")

local column, borrow, give = observation.column, observation.borrow, observation.give
local bound, carrier, times = numbers.bound, numbers.carrier, numbers.times
local T, TINY, HIGH = numbers.T, 1 / numbers.T, numbers.HIGH

-- Each entry makes the scorer or selector of its operation from (arguments, vocabulary).
local operations = {}

local function fill(self, _, _, m, out)
  local x = self.value
  for k = 1, m do
    out[k] = x
  end
end

operations.zero = function()
  return { score = fill, value = 0.0 }
end

operations.lit = function(args)
  return { score = fill, value = bound(args[1]) }
end

local function score_field(self, view, idx, m, out)
  local values = column(view, self.field)
  for k = 1, m do
    local x = values[idx[k]]
    if x == HIGH or x > T then
      x = T
    elseif x < -T then
      x = -T
    elseif x < TINY and x > -TINY then
      x = 0.0
    end
    out[k] = x
  end
end

operations.field = function(args, vocabulary)
  return { score = score_field, field = vocabulary.fields[args[1]] }
end

local function score_sum(self, view, idx, m, out)
  self[1]:score(view, idx, m, out)
  local more = borrow(view.spare)
  for j = 2, #self do
    self[j]:score(view, idx, m, more)
    for k = 1, m do
      out[k] = out[k] + more[k]
    end
  end
  give(view.spare, more)
  for k = 1, m do
    out[k] = bound(out[k])
  end
end

operations.add = function(args)
  args.score = score_sum
  return args
end

--- The product with a weight that cannot overflow it.
local function score_product(self, view, idx, m, out)
  self.child:score(view, idx, m, out)
  local weight = self.weight
  for k = 1, m do
    out[k] = bound(weight * out[k])
  end
end

local function score_guarded_product(self, view, idx, m, out)
  self.child:score(view, idx, m, out)
  for k = 1, m do
    out[k] = times(self.weight, out[k])
  end
end

operations.scale = function(args)
  local weight = carrier(args[1])
  local is_plain = weight <= T and weight >= -T
  return { score = is_plain and score_product or score_guarded_product, weight = weight, child = args[2] }
end

local function score_complement(self, view, idx, m, out)
  self.child:score(view, idx, m, out)
  for k = 1, m do
    out[k] = bound(1 - out[k])
  end
end

operations.neg = function(args)
  return { score = score_complement, child = args[1] }
end

local function score_gated(self, view, idx, m, out)
  self.child:score(view, idx, m, out)
  local passing = borrow(view.spare)
  for k = 1, m do
    passing[k] = idx[k]
  end
  local kept = self.pred:keep(view, passing, m)
  if kept < m then
    local next_kept = 1
    for k = 1, m do
      if next_kept <= kept and passing[next_kept] == idx[k] then
        next_kept = next_kept + 1
      else
        out[k] = 0.0
      end
    end
  end
  give(view.spare, passing)
end

operations.gate = function(args)
  return { score = score_gated, pred = args[1], child = args[2] }
end

--- The least and the greatest score strictly between -T and T.
local function extent(m, out)
  local lo, hi = T, -T
  for k = 1, m do
    local x = out[k]
    if x < T and x > -T then
      if x < lo then
        lo = x
      end
      if x > hi then
        hi = x
      end
    end
  end
  return lo, hi
end

local function score_normalized(self, view, idx, m, out)
  self.child:score(view, idx, m, out)
  local lo, hi = extent(m, out)
  local span = hi - lo
  for k = 1, m do
    local x = out[k]
    if x >= T then
      out[k] = 1.0
    elseif x <= -T or span <= 0 then
      out[k] = 0.0
    else
      out[k] = bound((x - lo) / span)
    end
  end
end

operations.normalize = function(args)
  return { score = score_normalized, child = args[1] }
end

local function score_clamped(self, view, idx, m, out)
  self.child:score(view, idx, m, out)
  local lo, hi = self.lo, self.hi
  for k = 1, m do
    local x = out[k]
    if x < lo then
      x = lo
    end
    if x > hi then
      x = hi
    end
    out[k] = bound(x)
  end
end

operations.clamp = function(args)
  return { score = score_clamped, lo = carrier(args[1]), hi = carrier(args[2]), child = args[3] }
end

-- Selectors ---------------------------------------------------------------------------------------------

local function select_best(_, _, _, m, scores)
  return cursors.best(m, scores)
end

operations.argmax = function()
  return { select = select_best }
end

local function select_in_order(_, _, _, m, scores)
  return cursors.in_order(m, scores)
end

operations.ordered = function()
  return { select = select_in_order }
end

local function select_drawn(self, view, _, m, scores)
  return cursors.drawn(m, scores, self.q, view.ctx)
end

operations.sample = function(args)
  local t = carrier(args[1])
  if t < 0 then
    t = 0.0
  end
  return { select = select_drawn, q = t / (t + 1) }
end

--- provider -> model -> position of the first occurrence.
local function positions(entries)
  local out = {}
  for i = 1, #entries do
    local provider, model = sorts.chain_entry(entries[i])
    out[provider] = out[provider] or {}
    out[provider][model] = out[provider][model] or i
  end
  return out
end

local function select_listed(self, view, idx, m)
  local providers, families = column(view, observation.PROVIDER), column(view, observation.FAMILY)
  local listed = {}
  for k = 1, m do
    local of_provider = self.positions[providers[idx[k]]]
    local place = of_provider and of_provider[families[idx[k]]]
    if place then
      listed[#listed + 1] = { k = k, place = place }
    end
  end
  return cursors.listed(m, listed)
end

operations.chain = function(args)
  return { select = select_listed, positions = positions(args[1]) }
end

local function select_first(self, view, idx, m, scores)
  return cursors.first(self.inner:select(view, idx, m, scores), self.count)
end

operations.top_k = function(args)
  return { select = select_first, count = args[1], inner = args[2] }
end

local function select_preferred(self, view, idx, m, scores)
  return cursors.preferred(self.inner:select(view, idx, m, scores), self.pred, view, idx)
end

operations.prefer = function(args)
  return { select = select_preferred, pred = args[1], inner = args[2] }
end

local function select_by_function(self, view, idx, m, scores)
  local list, place = {}, {}
  for k = 1, m do
    list[k] = { candidate = view.candidates[idx[k]], score = scores[k] }
    place[list[k].candidate] = k
  end
  return cursors.of_function(m, self.fn(list, view.ctx) or list, place)
end

--- A local policy's own order: fn(list of {candidate, score}, ctx) -> such a list.
operations.rank_with = function(args)
  return { select = select_by_function, fn = args[1] }
end

return { operations = operations }
