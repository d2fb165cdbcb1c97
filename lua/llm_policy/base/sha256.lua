-- SHA-256 (FIPS 180-4) by addition, multiplication and two small tables, for want of bit operators.
--
-- A word has two forms: its value, and its spread form: two doubles, each holding 16 of the bits as
-- digits in base 4, lower half first. Up to three spread words add up without a carry, and the parity
-- of the digits of the sum is their exclusive or. The other functions follow from that one:
-- a + b + c = (a xor b xor c) + 2 * majority(a, b, c).

local byte, char, rep, sub = string.byte, string.char, string.rep, string.sub
local concat = table.concat

local WORD = 4294967296 + 0.0
local BLOCK = 64

-- Adding and taking away 1.5 * 2^52 rounds a small double to an integer. For x a multiple of 2^-16, x - BIAS
-- rounds to floor(x): BIAS is less than a half, and by less than 2^-16.
local ROUNDER = 6755399441055744 + 0.0
local BIAS = (1 - 1 / 65536) / 2

-- The fractional parts of the cube roots of the first 64 primes, in decimal digits because hexadecimal
-- ones wrap where integers have 32 bits.
-- stylua: ignore
local ROUND_CONSTANTS = {
  1116352408, 1899447441, 3049323471, 3921009573, 961987163, 1508970993, 2453635748, 2870763221,
  3624381080, 310598401, 607225278, 1426881987, 1925078388, 2162078206, 2614888103, 3248222580,
  3835390401, 4022224774, 264347078, 604807628, 770255983, 1249150122, 1555081692, 1996064986,
  2554220882, 2821834349, 2952996808, 3210313671, 3336571891, 3584528711, 113926993, 338241895,
  666307205, 773529912, 1294757372, 1396182291, 1695183700, 1986661051, 2177026350, 2456956037,
  2730485921, 2820302411, 3259730800, 3345764771, 3516065817, 3600352804, 4094571909, 275423344,
  430227734, 506948616, 659060556, 883997877, 958139571, 1322822218, 1537002063, 1747873779,
  1955562222, 2024104815, 2227730452, 2361852424, 2428436474, 2756734187, 3204031479, 3329325298,
}

-- The fractional parts of the square roots of the first 8 primes.
-- stylua: ignore
local INITIAL = {
  1779033703, 3144134277, 1013904242, 2773480762, 1359893119, 2600822924, 528734635, 1541459225,
}

-- Half the spread form of a word: that of each byte.
local SPREAD = {}
for value = 0, 255 do
  local rest, weight, spread = value, 1.0, 0.0
  for _ = 1, 8 do
    local bit = rest % 2
    spread, weight, rest = spread + bit * weight, weight * 4, (rest - bit) / 2
  end
  SPREAD[value] = spread
end

-- The parities of six digits in base 4, as six bits.
local PARITY = {}
for value = 0, 4095 do
  local rest = value % 4
  PARITY[value] = value % 2 + (value > 3 and PARITY[(value - rest) / 4] * 2 or 0.0)
end

local HEX = {}
do
  local figures = "0123456789abcdef"
  for value = 0, 255 do
    local low = value % 16
    local high = (value - low) / 16
    HEX[value] = sub(figures, high + 1, high + 1) .. sub(figures, low + 1, low + 1)
  end
end

local sha256 = {}

-- The spread form of a word.
local function spread(word)
  local high = word / 65536 - BIAS + ROUNDER - ROUNDER
  local low = word - high * 65536
  local high_byte = high / 256 - BIAS + ROUNDER - ROUNDER
  local low_byte = low / 256 - BIAS + ROUNDER - ROUNDER
  return SPREAD[low - low_byte * 256] + SPREAD[low_byte] * 65536,
    SPREAD[high - high_byte * 256] + SPREAD[high_byte] * 65536
end

-- The exclusive or of the words whose spread forms were added, as a value.
local function parity(low, high)
  local low_rest = low / 4096 - BIAS + ROUNDER - ROUNDER
  local low_top = low_rest / 4096 - BIAS + ROUNDER - ROUNDER
  local high_rest = high / 4096 - BIAS + ROUNDER - ROUNDER
  local high_top = high_rest / 4096 - BIAS + ROUNDER - ROUNDER
  return PARITY[low - low_rest * 4096]
    + PARITY[low_rest - low_top * 4096] * 64
    + PARITY[low_top] * 4096
    + (PARITY[high - high_rest * 4096] + PARITY[high_rest - high_top * 4096] * 64 + PARITY[high_top] * 4096) * 65536
end

-- Rotating a spread word right by n < 16 bits divides both halves by d = 4^n, and the remainder of each
-- comes in at the top of the other: with u = 4^16 / d and whole quotients l and h of the halves,
--   low' = l + high * u - h * WORD,  high' = h + low * u - l * WORD.
-- Digits of 0 and 1 leave less than a third, so that rounding the quotient is its floor. By n + 16 bits
-- the halves swap. Three such words are added below; no partial sum loses a bit.

-- The exclusive or of a word rotated by n1, n2 and n3 + 16 bits.
local function rotations(low, high, d1, d2, d3, u12, u3)
  local straight = low / d1 + ROUNDER - ROUNDER + (low / d2 + ROUNDER - ROUNDER) + (high / d3 + ROUNDER - ROUNDER)
  local crossed = high / d1 + ROUNDER - ROUNDER + (high / d2 + ROUNDER - ROUNDER) + (low / d3 + ROUNDER - ROUNDER)
  return parity(high * u12 + low * u3 - crossed * WORD + straight, low * u12 + high * u3 - straight * WORD + crossed)
