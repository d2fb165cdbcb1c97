-- Doubles to decimal text and back, exactly, by the core's own arithmetic (spec 1.4).
-- C's printf and strtod are not asked: their digits, range and decimal point differ between runtimes.

local bignum = require("llm_policy.base.bignum")

local byte, find, match, rep, sub = string.byte, string.find, string.match, string.rep, string.sub
local type = type
local divide, from_digits, from_double = bignum.divide, bignum.from_digits, bignum.from_double
local scale, to_double = bignum.scale, bignum.to_double

local SIGNIFICANT = 17
local LIMB_DIGITS = 7
local ZERO, FIVE = byte("05", 1, 2)

local HALF_EXACT = 4503599627370496 + 0.0
local EXACT = 2 * HALF_EXACT
-- A finite double is an integer up to 2^53 times 2^e with e in this range.
local LOWEST_EXPONENT, HIGHEST_EXPONENT = -1074, 971

-- Texts longer than this are refused; no double has more than 1,100 digits.
local LONGEST_TEXT = 4096
-- Halfway between two doubles takes at most 767 digits; beyond these only "not zero" matters.
local LONGEST_SIGNIFICAND = 800
-- 10^309 overflows, and what is below 10^-324 is nearer to 0 than to any other double.
local HIGHEST_MAGNITUDE, LOWEST_MAGNITUDE = 309, -323
-- A written exponent with more digits than this decides by its sign alone.
local LONGEST_EXPONENT = 6

-- With at most this many digits and 10^22 both operands of one operation are exact, so it rounds once.
local EXACT_DIGITS, EXACT_TENS = 15, 22

-- The largest powers that bignum takes as one factor: 5^12 and 2^29.
local FIVES, TWOS = 12, 29
local FIVES_POWER, TWOS_POWER = 244140625 + 0.0, 536870912 + 0.0

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

local TENS = { [0] = 1.0 }
for i = 1, EXACT_TENS do
  TENS[i] = TENS[i - 1] * 10
end

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

local decimal = {}

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

-- x > 0 as an integer in [2^52, 2^53) and an exponent of two; every step is exact.
local function decompose(x)
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

-- The inverse of decompose: integral 0 <= m <= 2^53 times 2^exponent, when that is a double.
local function compose(m, exponent)
  for i = 1, #STEPS do
    if exponent >= STEPS[i] then
      m, exponent = m * POWERS[i], exponent - STEPS[i]
    elseif exponent <= -STEPS[i] then
      m, exponent = m / POWERS[i], exponent + STEPS[i]
    end
  end
  return m
end

-- x > 0 as exactly limbs / 10^shift.
local function expand(x)
  local m, exponent = decompose(x)
  while exponent < 0 and m % 2 == 0 do
    m, exponent = m / 2, exponent + 1
  end
  local limbs = from_double(m)
  if exponent >= 0 then
    scale(limbs, 2, exponent, TWOS)
    return limbs, 0
  end
  -- m / 2^k = m * 5^k / 10^k
  scale(limbs, 5, -exponent, FIVES)
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

-- x > 0 rounded half even to 17 digits, without trailing zeros; x = 0.digits * 10^point.
local function significant_digits(x)
  local limbs, shift = expand(x)
  local digits, length, has_rest = leading_digits(limbs)
  local point = length - shift
  if #digits > SIGNIFICANT then
    local kept, next_digit = byte(digits, SIGNIFICANT, SIGNIFICANT + 1)
    local above_half = has_rest or find(digits, "[1-9]", SIGNIFICANT + 2)
    digits = sub(digits, 1, SIGNIFICANT)
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

-- C's %.17g for x > 0.
local function general(x)
  local digits, point = significant_digits(x)
  if point < -3 or point > SIGNIFICANT then
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
function decimal.format(x)
  x = x + 0.0
  local sign = ""
  if x < 0 then
    sign, x = "-", -x
  end
  if x <= EXACT and x % 1 == 0 then
    return sign .. whole_text(x)
  end
  return sign .. general(x)
end

