-- Numbers as IEEE doubles that never overflow: bounds, exact helpers, and their decimal text.
-- Constants are built by doubling, since decimal literals pass through each runtime's own reader.

local number_reader = require("llm_policy.base.number_reader")
local number_text = require("llm_policy.base.number_text")

local host_floor, host_huge = math.floor, math.huge
local type = type

local function power_of_two(exponent)
  local power = 1.0
  for _ = 1, exponent do
    power = power * 2
  end
  return power
end

local HALF_ULP_SHIFT = power_of_two(52)
local EXACT = power_of_two(53)
local T = power_of_two(500)
local TINY = 1 / T
-- 2 - 2^-52 is the largest significand.
local MAX = (2 - 1 / HALF_ULP_SHIFT) * power_of_two(1023)
local HAS_INFINITY = type(host_huge) == "number" and host_huge > MAX

local numbers = {}

--- The magnitude that bounds every score, 2^500 (spec 1.6).
numbers.T = T

--- The largest finite double.
numbers.MAX = MAX

--- The absent-high observation: infinity, or false where the runtime has none.
---@type number|false
numbers.HIGH = HAS_INFINITY and host_huge or false

--- Whether any value is a finite number.
---@param value any
---@return boolean
function numbers.is_finite(value)
  return type(value) == "number" and value >= -MAX and value <= MAX
end

--- The number as a double without negative zero, the one carrier of spec 1.6.
---@param x number
---@return number
function numbers.carrier(x)
  return x + 0.0
end

--- The double brought into [-T, T], with magnitudes below 1/T and negative zero made 0 (spec 1.6).
---@param x number  finite or infinite
---@return number
local function bound(x)
  if x >= TINY then
    return x <= T and x or T
  elseif x <= -TINY then
    return x >= -T and x or -T
  end
  return 0.0
end
numbers.bound = bound

--- bound(w * s) without an overflow on the way, since some runtimes raise on one.
---@param w number  any finite double
---@param s number  within [-T, T]
---@return number
function numbers.times(w, s)
  if w <= T and w >= -T then
    return bound(w * s)
  end
  -- |w| * TINY < 2^524 is exact, and so is the way back from a product below 1.
  local product = w * TINY * s
  if product >= 1 then
    return T
  elseif product <= -1 then
    return -T
  end
  return bound(product * T)
end

--- The number as the runtime's integer subtype where it has one and x is integral
--- with |x| <= 2^53, else x itself.
---@param x number
---@return number
function numbers.integral(x)
  if x <= EXACT and x >= -EXACT then
    local whole = host_floor(x)
    if whole == x then
      return whole + 0
    end
  end
  return x
end

--- The largest integral double that is not above a finite x.
---@param x number
---@return number
function numbers.floor(x)
  x = x + 0.0
  if x >= HALF_ULP_SHIFT or x <= -HALF_ULP_SHIFT then
    return x
  end
  local nearest
  if x >= 0 then
    nearest = (x + HALF_ULP_SHIFT) - HALF_ULP_SHIFT
  else
    nearest = (x - HALF_ULP_SHIFT) + HALF_ULP_SHIFT + 0.0
  end
  return nearest > x and nearest - 1 or nearest
end

--- A finite number's canonical text (spec 1.4).
numbers.format = number_text.format

--- A finite number as people write it: the fewest digits that read back to it.
numbers.brief = number_text.brief

--- The double nearest to a JSON number's text, ties to even; nothing for other text or an overflow.
numbers.parse = number_reader.parse

return numbers
