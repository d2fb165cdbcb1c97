-- Cursors: an order that is found as far as it is asked for.
--
-- {order, scores, found, more}: order[r] is the position, among the survivors, at rank r, scores[r] its
-- score; `more(cursor)` finds the next position and its score, or nothing. The first one is a scan.

local numbers = require("llm_policy.base.numbers")
local random = require("llm_policy.base.random")
local tables = require("llm_policy.base.tables")
local vocabularies = require("llm_policy.language.vocabulary")

local at, bound, T = vocabularies.at, numbers.bound, numbers.T

-- Up to this rank a scan for the next best is cheaper than sorting all.
local SCANS = 12

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

--- Score descending.
local function best(m, scores)
  return cursor(next_best, m, scores)
end

local function next_in_order(self)
  local k = self.found + 1
  if k <= self.m then
    return k, self.given[k]
  end
end

--- As they stand.
local function in_order(m, scores)
  return cursor(next_in_order, m, scores)
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

--- Drawn by the ctx's seed from the weights 1, q, q^2, ... over the order by score.
local function drawn(m, scores, q, ctx)
  local seed, out = at(ctx, "seed"), cursor(next_drawn, m, scores)
  out.q, out.rng = q, random.stream(random.is_seed(seed) and seed or 0)
  return out
end

local function next_listed(self)
  local entry = self.given[self.found + 1]
  if entry then
    return entry.k, 0.0 - entry.place
  end
end

local function precedes(a, b)
  return a.place < b.place
end

--- The listed ones, {k, place}, by place; the score is minus the place.
local function listed(m, list)
  return cursor(next_listed, m, tables.sort(list, precedes))
end

local function next_of_first(self)
  local r, source = self.found + 1, self.given
  if r <= self.count and reach(source, r) then
    return source.order[r], source.scores[r]
  end
end

--- The first of another cursor.
local function first(source, count)
  local out = cursor(next_of_first, source.m, source)
  out.count = count
  return out
end

--- First those that satisfy the predicate, then the others, each in the inner order.
local function next_preferred(self)
  local source = self.given
  while reach(source, self.looked + 1) do
    self.looked = self.looked + 1
    local k = source.order[self.looked]
    if self.pred:holds(self.view, self.idx[k]) then
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

--- Another cursor's order, those that satisfy the predicate before the others.
local function preferred(source, pred, view, idx)
  local out = cursor(next_preferred, source.m, source)
  out.pred, out.view, out.idx = pred, view, idx
  out.looked, out.others, out.given_back = 0, {}, 0
  return out
end

local function next_of_function(self)
  local entry = self.given[self.found + 1]
  local k = entry and self.place[entry.candidate]
  if k then
    return k, bound(entry.score or 0)
  end
end

--- What an operator's function made of the survivors; `place` finds a candidate's position.
local function of_function(m, list, place)
  local out = cursor(next_of_function, m, list)
  out.place = place
  return out
end

return {
  best = best,
  drawn = drawn,
  first = first,
  in_order = in_order,
  listed = listed,
  of_function = of_function,
  preferred = preferred,
  reach = reach,
}
