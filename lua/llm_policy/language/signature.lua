-- The signature of sigma-pol/v2: every operation of the language, one row each (spec 1.1).
--
-- Everything else about an operation is looked up from here: admission checks the arguments that
-- a row declares, normal form applies its law, the fold calls the algebra's entry of that name.
-- Append-only within v2: a new row leaves every existing encoding as it is.

--- The sorts whose arguments are terms; any other sort is a parameter.
local TERM_SORTS = {
  Pred = true,
  Scorer = true,
  Selector = true,
  Xform = true,
  FailPlan = true,
  Policy = true,
}

local AND = { kind = "ac", unit = "top", absorbing = "bot" }
local OR = { kind = "ac", unit = "bot", absorbing = "top" }
local ADD = { kind = "ac", unit = "zero" }
local SEQ = { kind = "sequence", unit = "id" }

-- operation, sort, arguments ("label Sort"; a trailing + means one or more), law, meaning
local ROWS = {
  { "top", "Pred", {}, nil, "always holds" },
  { "bot", "Pred", {}, nil, "never holds" },
  { "and", "Pred", { "child Pred+" }, AND, "every child holds" },
  { "or", "Pred", { "child Pred+" }, OR, "some child holds" },
  { "not", "Pred", { "child Pred" }, { kind = "negation" }, "the child does not hold" },
  { "meets_req", "Pred", {}, nil, "the candidate meets the contract's requirements" },
  { "scope_matches", "Pred", {}, nil, "the candidate has no scope, or the request's" },
  { "is", "Pred", { "field BoolField" }, nil, "the flag is set" },
  { "cmp", "Pred", { "field NumField", "rel Rel", "value Num" }, nil, "the field compares so" },
  { "tier_eq", "Pred", { "tier Tier" }, nil, "the candidate is of this tier" },
  { "min_tier", "Pred", { "tier Tier" }, nil, "the candidate is of this tier or a higher one" },
  { "family_eq", "Pred", { "family Family" }, nil, "the candidate is of this model family" },
  { "provider_eq", "Pred", { "provider Provider" }, nil, "the candidate is of this provider" },
  { "served_by_eq", "Pred", { "peer ServedBy" }, nil, "this peer, or direct provider, serves it" },
  { "has_cap", "Pred", { "capability Capability" }, nil, "the candidate has the capability" },
  { "zero", "Scorer", {}, nil, "0" },
  { "add", "Scorer", { "child Scorer+" }, ADD, "the sum of the children" },
  { "scale", "Scorer", { "weight Num", "child Scorer" }, { kind = "scale" }, "weight times the child" },
  {
    "gate",
    "Scorer",
    { "pred Pred", "child Scorer" },
    { kind = "gate" },
    "the child where the predicate holds, else 0",
  },
  { "neg", "Scorer", { "child Scorer" }, nil, "1 minus the child" },
  {
    "normalize",
    "Scorer",
    { "child Scorer" },
    { kind = "idempotent" },
    "the child brought into 0..1 over the survivors",
  },
  { "clamp", "Scorer", { "lo Num", "hi Num", "child Scorer" }, nil, "the child, at least lo, then at most hi" },
  { "field", "Scorer", { "field NumField" }, nil, "the observed field" },
  { "lit", "Scorer", { "value Num" }, nil, "the number" },
  { "argmax", "Selector", {}, nil, "highest score first" },
  { "ordered", "Selector", {}, nil, "the catalog's order" },
  { "sample", "Selector", { "temp Num" }, nil, "drawn by seed, higher scores likelier" },
  { "chain", "Selector", { "entries Chain" }, nil, "only the listed, in that order" },
  { "top_k", "Selector", { "k Count", "inner Selector" }, nil, "the first k of the inner order" },
  {
    "prefer",
    "Selector",
    { "pred Pred", "inner Selector" },
    nil,
    "the inner order, those that satisfy the predicate first",
  },
  { "id", "Xform", {}, nil, "the request as it is" },
  { "seq", "Xform", { "child Xform+" }, SEQ, "the children one after the other" },
  { "set_param", "Xform", { "param ParamName", "value Scalar" }, nil, "sets the parameter" },
  { "inject_seed", "Xform", { "param ParamName" }, nil, "sets the parameter to the call's seed" },
  {
    "clamp_param",
    "Xform",
    { "param ParamName", "lo Num", "hi Num" },
    nil,
    "brings the parameter to at least lo, then at most hi",
  },
  { "jitter", "Xform", { "param ParamName", "amplitude Num" }, nil, "moves the parameter by a seeded amount" },
  { "filter_text", "Xform", { "recipe Recipe" }, nil, "names text filters for the host" },
  { "filter_image", "Xform", { "recipe Recipe" }, nil, "names image filters for the host" },
  { "custom", "Xform", { "name Sym" }, nil, "the operator's transform of that name" },
  { "when", "Xform", { "pred Pred", "child Xform" }, nil, "the child where the predicate holds" },
  { "always", "FailPlan", { "action Action" }, { kind = "plan" }, "the action for every failure" },
  {
    "override",
    "FailPlan",
    { "plan FailPlan", "reason FailReason", "action Action" },
    { kind = "plan" },
    "the plan, with another action for one failure",
  },
  {
    "policy",
    "Policy",
    { "filter Pred", "scorer Scorer", "selector Selector", "mutate Xform", "failures FailPlan" },
    nil,
    "who is eligible, in what order, with what request, and what failure leads to",
  },
}

local match = string.match

--- "label Sort+" as a record of its parts.
local function read_argument(text)
  local label, sort, many = match(text, "^(%S+) (%a+)(%+?)$")
  return { label = label, sort = sort, is_term = TERM_SORTS[sort] == true, is_many = many == "+" }
end

--- One row as the record that the rest of the core reads.
local function read_row(row)
  local args = {}
  for i = 1, #row[3] do
    args[i] = read_argument(row[3][i])
  end
  local is_variadic = args[1] ~= nil and args[1].is_many
  return { op = row[1], sort = row[2], args = args, law = row[4], meaning = row[5], is_variadic = is_variadic }
end

-- A Lua function where a term stands: such a policy is local, has no identity, and admission
-- refuses it (spec 1.8).
local LOCAL_ROWS = {
  { "where", "Pred", { "fn Function" }, nil, "a function of the operator holds" },
  { "rank_with", "Selector", { "fn Function" }, nil, "as a function of the operator orders" },
  { "mutate_with", "Xform", { "fn Function" }, nil, "a function of the operator" },
}

--- Rows as records: in order, by operation, and the operations' names.
local function read_rows(rows)
  local list, by_name, names = {}, {}, {}
  for i = 1, #rows do
    list[i] = read_row(rows[i])
    by_name[rows[i][1]] = list[i]
    names[i] = rows[i][1]
  end
  return list, by_name, names
end

local operations, by_name, names = read_rows(ROWS)
local local_operations, locals = read_rows(LOCAL_ROWS)

--- The declared argument at a position (from 1) of an operation.
local function argument(operation, position)
  return operation.is_variadic and operation.args[1] or operation.args[position]
end

return {
  TAG = "sigma-pol/v2",
  operations = operations,
  by_name = by_name,
  names = names,
  local_operations = local_operations,
  locals = locals,
  argument = argument,
}
