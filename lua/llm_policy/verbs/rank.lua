-- The verb rank/select: in what order. What each Scorer and Selector operation means (spec 1.6).
--
-- A scorer is a function (view, idx, m, out): it writes the score of candidate idx[k] to out[k],
-- k = 1..m, every one within [-T, T]. A selector is a function (view, idx, m, scores) -> cursor;
-- a cursor finds positions k one after the other, as they are asked for:
-- {order, scores, found, more}: order[r] is the position at rank r, scores[r] its score.

local numbers = require("llm_policy.base.numbers")
local observation = require("llm_policy.verbs.observation")
local random = require("llm_policy.base.random")
local sorts = require("llm_policy.language.sorts")
local tables = require("llm_policy.base.tables")
local vocabularies = require("llm_policy.language.vocabulary")

local at, column, borrow, give = vocabularies.at, observation.column, observation.borrow, observation.give
local bound, times = numbers.bound, numbers.times
local T, TINY, HIGH = numbers.T, 1 / numbers.T, numbers.HIGH

-- Up to this rank a scan for the next best is cheaper than sorting all.
local SCANS = 12

-- Each entry makes the scorer or selector of its operation from (arguments, vocabulary).
local operations = {}

local function fill(x)
  return function(_, _, m, out)
    for k = 1, m do
      out[k] = x
    end
  end
end

operations.zero = function()
  return fill(0.0)
end

operations.lit = function(args)
  return fill(bound(args[1]))
end

operations.field = function(args, vocabulary)
  local aspect = observation.field(vocabulary, args[1])
  return function(view, idx, m, out)
    local values = column(view, aspect)
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
end

operations.add = function(args)
  return function(view, idx, m, out)
    args[1](view, idx, m, out)
    local more = borrow(view.spare)
    for j = 2, #args do
      args[j](view, idx, m, more)
      for k = 1, m do
        out[k] = out[k] + more[k]
      end
    end
    give(view.spare, more)
    for k = 1, m do
      out[k] = bound(out[k])
    end
  end
end

--- The product, where neither factor can overflow it.
local function scale_plain(w, m, out)
  for k = 1, m do
    out[k] = bound(w * out[k])
  end
end

operations.scale = function(args)
  local w, child = numbers.carrier(args[1]), args[2]
  local is_plain = w <= T and w >= -T
  return function(view, idx, m, out)
    child(view, idx, m, out)
    if is_plain then
      return scale_plain(w, m, out)
    end
    for k = 1, m do
      out[k] = times(w, out[k])
    end
  end
end

operations.neg = function(args)
  local child = args[1]
  return function(view, idx, m, out)
    child(view, idx, m, out)
    for k = 1, m do
      out[k] = bound(1 - out[k])
    end
  end
end

operations.gate = function(args)
  local pred, child = args[1], args[2]
  return function(view, idx, m, out)
    child(view, idx, m, out)
    local passing = borrow(view.spare)
    for k = 1, m do
      passing[k] = idx[k]
    end
    local kept = pred.keep(view, passing, m)
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

operations.normalize = function(args)
  local child = args[1]
  return function(view, idx, m, out)
    child(view, idx, m, out)
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
end

operations.clamp = function(args)
  local lo, hi, child = numbers.carrier(args[1]), numbers.carrier(args[2]), args[3]
  return function(view, idx, m, out)
    child(view, idx, m, out)
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
end

-- Selectors -----------------------------------------------------------------------------------------

--- A cursor over m positions; `more(cursor)` finds the next one and its score, or nothing.
local function cursor(more, m, given)
  return { more = more, m = m, given = given, order = {}, scores = {}, found = 0 }
end

--- Makes the cursor find rank r; whether there is one.
local function reach(self, r)
  while self.found < r do
    local k, score = self.more(self)
    if not k then
      return false
    end
    local n = self.found + 1
    self.found, self.order[n], self.scores[n] = n, k, score
  end
  return true
end

local function best_of(scores, m)
  local best, best_k = -2 * T, nil
  for k = 1, m do
    if scores[k] > best then
      best, best_k = scores[k], k
    end
  end
  return best_k
end

--- The best position after `last` in the order (score descending, position ascending).
local function best_after(scores, m, last)
  local bar, best, best_k = scores[last], -2 * T, nil
  for k = last + 1, m do
    if scores[k] == bar then
      return k
    end
  end
  for k = 1, m do
    local x = scores[k]
    if x < bar and x > best then
      best, best_k = x, k
    end
  end
  return best_k
end

--- All positions, score descending; ties keep their order.
local function sorted_positions(scores, m)
  local list = {}
  for k = 1, m do
    list[k] = k
  end
  return tables.sort(list, function(a, b)
    return scores[a] > scores[b]
  end)
end

