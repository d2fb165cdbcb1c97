-- Admission answers whatever Lua can hold: cycles, holes, metatables, functions.

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
  check("a cyclic term ends in too_deep", code_of(cyclic) == "too_deep")

  local wide = { "and" }
  wide[2], wide[3] = wide, wide
  check("a term that holds itself twice ends soon", code_of(wide) == "too_deep")

  local holed = { "and", { "top" } }
  holed[4] = { "bot" }
  check("a hole is refused", code_of(holed) == "not_a_term")
  check("a key beside the sequence is refused", code_of({ "top", n = 1 }) == "not_a_term")
  check("a fractional key is refused", code_of({ "top", [1.5] = true }) == "not_a_term")
  check("a key 0 is refused", code_of({ [0] = "x", "top" }) == "not_a_term")

  local junk = { true, false, 7, "top", next, {} }
  for i = 1, #junk do
    check("junk is no term", code_of(junk[i]) == "not_a_term")
    check("a list of junk is answered", code_of({ junk[i] }) ~= nil)
    check("junk as a subterm is answered", code_of({ "not", junk[i] }) ~= nil)
    check("junk as a scalar is answered", code_of({ "set_param", "seed", junk[i] }) ~= nil)
    check("junk as an action is answered", code_of({ "always", junk[i] }) ~= nil)
    check("junk in an action is answered", code_of({ "always", { action = "abort", x = junk[i] } }) ~= nil)
    check("junk in a chain is answered", code_of({ "chain", { { provider = junk[i], model = "m" } } }) ~= nil)
  end
  check("nothing is no term", code_of(nil) == "not_a_term")

  local plain = trapped({ "and", trapped({ "top" }), trapped({ "is", "has_tee" }) })
  check("metatables are not looked at", code_of(plain) == "Pred")
  check("nor by the normal form", encode(normalize(plain)) == 'sigma-pol/v2:(is "has_tee")')
  local chain = trapped({ "chain", trapped({ trapped({ provider_id = "p", model = "m" }) }) })
  check("nor in parameters", code_of(chain) == "Selector")
  check("nor by the encoding", encode(chain) == 'sigma-pol/v2:(chain [{"model":"m","provider":"p"}])')

  check("a Lua function is no term", code_of({ "where", next }) == "unknown_op")
  local sort, refusal = check_term({ "cmp", "prise_in", "le", 1 })
  check("a path counts argument positions", not sort and refusal.path == "$.cmp[1]")
  check("the nearest name is offered", string.find(refusal.detail, "price_in", 1, true) ~= nil)
end
