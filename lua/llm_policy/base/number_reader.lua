-- Decimal text to the nearest double, exactly and by the core's own arithmetic (spec 1.4).
-- C's strtod is not asked: its rounding, its grammar and its decimal point differ between runtimes.

local bignum = require("llm_policy.base.bignum")
local binary = require("llm_policy.base.binary")

local byte, match, sub = string.byte, string.match, string.sub
local type = type
local compose = binary.compose
local divide, from_digits, scale, shrink, to_double =
  bignum.divide, bignum.from_digits, bignum.scale, bignum.shrink, bignum.to_double

local ZERO = byte("0")
local EXACT = 9007199254740992 + 0.0
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

local TENS = { [0] = 1.0 }
for i = 1, EXACT_TENS do
  TENS[i] = TENS[i - 1] * 10
end

local number_reader = {}

-- Takes big integer * 2^exponent to the nearest double; nothing when that overflows.
-- `has_rest` tells of a remainder below the integer, which must then be at least 2^53.
local function round_to_double(limbs, exponent, has_rest)
  while #limbs > 3 do
    -- More than three limbs are above 2^69, more than four above 2^93: 2^53 stay.
    local bits = #limbs > 4 and 29 or 16
    has_rest = shrink(limbs, 2, bits) or has_rest
    exponent = exponent + bits
  end
  local half = 0
  while exponent < LOWEST_EXPONENT or to_double(limbs) >= EXACT do
    has_rest = has_rest or half > 0
    half = divide(limbs, 2)
    exponent = exponent + 1
  end
  local significand = to_double(limbs)
  if half > 0 and (has_rest or significand % 2 == 1) then
    significand = significand + 1
  end
  if exponent > HIGHEST_EXPONENT or (exponent == HIGHEST_EXPONENT and significand >= EXACT) then
    return nil
  end
  return compose(significand, exponent)
end

-- The double nearest to digits / 10^tens, by a quotient of at least 2^54.
local function round_quotient(digits, tens)
  -- 7/3 is above log2(5), and each digit but the first brings more than three bits.
  local shift, enough = 0, tens * 7 / 3 + 56 - 3 * (#digits - 1)
  while shift < enough do
    shift = shift + 29
  end
  local limbs = from_digits(digits)
  scale(limbs, 2, shift)
  local has_rest = shrink(limbs, 5, tens)
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
  scale(limbs, 5, tens)
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
function number_reader.parse(text)
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

return number_reader
