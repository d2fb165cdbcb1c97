-- Finite doubles as an integer times a power of two, and back; every step is exact.

local HALF_EXACT = 4503599627370496 + 0.0
local EXACT = 2 * HALF_EXACT

-- Exponents 512, 512, 256, .. 1 and their powers of two: these steps cross the whole range of doubles.
local STEPS, POWERS = {}, {}
do
  local step, power = 1, 2.0
  for i = 11, 2, -1 do
    STEPS[i], POWERS[i] = step, power
    if i > 2 then
      step, power = 2 * step, power * power
    end
  end
  STEPS[1], POWERS[1] = step, power
end

local binary = {}

--- Splits x > 0 into an integral double in [2^52, 2^53) and an exponent of two.
---@param x number
---@return number significand
---@return integer exponent
function binary.decompose(x)
  local exponent = 0
  for i = 1, #STEPS do
    local power = POWERS[i]
    if x >= HALF_EXACT * power then
      x, exponent = x / power, exponent + STEPS[i]
    elseif x < EXACT / power then
      x, exponent = x * power, exponent - STEPS[i]
    end
  end
  return x, exponent
end

--- significand * 2^exponent for an integral significand up to 2^53, when that is a double.
---@param significand number
---@param exponent integer
---@return number
function binary.compose(significand, exponent)
  for i = 1, #STEPS do
    if exponent >= STEPS[i] then
      significand, exponent = significand * POWERS[i], exponent - STEPS[i]
    elseif exponent <= -STEPS[i] then
      significand, exponent = significand / POWERS[i], exponent + STEPS[i]
    end
  end
  return significand
end

return binary
