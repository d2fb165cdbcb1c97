-- The gate at load (spec 2, "Runtimes"): whether this runtime's arithmetic can agree with all others.
--
-- Every check computes with values it made by loops, so that no compiler folds it, and none overflows,
-- since some runtimes raise on that.

local char, error, next, type = string.char, error, next, type
local host_huge = math.huge

local platform = {}

local function power_of_two(exponent)
  local power = 1.0
  for _ = 1, exponent do
    power = power * 2
  end
  return power
end

local function divides_exactly()
  local seven, two = 7, 2
  return seven / two == 3 + 1 / two and 1 / two > 0
end

-- 53 bits, no more and no less, to the nearest and with ties to even.
local function has_doubles()
  local exact = power_of_two(53)
  return exact + 1 == exact
    and exact + 3 == exact + 4
    and -exact - 1 == -exact
    and exact - 1 ~= exact
    and (exact - 1) + 2 - exact == 0
    and 1 + 1 / exact == 1
    and 1 + 2 / exact > 1
    and 1 / 3 * 3 == 1
end

-- 2.99998 above 2^53 rounds to 2; by way of an extended double it rounds to 3, and that to 4.
local function rounds_once()
  local base = power_of_two(53) + 2
  return base + (1 - 1 / power_of_two(16)) == base
end

local function keeps_subnormals()
  local smallest = 1 / power_of_two(1000)
  for _ = 1, 74 do
    smallest = smallest / 2
  end
  local scale = power_of_two(1000)
  return smallest > 0 and smallest + smallest ~= smallest and smallest * scale == 1 / power_of_two(74)
end

-- (1 + d)(1 - d) is 1 - d^2, which rounds to 1 unless the product goes unrounded into the sum.
-- Often enough for a just-in-time compiler to compile it.
local function rounds_products()
  local step = 1 / power_of_two(30)
  local sum = 0.0
  for i = 1, 400 do
    local d = i > 200 and step or step / 2
    local a, b = 1 + d, 1 - d
    local less, more = a * b - 1, 1 - a * b
    sum = sum + less * less + more * more + (a * b + -1)
  end
  return sum == 0
end

-- Adding 2^52 and taking it away rounds, unless the two are simplified away.
local function keeps_order()
  local rounder = power_of_two(52)
  local sum = 0.0
  for i = 1, 400 do
    local x = i + 1 / 4
    sum = sum + ((x + rounder) - rounder - i)
  end
  local zero = -1 / power_of_two(500)
  zero = zero / power_of_two(500) / power_of_two(500)
  return sum == 0 and zero + 0.0 == 0 and (power_of_two(40) + 0.5) % power_of_two(20) == 0.5
end

-- Where infinity exists, a not-a-number compares with nothing.
local function compares_nan()
  local largest = (2 - 1 / power_of_two(52)) * power_of_two(1023)
  if type(host_huge) == "number" and host_huge > largest then
    local nan = host_huge - host_huge
    return nan ~= nan and not (nan == nan or nan < 0 or nan > 0 or nan <= largest or nan >= -largest)
  end
  return true
end

-- 1 and 1.0 are one key, and a string is bytes.
local function has_plain_values()
  local list = {}
  list[1 + 0.0] = true
  local key = next(list)
  return key == 1 and list[1] == true and #char(255, 0) == 2
end

local CHECKS = {
  { divides_exactly, "its division truncates" },
  { has_doubles, "its numbers are not 53-bit doubles rounded to nearest" },
  { rounds_once, "its numbers are rounded twice (x87)" },
  { keeps_subnormals, "it flushes subnormal numbers to zero" },
  { rounds_products, "it fuses multiplication and addition" },
  { keeps_order, "it reorders arithmetic (-ffast-math)" },
  { compares_nan, "it assumes that no number is not-a-number (-ffast-math)" },
  { has_plain_values, "its tables or strings differ" },
}

--- Whether this runtime can decide as every other does.
---@return true?
---@return string? reason
function platform.check()
  for i = 1, #CHECKS do
    if not CHECKS[i][1]() then
      return nil, CHECKS[i][2]
    end
  end
  return true
end

--- Raises where `check` refuses: the core must not be loaded there.
function platform.demand()
  local agrees, reason = platform.check()
  if not agrees then
    error("llm_policy: this runtime cannot agree: " .. reason, 0)
  end
end

local jit = rawget(_G, "jit")

--- Whether the core should run with the just-in-time compiler off: on arm64, old builds of it fuse.
---@type boolean
platform.wants_jit_off = type(jit) == "table" and jit.arch == "arm64"

return platform