-- Takes big integer * 2^exponent down to the nearest double; nothing when that overflows.
-- `has_rest` tells of a remainder below the integer, which must then be at least 2^53.
local function round_to_double(limbs, exponent, has_rest)
  while #limbs > 3 do
    -- More than three limbs are above 2^69, more than four above 2^93: 2^53 stay.
    local bits = #limbs > 4 and TWOS or 16
    has_rest = divide(limbs, bits == TWOS and TWOS_POWER or 65536) > 0 or has_rest
    exponent = exponent + bits
  end
  local half = 0
  while exponent < LOWEST_EXPONENT or to_double(limbs) >= EXACT do
    has_rest = has_rest or half > 0
    half = divide(limbs, 2)
    exponent = exponent + 1
  end
  local m = to_double(limbs)
  if half > 0 and (has_rest or m % 2 == 1) then
    m = m + 1
  end
  if exponent > HIGHEST_EXPONENT or (exponent == HIGHEST_EXPONENT and m >= EXACT) then
    return nil
  end
  return compose(m, exponent)
end

-- digits / 10^tens as big integer * 2^exponent, shifted left so that 2^54 and more remain.
local function round_quotient(digits, tens)
  local limbs, has_rest = from_digits(digits), false
  -- 7/3 is above log2(5), and each digit but the first brings more than three bits.
  local bits = tens * 7 / 3 + 56 - 3 * (#digits - 1)
  local shift = 0
  while shift < bits do
    shift = shift + TWOS
  end
  scale(limbs, 2, shift, TWOS)
  local left = tens
  while left > 0 do
    local step = left < FIVES and left or FIVES
    local divisor = FIVES_POWER
    for _ = step, FIVES - 1 do
      divisor = divisor / 5
    end
    has_rest = divide(limbs, divisor) > 0 or has_rest
    left = left - step
  end
  return round_to_double(limbs, -shift - tens, has_rest)
end

-- The double nearest to digits * 10^tens; the digits start and end with other than zero.
local function nearest(digits, tens)
  local magnitude = #digits + tens
  if magnitude > HIGHEST_MAGNITUDE then
    return nil
  elseif magnitude < LOWEST_MAGNITUDE then
    return 0.0
  end
  if #digits > LONGEST_SIGNIFICAND then
    tens = tens + #digits - LONGEST_SIGNIFICAND - 1
    digits = sub(digits, 1, LONGEST_SIGNIFICAND) .. "1"
  end
  if tens < 0 then
    return round_quotient(digits, -tens)
  end
  local limbs = from_digits(digits)
  scale(limbs, 5, tens, FIVES)
  return round_to_double(limbs, tens, false)
end

-- At most 15 digits as a double.
local function small_whole(digits)
  local value = 0.0
  for i = 1, #digits do
    value = value * 10 + (byte(digits, i) - ZERO)
  end
  return value
end

-- An exponent's digits as a number, or a stand-in beyond every text's reach.
local function exponent_of(sign, digits)
  digits = match(digits, "^0*(.*)$")
  local size = #digits > LONGEST_EXPONENT and 1000000 or small_whole(digits)
  return sign == "-" and -size or size
end

-- The pieces of a JSON number: sign, whole digits, fraction digits, exponent; nothing for other text.
local function read(text)
  local sign, whole, rest = match(text, "^(%-?)([0-9]+)(.*)$")
  if not whole or (#whole > 1 and byte(whole) == ZERO) then
    return nil
  elseif rest == "" then
    return sign, whole, "", 0
  end
  local fraction = match(rest, "^%.([0-9]+)") or ""
  if fraction ~= "" then
    rest = sub(rest, #fraction + 2)
  end
  if rest == "" then
    return sign, whole, fraction, 0
  end
  local exponent_sign, exponent_digits = match(rest, "^[eE]([+-]?)([0-9]+)$")
  if not exponent_digits then
    return nil
  end
  return sign, whole, fraction, exponent_of(exponent_sign, exponent_digits)
end

local function magnitude_of(whole, fraction, exponent)
  local digits = match(whole .. fraction, "^0*(.*)$")
  local stripped = match(digits, "^.*[1-9]")
  if not stripped then
    return 0.0
  end
  local tens = exponent - #fraction + #digits - #stripped
  if #stripped <= EXACT_DIGITS and tens <= EXACT_TENS and tens >= -EXACT_TENS then
    local value = small_whole(stripped)
    return tens < 0 and value / TENS[-tens] or value * TENS[tens]
  end
  return nearest(stripped, tens)
end

--- The double nearest to a JSON number's text, ties to even; zero is never negative.
--- Nothing for any other text, for one above 4096 bytes, and for an overflow.
---@param text any
---@return number?
function decimal.parse(text)
  if type(text) ~= "string" or #text > LONGEST_TEXT then
    return nil
  end
  local sign, whole, fraction, exponent = read(text)
  if not sign then
    return nil
  end
  local value = magnitude_of(whole, fraction, exponent)
  if value and sign == "-" and value > 0 then
    return -value
  end
  return value
end

return decimal
