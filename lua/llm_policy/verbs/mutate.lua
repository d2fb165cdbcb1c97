-- The verb mutate: how a request is changed for one attempt. What each Xform operation means
-- (spec 1.6).
--
-- A transform is a function (request, view, i) -> request. It may change the request it is given,
-- which its caller made for this one attempt. It sees sampling parameters only, never messages.

local numbers = require("llm_policy.base.numbers")
local random = require("llm_policy.base.random")
local tables = require("llm_policy.base.tables")
local vocabularies = require("llm_policy.language.vocabulary")

local at, type = vocabularies.at, type
local is_finite, bound, carrier = numbers.is_finite, numbers.bound, numbers.carrier

local function clamped(x, lo, hi)
  if x < lo then
    x = lo
  end
  if x > hi then
    x = hi
  end
  return x
end

local function seed_of(view)
  local seed = at(view.ctx, "seed")
  return random.is_seed(seed) and seed or nil
end

--- The stream of a jittered parameter: a retry draws anew.
local function jitter_stream(param, attempt)
  if is_finite(attempt) and attempt >= 2 and numbers.floor(attempt) == attempt then
    return "jitter:" .. param .. "#" .. numbers.format(attempt)
  end
  return "jitter:" .. param
end

--- Appends a recipe to the directives of one medium.
local function directive(medium)
  return function(args)
    local recipe = args[1]
    return function(request, view)
      local given = at(request, "_filters")
      local filters = type(given) == "table" and tables.copy(given) or {}
      local steps, before = {}, at(filters[medium], "recipe") or {}
      for i = 1, #before do
        steps[i] = before[i]
      end
      for i = 1, #recipe do
        steps[#steps + 1] = recipe[i]
      end
      local seed = seed_of(view)
      filters[medium] = { recipe = steps, seed = seed and numbers.integral(random.reduce(seed)) }
      request._filters = filters
      return request
    end
  end
end

-- Each entry makes the transform of its operation from (arguments, vocabulary).
local operations = {
  filter_text = directive("text"),
  filter_image = directive("image"),
}

operations.id = function()
  return function(request)
    return request
  end
end

operations.seq = function(args)
  return function(request, view, i)
    for j = 1, #args do
      request = args[j](request, view, i)
    end
    return request
  end
end

operations.set_param = function(args)
  local param, value = args[1], args[2]
  return function(request)
    request[param] = value
    return request
  end
end

operations.inject_seed = function(args)
  local param = args[1]
  return function(request, view)
    local seed = seed_of(view)
    if seed then
      request[param] = carrier(seed)
    end
    return request
  end
end

operations.clamp_param = function(args)
  local param, lo, hi = args[1], carrier(args[2]), carrier(args[3])
  return function(request)
    local value = request[param]
    if is_finite(value) then
      request[param] = clamped(carrier(value), lo, hi)
    end
    return request
  end
end

operations.jitter = function(args)
  local param, amplitude = args[1], bound(args[2])
  return function(request, view)
    local seed, base = seed_of(view), request[param]
    if base == nil then
      base = 0
    end
    if not seed or not is_finite(base) then
      return request
    end
    local draw = random.stream(seed, jitter_stream(param, at(view.ctx, "attempt")))
    request[param] = bound(bound(base) + bound((draw() * 2 - 1) * amplitude))
    return request
  end
end

operations.when = function(args)
  local pred, child = args[1], args[2]
  return function(request, view, i)
    if pred:holds(view, i) then
      return child(request, view, i)
    end
    return request
  end
end

--- A local policy's own transform: fn(request, candidate, ctx) -> request, or nothing.
operations.mutate_with = function(args)
  local fn = args[1]
  return function(request, view, i)
    return fn(request, view.candidates[i], view.ctx) or request
  end
end

operations.custom = function(args, vocabulary)
  local fn = vocabulary.customs[args[1]]
  if fn == true then -- declared by name only: the host has no such function
    return operations.id()
  end
  return operations.mutate_with({ fn })
end

return { operations = operations, clamped = clamped }