local function next_best(self)
  local r, m, scores = self.found + 1, self.m, self.given
  local k
  if r > m then
    return nil
  elseif r == 1 then
    k = best_of(scores, m)
  elseif r > SCANS then
    self.sorted = self.sorted or sorted_positions(scores, m)
    k = self.sorted[r]
  else
    k = best_after(scores, m, self.order[r - 1])
  end
  return k, scores[k]
end

operations.argmax = function()
  return function(_, _, m, scores)
    return cursor(next_best, m, scores)
  end
end

local function next_in_order(self)
  local k = self.found + 1
  if k <= self.m then
    return k, self.given[k]
  end
end

operations.ordered = function()
  return function(_, _, m, scores)
    return cursor(next_in_order, m, scores)
  end
end

--- The place in a pool of weights that a draw falls on.
local function draw_place(weights, rng)
  local total = 0.0
  for p = 1, #weights do
    total = total + weights[p]
  end
  local r, running = rng() * total, 0.0
  for p = 1, #weights do
    running = running + weights[p]
    if running >= r then
      return p
    end
  end
end

--- Takes the item at a place out of a list.
local function take(list, place)
  local item = list[place]
  for p = place, #list do
    list[p] = list[p + 1]
  end
  return item
end

--- The weights 1, q, q^2, ... by iterated multiplication.
local function weights_of(m, q)
  local weights, w = {}, 1.0
  for p = 1, m do
    weights[p] = w
    w = w * q
  end
  return weights
end

local function next_drawn(self)
  if not self.pool then
    self.pool, self.weights = sorted_positions(self.given, self.m), weights_of(self.m, self.q)
  end
  if #self.pool == 0 then
    return nil
  end
  local place = draw_place(self.weights, self.rng)
  take(self.weights, place)
  local k = take(self.pool, place)
  return k, self.given[k]
end

operations.sample = function(args)
  local t = numbers.carrier(args[1])
  if t < 0 then
    t = 0.0
  end
  local q = t / (t + 1)
  return function(view, _, m, scores)
    local seed, out = at(view.ctx, "seed"), cursor(next_drawn, m, scores)
    out.q, out.rng = q, random.stream(random.is_seed(seed) and seed or 0)
    return out
  end
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

local function next_listed(self)
  local entry = self.given[self.found + 1]
  if entry then
    return entry.k, 0.0 - entry.place
  end
end

operations.chain = function(args)
  local place_of = positions(args[1])
  return function(view, idx, m)
    local providers, families = column(view, observation.PROVIDER), column(view, observation.FAMILY)
    local listed = {}
    for k = 1, m do
      local place = at(place_of[providers[idx[k]]], families[idx[k]])
      if place then
        listed[#listed + 1] = { k = k, place = place }
      end
    end
    tables.sort(listed, function(a, b)
      return a.place < b.place
    end)
    return cursor(next_listed, m, listed)
  end
end

local function next_of_first(self)
  local r, source = self.found + 1, self.given
  if r <= self.count and reach(source, r) then
    return source.order[r], source.scores[r]
  end
end

operations.top_k = function(args)
  local count, inner = args[1], args[2]
  return function(view, idx, m, scores)
    local out = cursor(next_of_first, m, inner(view, idx, m, scores))
    out.count = count
    return out
  end
end

--- First those that satisfy the predicate, then the others, each in the inner order.
local function next_preferred(self)
  local source = self.given
  while reach(source, self.looked + 1) do
    self.looked = self.looked + 1
    local k = source.order[self.looked]
    if self.pred.holds(self.view, self.idx[k]) then
      return k, source.scores[self.looked]
    end
    self.others[#self.others + 1] = self.looked
  end
  self.given_back = self.given_back + 1
  local r = self.others[self.given_back]
  if r then
    return source.order[r], source.scores[r]
  end
end

operations.prefer = function(args)
  local pred, inner = args[1], args[2]
  return function(view, idx, m, scores)
    local out = cursor(next_preferred, m, inner(view, idx, m, scores))
    out.pred, out.view, out.idx = pred, view, idx
    out.looked, out.others, out.given_back = 0, {}, 0
    return out
  end
end

local function next_of_function(self)
  local entry = self.given[self.found + 1]
  local k = entry and self.place[entry.candidate]
  if k then
    return k, bound(entry.score or 0)
  end
end

--- A local policy's own order: fn(list of {candidate, score}, ctx) -> such a list.
operations.rank_with = function(args)
  local fn = args[1]
  return function(view, idx, m, scores)
    local list, place = {}, {}
    for k = 1, m do
      list[k] = { candidate = view.candidates[idx[k]], score = scores[k] }
      place[list[k].candidate] = k
    end
    local out = cursor(next_of_function, m, fn(list, view.ctx) or list)
    out.place = place
    return out
  end
end

return { operations = operations, reach = reach }
