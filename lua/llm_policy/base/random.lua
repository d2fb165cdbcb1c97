-- Deterministic random streams (spec 1.6): MINSTD on doubles, so every runtime draws alike.

local numbers = require("llm_policy.base.numbers")

local byte, type = string.byte, type
local floor, is_finite = numbers.floor, numbers.is_finite

local MODULUS = 2147483647 + 0.0
local MULTIPLIER = 16807 + 0.0
local NAME_MULTIPLIER = 31 + 0.0
local WARM_UP_STEPS = 4
local SEED_LIMIT = 9007199254740992 + 0.0

local random = {}

--- Whether the value can seed a stream: an integer below 2^53 in magnitude.
---@param value any
---@return boolean
function random.is_seed(value)
  return type(value) == "number"
    and is_finite(value)
    and value < SEED_LIMIT
    and value > -SEED_LIMIT
    and floor(value) == value
end

--- The seed mod 2147483647, from 0 also for a negative one.
---@param seed number  see is_seed
---@return number
function random.reduce(seed)
  local magnitude = seed + 0.0
  if magnitude < 0 then
    magnitude = -magnitude
  end
  local rest = magnitude % MODULUS
  if seed < 0 and rest > 0 then
    return MODULUS - rest
  end
  return rest
end

local function fold_name(name)
  local hash = 0.0
  for i = 1, #name do
    hash = (hash * NAME_MULTIPLIER + byte(name, i)) % MODULUS
  end
  return hash
end

--- A stream of draws in (0, 1), decided by the seed and the stream's name alone.
---@param seed number  see is_seed
---@param name? string  streams of one seed with different names are independent
---@return fun(): number draw
function random.stream(seed, name)
  local state = random.reduce(seed)
  if name then
    state = (state + fold_name(name)) % MODULUS
  end
  if state == 0 then
    state = MODULUS - 1
  end
  for _ = 1, WARM_UP_STEPS do
    state = (state * MULTIPLIER) % MODULUS
  end
  return function()
    state = (state * MULTIPLIER) % MODULUS
    return state / MODULUS
  end
end

return random
