-- Claims about flows that no conformance case can make: totality, and the normal form as a flow.

local encoding = require("llm_policy.language.encoding")
local flows = require("llm_policy.flow.flow")

local ABORT = { "always", { action = "abort" } }
local POLICY = { "policy", { "and", { "top" } }, { "zero" }, { "argmax" }, { "id" }, ABORT }

local function flow_of(nodes)
  return { "flow", nodes }
end

local function straight(policy, inputs)
  return flow_of({
    i = { kind = "input" },
    a = { kind = "llm", inputs = inputs or { "i" }, policy = policy or POLICY },
    o = { kind = "output", inputs = { "a" } },
  })
end

--- The code and path of a refusal, as one text.
local function refused(flow)
  local ok, refusal = flows.check(flow)
  return ok and "ok" or refusal.code .. " " .. refusal.path
end

return function(check)
  local ring = { "flow" }
  ring[2] = ring
  check("a flow of itself is refused", refused(ring) == "not_a_term $.nodes", refused(ring))
  local nodes = {}
  nodes.a = nodes
  check("a node of all nodes is refused", refused(flow_of(nodes)) == "not_a_term $.nodes.a", refused(flow_of(nodes)))
  local cyclic = { "not" }
  cyclic[2] = cyclic
  local seen = refused(straight(cyclic))
  check("a policy of another sort is refused before its arguments", seen == "sort_mismatch $.nodes.a.policy", seen)
  cyclic = { "policy", cyclic, { "zero" }, { "argmax" }, { "id" }, ABORT }
  seen = string.sub(refused(straight(cyclic)), 1, 30)
  check("a cyclic policy is too deep", seen == "too_deep $.nodes.a.policy.poli", seen)
  seen = refused(straight(nil, { "i", nil, "i" }))
  check("inputs with a hole are refused", seen == "not_a_term $.nodes.a.inputs", seen)
  seen = refused(straight(setmetatable({ "policy" }, { __index = POLICY })))
  check("metatables are not honoured", seen == "arity $.nodes.a.policy", seen)

  local shadowed = straight()
  shadowed[2].o = setmetatable(shadowed[2].o, { __index = { template = 5 } })
  check("a part behind a metatable is no part", flows.encode(shadowed) == flows.encode(straight()))

  local flow = straight()
  local before, form = encoding.value(flow), flows.normalize(flow)
  check("normalizing changes nothing in the flow", encoding.value(flow) == before)
  check("the normal form is a flow", refused(form) == "ok", refused(form))
  check("it encodes as the flow does", flows.encode(form) == flows.encode(flow))
  check("it is its own normal form", encoding.value(flows.normalize(form)) == encoding.value(form))
  check("its ids are canonical", form[2].n1.inputs[1] == "n0" and form[2].n2.kind == "output")
  check("its policies are in normal form", form[2].n1.policy[2][1] == "top")
end