end

-- The schedule's sigma 0: rotations by 7 and 18, and a shift by 3 bits.
local function sigma0(low, high)
  local l7 = low / 16384 + ROUNDER - ROUNDER
  local h7 = high / 16384 + ROUNDER - ROUNDER
  local l2 = low / 16 + ROUNDER - ROUNDER
  local h2 = high / 16 + ROUNDER - ROUNDER
  local l3 = low / 64 + ROUNDER - ROUNDER
  local h3 = high / 64 + ROUNDER - ROUNDER
  return parity(
    high * (262144 + 67108864) + low * 268435456 - (h7 + h3 + l2) * WORD + (l7 + l3 + h2),
    low * 262144 + high * 268435456 - (l7 + h2) * WORD + (h7 + h3 + l2)
  )
end

-- The schedule's sigma 1: rotations by 17 and 19, and a shift by 10 bits.
local function sigma1(low, high)
  local l1 = low / 4 + ROUNDER - ROUNDER
  local h1 = high / 4 + ROUNDER - ROUNDER
  local l3 = low / 64 + ROUNDER - ROUNDER
  local h3 = high / 64 + ROUNDER - ROUNDER
  local l10 = low / 1048576 + ROUNDER - ROUNDER
  local h10 = high / 1048576 + ROUNDER - ROUNDER
  return parity(
    low * (1073741824 + 67108864) + high * 4096 - (l1 + l3 + h10) * WORD + (h1 + h3 + l10),
    high * (1073741824 + 67108864) - (h1 + h3) * WORD + (l1 + l3 + h10)
  )
end

-- Fills the 64 words of the block's schedule; `lows` and `highs` are their spread forms.
local function schedule(data, start, words, lows, highs)
  for t = 1, 16 do
    local at = start + 4 * (t - 1)
    local b1, b2, b3, b4 = byte(data, at, at + 3)
    words[t] = ((b1 * 256.0 + b2) * 256 + b3) * 256 + b4
    lows[t], highs[t] = spread(words[t])
  end
  for t = 17, 64 do
    local sum = sigma1(lows[t - 2], highs[t - 2]) + words[t - 7] + sigma0(lows[t - 15], highs[t - 15])
    local word = (sum + words[t - 16]) % WORD
    words[t] = word
    lows[t], highs[t] = spread(word)
  end
end

-- Adds the block's 64 rounds to the state.
local function compress(state, words)
  local a, b, c, d, e, f, g, h = state[1], state[2], state[3], state[4], state[5], state[6], state[7], state[8]
  local a_low, a_high = spread(a)
  local b_low, b_high = spread(b)
  local c_low, c_high = spread(c)
  local e_low, e_high = spread(e)
  local f_low, f_high = spread(f)
  local g_low, g_high = spread(g)
  for t = 1, 64 do
    local choice = (f + g + parity(e_low + g_low, e_high + g_high) - parity(e_low + f_low, e_high + f_high)) / 2
    local majority = (a + b + c - parity(a_low + b_low + c_low, a_high + b_high + c_high)) / 2
    -- Rotations by 6, 11 and 25, and by 2, 13 and 22 bits.
    local first = h
      + rotations(e_low, e_high, 4096, 4194304, 262144, 1048576 + 1024, 16384)
      + choice
      + ROUND_CONSTANTS[t]
      + words[t]
    local second = rotations(a_low, a_high, 16, 67108864, 4096, 268435456 + 64, 1048576) + majority
    h, g, g_low, g_high, f, f_low, f_high = g, f, f_low, f_high, e, e_low, e_high
    e = (d + first) % WORD
    e_low, e_high = spread(e)
    d, c, c_low, c_high, b, b_low, b_high = c, b, b_low, b_high, a, a_low, a_high
    a = (first + second) % WORD
    a_low, a_high = spread(a)
  end
  local last = { a, b, c, d, e, f, g, h }
  for i = 1, 8 do
    state[i] = (state[i] + last[i]) % WORD
  end
end

-- The number in big-endian bytes as hexadecimal digits.
local function hex_word(word)
  local text = ""
  for _ = 1, 4 do
    local low = word % 256
    text = HEX[low] .. text
    word = (word - low) / 256
  end
  return text
end

-- What follows the message to make whole blocks: a 1 bit, zeros, the length in bits.
local function padding(length)
  local zeros = (BLOCK - (length + 9) % BLOCK) % BLOCK
  local bits, tail = length * 8.0, ""
  for _ = 1, 8 do
    local low = bits % 256
    tail = char(low) .. tail
    bits = (bits - low) / 256
  end
  return char(128) .. rep("\0", zeros) .. tail
end

--- The SHA-256 of a string's bytes, as 64 lower-case hexadecimal digits.
---@param message string
---@return string
function sha256.hex(message)
  local data = message .. padding(#message)
  local state = {}
  for i = 1, 8 do
    state[i] = INITIAL[i] + 0.0
  end
  local words, lows, highs = {}, {}, {}
  for start = 1, #data, BLOCK do
    schedule(data, start, words, lows, highs)
    compress(state, words)
  end
  for i = 1, 8 do
    state[i] = hex_word(state[i])
  end
  return concat(state)
end

return sha256
