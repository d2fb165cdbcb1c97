-- Claims about random streams; expected draws made by the oracle's arithmetic in Python.

local numbers = require("llm_policy.base.numbers")
local random = require("llm_policy.base.random")

local STREAMS = {
  { seed = 0, draws = { "0.46723276258783075", "0.78104081367190969", "0.95295538378551392" } },
  { seed = 1, draws = { "0.53276723741216925", "0.21895918632809036", "0.047044616214486128" } },
  { seed = 42, draws = { "0.37622397131110724", "0.19628582577979464", "0.97587388100841732" } },
  { seed = -7, draws = { "0.27062933811481543", "0.46728569570336759", "0.67068768649859711" } },
  { seed = 2147483647, draws = { "0.46723276258783075", "0.78104081367190969", "0.95295538378551392" } },
  { seed = 9007199254740991, draws = { "0.22217957359840143", "0.17209346833270669", "0.3749222678015578" } },
  { seed = -9007199254740991, draws = { "0.77782042640159854", "0.82790653166729333", "0.6250777321984422" } },
  {
    seed = 42,
    name = "jitter:temperature",
    draws = { "0.86054957837823298", "0.2567638029608707", "0.42923636335378346" },
  },
  {
    seed = 42,
    name = "jitter:temperature#2",
    draws = { "0.50394682563093807", "0.83429837917643523", "0.052858818347034424" },
  },
  {
    seed = 0,
    name = "jitter:top_p",
    draws = { "0.35491204231740536", "0.0066952286319319296", "0.52670761687993428" },
  },
}

return function(check)
  for i = 1, #STREAMS do
    local expected = STREAMS[i]
    local draw = random.stream(expected.seed, expected.name)
    for k = 1, #expected.draws do
      local seen = numbers.format(draw())
      check("draw " .. k .. " of stream " .. i .. " is " .. expected.draws[k], seen == expected.draws[k], seen)
    end
  end
  check("seeds are integers", random.is_seed(0) and random.is_seed(-5) and random.is_seed(3.0))
  check("other values are not", not (random.is_seed(1.5) or random.is_seed("1") or random.is_seed(nil)))
  local limit = numbers.parse("9007199254740992")
  check("seeds are below 2^53", random.is_seed(limit - 1) and random.is_seed(1 - limit))
  check("2^53 is none", not random.is_seed(limit) and not random.is_seed(-limit))
  check("reduction is mathematical", random.reduce(-1) == 2147483646 and random.reduce(2147483647) == 0)
  check("a negative multiple is 0", random.reduce(-2147483647) == 0)
end
