-- Claims about numbers: bounds, exact helpers, and their decimal text.

local numbers = require("llm_policy.base.numbers")

local function power_of_two(exponent)
  local power = 1.0
  for _ = 1, exponent do
    power = power * 2
  end
  for _ = 1, -exponent do
    power = power / 2
  end
  return power
end

-- JSON text -> canonical text of its double; made with Python's float() and C's %.17g.
local TEXTS = {
  ["0"] = "0",
  ["-0"] = "0",
  ["-0.0e5"] = "0",
  ["3"] = "3",
  ["3.0"] = "3",
  ["-17"] = "-17",
  ["100"] = "100",
  ["1000000"] = "1000000",
  ["1e5"] = "100000",
  ["0.1"] = "0.10000000000000001",
  ["0.5"] = "0.5",
  ["-2.5"] = "-2.5",
  ["0.30000000000000004"] = "0.30000000000000004",
  ["123456.789"] = "123456.789",
  ["0.0001"] = "0.0001",
  ["1e-5"] = "1.0000000000000001e-05",
  ["1E+2"] = "100",
  ["9007199254740991"] = "9007199254740991",
  ["9007199254740992"] = "9007199254740992",
  ["9007199254740993"] = "9007199254740992",
  ["9007199254740993.0000000000000000000000000000000001"] = "9007199254740994",
  ["9007199254740995"] = "9007199254740996",
  ["36028797018963968"] = "36028797018963968",
  ["99999999999999999"] = "1e+17",
  ["1e17"] = "1e+17",
  ["123456789012345680"] = "1.2345678901234568e+17",
  ["1e21"] = "1e+21",
  ["1e22"] = "1e+22",
  ["1e23"] = "9.9999999999999992e+22",
  ["8.5e+99"] = "8.4999999999999998e+99",
  ["1e100"] = "1e+100",
  -- Digits that end in a 5 at the 18th place: rounded to even.
  ["281474976710656.625"] = "281474976710656.62",
  ["281474976710656.875"] = "281474976710656.88",
  ["0.99999999999999994"] = "0.99999999999999989",
  ["1.7976931348623157e308"] = "1.7976931348623157e+308",
  ["1.7976931348623158e308"] = "1.7976931348623157e+308",
  ["2.2250738585072014e-308"] = "2.2250738585072014e-308",
  ["2.2250738585072011e-308"] = "2.2250738585072009e-308",
  ["5e-324"] = "4.9406564584124654e-324",
  ["2.4703282292062328e-324"] = "4.9406564584124654e-324",
  ["2.4703282292062327e-324"] = "0",
  ["1e-999999999999"] = "0",
  ["0e999999999999"] = "0",
}

local REFUSED = {
  "",
  "-",
  "+1",
  "01",
  "-01",
  "1.",
  ".5",
  "1e",
  "1e+",
  "0x10",
  " 1",
  "1 ",
  "1\n",
  "1,5",
  "1.5.5",
  "nan",
  "inf",
  "1e309",
  "-1e309",
  "1.7976931348623159e308",
  "1e999999999999",
  string.rep("1", 5000),
}

local function check_text(check)
  for text, expected in pairs(TEXTS) do
    local value = numbers.parse(text)
    local seen = value and numbers.format(value)
    check("the number " .. text .. " is " .. expected, seen == expected, seen)
    check("it reads back as itself", numbers.parse(expected) == value, text)
  end
  for i = 1, #REFUSED do
    check("no number: `" .. string.sub(REFUSED[i], 1, 30) .. "`", numbers.parse(REFUSED[i]) == nil)
  end
  check("only text is read", numbers.parse(5) == nil and numbers.parse(nil) == nil)
  local long = "0." .. string.rep("0", 1500) .. string.rep("1", 1500) .. "e1501"
  check("a long text is read to its end", numbers.parse(long) == numbers.parse("1.1111111111111111111"))
  for exponent = -1074, 1023 do
    local power = power_of_two(exponent)
    local text = numbers.format(power)
    check("a power of two reads back as itself: " .. text, numbers.parse(text) == power)
  end
end

local function check_bounds(check)
  local bound, times, t, max = numbers.bound, numbers.times, numbers.T, numbers.MAX
  local tiny = power_of_two(-500)
  check("T is 2^500", t == power_of_two(500))
  check("MAX is the largest double", max == numbers.parse("1.7976931348623157e308"))
  check("bound keeps what is within", bound(1.5) == 1.5 and bound(-t) == -t and bound(tiny) == tiny)
  check("bound cuts what is beyond", bound(max) == t and bound(-max) == -t and bound(t * 2) == t)
  check("bound drops what is tiny", bound(tiny / 2) == 0 and bound(-tiny / 2) == 0)
  check("bound drops negative zero", numbers.format(1 + 1 / (bound(-tiny / 2) + t)) == "1")
  if numbers.HIGH then
    check("absent-high is above every number", numbers.HIGH > max)
    check("bound takes infinities", bound(numbers.HIGH) == t and bound(-numbers.HIGH) == -t)
    check("a bounded zero is positive", 1 / bound(-tiny / 2) == numbers.HIGH)
    check("a carried zero is positive", 1 / numbers.carrier(-1 / numbers.HIGH) == numbers.HIGH)
  end
  check("times multiplies", times(2.0, 3.5) == 7 and times(-2.0, t) == -t and times(0.0, t) == 0)
  check("times overflows nowhere", times(max, t) == t and times(-max, t) == -t and times(max, -t) == -t)
  check("times keeps what is within", times(t * 4, tiny) == 4 and times(max, 0.0) == 0)
  check("times rounds once", times(max, power_of_two(-600)) == bound(max * power_of_two(-600)))
end

local function check_finite(check)
  local is_finite = numbers.is_finite
  check("numbers are finite", is_finite(0) and is_finite(-1.5) and is_finite(numbers.MAX))
  check("other values are not", not (is_finite("1") or is_finite(nil) or is_finite({}) or is_finite(true)))
  if numbers.HIGH then
    local nan = numbers.HIGH - numbers.HIGH
    check("infinities are not", not is_finite(numbers.HIGH) and not is_finite(-numbers.HIGH))
    check("not-a-number is not", not is_finite(nan))
  end
end

local function check_whole(check)
  local floor, big = numbers.floor, power_of_two(60)
  check("floor goes down", floor(2.5) == 2 and floor(-2.5) == -3 and floor(-0.25) == -1 and floor(0.75) == 0)
  check("floor keeps integers", floor(7) == 7 and floor(-7.0) == -7 and floor(big) == big and floor(-big) == -big)
  local half = power_of_two(51) + 0.5
  check("floor is exact to the last half", floor(half) == half - 0.5 and floor(-half) == -half - 0.5)
  check("floor reaches the largest", floor(numbers.MAX) == numbers.MAX)
  for _, x in ipairs({ 0, 3.0, -4.0, 2.5, -0.5, power_of_two(31), power_of_two(53), power_of_two(54), numbers.MAX }) do
    check("integral keeps the value", numbers.integral(x) == x, x)
  end
  if math.type then
    check("3.0 leaves as an integer", math.type(numbers.integral(3.0)) == "integer" or math.type(3) ~= "integer")
    check("2.5 does not", math.type(numbers.integral(2.5)) == "float")
  end
end

return function(check)
  check_text(check)
  check_bounds(check)
  check_finite(check)
  check_whole(check)
end
