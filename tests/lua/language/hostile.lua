-- Admission answers whatever Lua can hold: cycles, holes, metatables, functions, threads.

local face = require("llm_policy")

local check_term, normalize, encode = face.ir.term.check, face.ir.term.normalize, face.ir.term.encode

local function code_of(value)
  local sort, refusal = check_term(value)
  return sort or refusal.code
end

--- A table that raises whenever it is touched other than raw.
local function trapped(contents)
  local function trap()
    error("a metamethod ran")
  end
  return setmetatable(contents, {
    __index = trap,
    __newindex = trap,
    __len = trap,
    __pairs = trap,
    __ipairs = trap,
    __eq = trap,
    __lt = trap,
    __le = trap,
    __concat = trap,
    __call = trap,
    __tostring = trap,
    __metatable = "closed",
  })
end

return function(check)
  local cyclic = { "not" }
  cyclic[2] = cyclic
  check(code_of(cyclic) == "too_deep", "a cyclic term ends in too_deep")

  local wide = { "and" }
  wide[2], wide[3] = wide, wide
  check(code_of(wide) == "too_deep", "a term that holds itself twice ends soon")

  local holed = { "and", { "top" } }
  holed[4] = { "bot" }
  check(code_of(holed) == "not_a_term", "a hole is refused")
  check(code_of({ "top", n = 1 }) == "not_a_term", "a key beside the sequence is refused")
  check(code_of({ "top", [1.5] = true }) == "not_a_term", "a fractional key is refused")
  check(code_of({ [0] = "x", "top" }) == "not_a_term", "a key 0 is refused")

  local junk = { true, false, 7, "top", print, coroutine.create(print), {} }
  for i = 1, #junk do
    check(code_of(junk[i]) == "not_a_term", "junk is no term")
    check(code_of({ junk[i] }) ~= nil, "a list of junk is answered")
    check(code_of({ "not", junk[i] }) ~= nil, "junk as a subterm is answered")
    check(code_of({ "set_param", "seed", junk[i] }) ~= nil, "junk as a scalar is answered")
    check(code_of({ "always", junk[i] }) ~= nil, "junk as an action is answered")
    check(code_of({ "always", { action = "abort", x = junk[i] } }) ~= nil, "junk in an action is answered")
    check(code_of({ "chain", { { provider = junk[i], model = "m" } } }) ~= nil, "junk in a chain is answered")
  end
  check(code_of(nil) == "not_a_term", "nothing is no term")

  local plain = trapped({ "and", trapped({ "top" }), trapped({ "is", "has_tee" }) })
  check(code_of(plain) == "Pred", "metatables are not looked at")
  check(encode(normalize(plain)) == 'sigma-pol/v2:(is "has_tee")', "nor by the normal form")
  local chain = trapped({ "chain", trapped({ trapped({ provider_id = "p", model = "m" }) }) })
  check(code_of(chain) == "Selector", "nor in parameters")
  check(encode(chain) == 'sigma-pol/v2:(chain [{"model":"m","provider":"p"}])', "nor by the encoding")

  check(code_of({ "where", print }) == "unknown_op", "a Lua function is no term")
  local sort, refusal = check_term({ "cmp", "prise_in", "le", 1 })
  check(not sort and refusal.path == "$.cmp[1]", "a path counts argument positions")
  check(string.find(refusal.detail, "price_in", 1, true) ~= nil, "the nearest name is offered")
end
