-- Claims about running flows: order, assembly, what a failing node leads to.

local flows = require("llm_policy.flow.flow")

local POLICY = { "policy", { "top" }, { "zero" }, { "argmax" }, { "id" }, { "always", { action = "abort" } } }

local function llm(inputs, template, system)
  return { kind = "llm", inputs = inputs, policy = POLICY, template = template, system = system }
end

local function diamond()
  return {
    "flow",
    {
      ask = { kind = "input" },
      draft = llm({ "ask" }, nil, "draft"),
      other = llm({ "ask" }, "other: $1", "other"),
      judge = llm({ "draft", "other" }),
      answer = { kind = "output", inputs = { "judge" }, template = "<$1>" },
    },
  }
end

local function echo(node, text)
  return node.id .. "(" .. text .. ")"
end

local function check_runs(check)
  local ran = {}
  local text = flows.run(diamond(), {
    input = "hi",
    run_node = function(node, given)
      ran[#ran + 1] = node.id
      return echo(node, given)
    end,
  })
  local expected = "<judge([input 1]\ndraft(hi)\n\n[input 2]\nother(other: hi))>"
  check("texts pass through templates and sections", text == expected, text)
  check("each llm node runs once, in canonical order", table.concat(ran, " ") == "draft other judge", ran)

  local seen, fault = flows.run(diamond(), {
    input = "hi",
    run_node = function(node)
      return nil, node.id == "draft" and "timeout" or "later"
    end,
  })
  check("the first failing node ends the run", seen == nil and fault.node == "draft" and fault.error == "timeout")

  seen, fault = flows.run({ "flow", {} }, { input = "hi", run_node = echo })
  check("what is no flow does not run", seen == nil and fault.code == "arity", fault)

  text = flows.run(diamond(), {
    input = "hi",
    run_node = echo,
    assemble = function(_, texts)
      return table.concat(texts, "+")
    end,
  })
  check("an embedder may assemble otherwise", text == "judge(draft(hi)+other(hi))", text)
end

local function check_assembly(check)
  local many = {}
  for i = 1, 12 do
    many[i] = "t" .. string.rep("x", i)
  end
  local function filled(template)
    return flows.assemble({ template = template }, many)
  end
  check("a place is all its digits", filled("$12") == many[12], filled("$12"))
  check("a place without a text stays", filled("$0 $13 $99999999999999999999 $") == "$0 $13 $99999999999999999999 $")
  many[1] = "%1 $2"
  check("what is filled in is not read again", filled("$1") == "%1 $2", filled("$1"))
end

return function(check)
  check_runs(check)
  check_assembly(check)
end
