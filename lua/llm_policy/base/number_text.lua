-- Doubles to decimal text, exactly and by the core's own arithmetic (spec 1.4).
-- C's printf is not asked: its digits and its decimal point differ between runtimes.

local bignum = require("llm_policy.base.bignum")
local binary = require("llm_policy.base.binary")
local number_reader = require("llm_policy.base.number_reader")

local byte, find, match, rep, sub = string.byte, string.find, string.match, string.rep, string.sub
local decompose = binary.decompose
local parse = number_reader.parse
local from_double, scale = bignum.from_double, bignum.scale

local SIGNIFICANT = 17
local BRIEF = 15
local LIMB_DIGITS = 7
local ZERO, FIVE = byte("05", 1, 2)

local HALF_EXACT = 4503599627370496 + 0.0
local EXACT = 2 * HALF_EXACT

-- "0".."99" and "00".."99".
local PLAIN, PADDED = {}, {}
do
  local figures = "0123456789"
  for i = 0, 9 do
    for j = 0, 9 do
      local high, low = sub(figures, i + 1, i + 1), sub(figures, j + 1, j + 1)
      PADDED[i * 10 + j] = high .. low
      PLAIN[i * 10 + j] = i == 0 and low or high .. low
    end
  end
end

local number_text = {}

-- An integral 0 <= x <= 2^53 in plain digits. Adding and taking away 2^52 rounds to an integer.
local function whole_text(x)
  local text = ""
  while x >= 100 do
    local quotient = x / 100 + HALF_EXACT - HALF_EXACT
    local rest = x - quotient * 100
    if rest < 0 then
      quotient, rest = quotient - 1, rest + 100
    end
    text = PADDED[rest] .. text
    x = quotient
  end
  return PLAIN[x] .. text
end

-- x > 0 as exactly limbs / 10^shift.
local function expand(x)
  local m, exponent = decompose(x)
  while exponent < 0 and m % 2 == 0 do
    m, exponent = m / 2, exponent + 1
  end
  local limbs = from_double(m)
  if exponent >= 0 then
    scale(limbs, 2, exponent)
    return limbs, 0
  end
  -- m / 2^k = m * 5^k / 10^k
  scale(limbs, 5, -exponent)
  return limbs, -exponent
end

-- The leading digits of a big integer, at least 22 if it has them, then its length in digits,
-- and whether anything but zeros was left out.
local function leading_digits(limbs)
  local count = #limbs
  local text = whole_text(limbs[count])
  local length = #text + LIMB_DIGITS * (count - 1)
  local last = count > 4 and count - 3 or 1
  for i = count - 1, last, -1 do
    local limb = whole_text(limbs[i])
    text = text .. rep("0", LIMB_DIGITS - #limb) .. limb
  end
  for i = 1, last - 1 do
    if limbs[i] > 0 then
      return text, length, true
    end
  end
  return text, length, false
end

-- The digits plus one; whether that made a digit more.
local function increment(digits)
  local head = match(digits, "^.*[0-8]")
  if not head then
    return "1" .. rep("0", #digits), true
  end
  local last = byte(head, -1) - ZERO
  return sub(head, 1, -2) .. PLAIN[last + 1] .. rep("0", #digits - #head), false
end

-- x > 0 rounded half even to some digits, without trailing zeros; x = 0.digits * 10^point.
local function significant_digits(x, places)
  local limbs, shift = expand(x)
  local digits, length, has_rest = leading_digits(limbs)
  local point = length - shift
  if #digits > places then
    local kept, next_digit = byte(digits, places, places + 1)
    local above_half = has_rest or find(digits, "[1-9]", places + 2)
    digits = sub(digits, 1, places)
    if next_digit > FIVE or (next_digit == FIVE and (above_half or kept % 2 == 1)) then
      local has_grown
      digits, has_grown = increment(digits)
      point = has_grown and point + 1 or point
    end
  end
  return match(digits, "^.*[1-9]"), point
end

local function scientific(digits, exponent)
  local sign = exponent < 0 and "-" or "+"
  local size = exponent < 0 and -exponent or exponent
  local fraction = #digits > 1 and "." .. sub(digits, 2) or ""
  return sub(digits, 1, 1) .. fraction .. "e" .. sign .. (PADDED[size] or whole_text(size))
end

-- C's %.<places>g for x > 0.
local function general(x, places)
  local digits, point = significant_digits(x, places)
  if point < -3 or point > places then
    return scientific(digits, point - 1)
  elseif point <= 0 then
    return "0." .. rep("0", -point) .. digits
  elseif #digits <= point then
    return digits .. rep("0", point - #digits)
  end
  return sub(digits, 1, point) .. "." .. sub(digits, point + 1)
end

--- A finite number's canonical text (spec 1.4): integral up to 2^53 in plain digits, else as C's `%.17g`.
---@param x number
---@return string
function number_text.format(x)
  x = x + 0.0
  local sign = ""
  if x < 0 then
    sign, x = "-", -x
  end
  if x <= EXACT and x % 1 == 0 then
    return sign .. whole_text(x)
  end
  return sign .. general(x, SIGNIFICANT)
end

--- A finite number as people write it: as few of 15, 16 or 17 digits as read back to it.
---@param x number
---@return string
function number_text.brief(x)
  x = x + 0.0
  local size = x < 0 and -x or x
  for places = BRIEF, SIGNIFICANT do
    local text = size > 0 and general(size, places) or "0"
    if parse(text) == size then
      return x < 0 and "-" .. text or text
    end
  end
  return number_text.format(x)
end

return number_text
