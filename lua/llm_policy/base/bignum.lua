-- Non-negative integers of any size, as lists of limbs in base 10^7, lowest first.
-- Every limb and every intermediate is an exact double, on any runtime.

local byte = string.byte

local LIMB = 10000000 + 0.0
local LIMB_DIGITS = 7
-- LIMB * LARGEST_FACTOR is below 2^53.
local LARGEST_FACTOR = 900000000 + 0.0
-- Adding and taking away 2^52 rounds a smaller double to an integer.
local ROUNDER = 4503599627370496 + 0.0

local bignum = {}

--- The big integer of a text of decimal digits; leading zeros make no limb.
---@param digits string
---@return number[] limbs  empty for zero
function bignum.from_digits(digits)
  local limbs, count = {}, 0
  local first = 1
  while byte(digits, first) == 48 do
    first = first + 1
  end
  for last = #digits, first, -LIMB_DIGITS do
    local limb = 0.0
    for i = last - LIMB_DIGITS + 1 < first and first or last - LIMB_DIGITS + 1, last do
      limb = limb * 10 + (byte(digits, i) - 48)
    end
    count = count + 1
    limbs[count] = limb
  end
  return limbs
end

--- The big integer of an integral double below 2^53.
---@param whole number
---@return number[] limbs
function bignum.from_double(whole)
  local limbs = {}
  while whole > 0 do
    local rest = whole % LIMB
    limbs[#limbs + 1] = rest
    whole = (whole - rest) / LIMB
  end
  return limbs
end

--- Multiplies in place by an integral factor below LARGEST_FACTOR.
---@param limbs number[]
---@param factor number
function bignum.multiply(limbs, factor)
  local carry, count = 0.0, #limbs
  for i = 1, count do
    local product = limbs[i] * factor + carry
    carry = product / LIMB + ROUNDER - ROUNDER
    local rest = product - carry * LIMB
    if rest < 0 then
      carry = carry - 1
      rest = rest + LIMB
    end
    limbs[i] = rest
  end
  if carry >= LIMB then
    local rest = carry % LIMB
    limbs[count + 1] = rest
    limbs[count + 2] = (carry - rest) / LIMB
  elseif carry > 0 then
    limbs[count + 1] = carry
  end
end

--- Divides in place by an integral divisor below LARGEST_FACTOR and answers the remainder.
---@param limbs number[]
---@param divisor number
---@return number remainder
function bignum.divide(limbs, divisor)
  local rest = 0.0
  for i = #limbs, 1, -1 do
    local part = rest * LIMB + limbs[i]
    local quotient = part / divisor + ROUNDER - ROUNDER
    rest = part - quotient * divisor
    if rest < 0 then
      quotient = quotient - 1
      rest = rest + divisor
    end
    limbs[i] = quotient
  end
  for i = #limbs, 1, -1 do
    if limbs[i] > 0 then
      break
    end
    limbs[i] = nil
  end
  return rest
end

-- base^exponent in factors that `multiply` and `divide` take.
local function factors(base, exponent)
  local list, factor = {}, 1.0
  for _ = 1, exponent do
    if factor * base >= LARGEST_FACTOR then
      list[#list + 1] = factor
      factor = 1.0
    end
    factor = factor * base
  end
  list[#list + 1] = factor
  return list
end

--- Multiplies in place by base^exponent, for a small base.
---@param limbs number[]
---@param base integer
---@param exponent integer
function bignum.scale(limbs, base, exponent)
  local list = factors(base, exponent)
  for i = 1, #list do
    bignum.multiply(limbs, list[i])
  end
end

--- Divides in place by base^exponent, for a small base, and answers whether anything remained.
---@param limbs number[]
---@param base integer
---@param exponent integer
---@return boolean has_rest
function bignum.shrink(limbs, base, exponent)
  local list, has_rest = factors(base, exponent), false
  for i = 1, #list do
    has_rest = bignum.divide(limbs, list[i]) > 0 or has_rest
  end
  return has_rest
end

--- The value of at most three limbs as a double, exact below 2^53.
---@param limbs number[]
---@return number
function bignum.to_double(limbs)
  return ((limbs[3] or 0.0) * LIMB + (limbs[2] or 0.0)) * LIMB + (limbs[1] or 0.0)
end

return bignum
