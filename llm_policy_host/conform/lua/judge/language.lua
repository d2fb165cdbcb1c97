-- Cases of the language: terms, what each sort of them means, flows.

local face = require("llm_policy")
local sequence = require("llm_policy.verbs.sequence")
local signature = require("llm_policy.language.signature")

local ir = face.ir
local SORTS = { pred = "Pred", xform = "Xform", failplan = "FailPlan", policy = "Policy" }

local kinds = {}

local function refused(refusal)
  return { refusal = { code = refusal.code, path = refusal.path } }
end

--- A term of another sort than its kind asks is refused at the root, before its arguments are read.
local function mismatch(case, refusal)
  if refusal and refusal.path == "$" and (refusal.code == "not_a_term" or refusal.code == "unknown_op") then
    return refusal
  end
  if signature.by_name[case.term[1]].sort ~= SORTS[case.kind] then
    return { code = "sort_mismatch", path = "$" }
  end
  return refusal
end

--- The carrier of a case's term, or its refusal.
local function evaluated(case)
  local sort, refusal = ir.term.check(case.term, case.schema)
  refusal = mismatch(case, not sort and refusal or nil)
  if refusal then
    return nil, refusal
  end
  return assert(ir.eval_sort(case.term, { schema = case.schema }))
end

function kinds.term(case)
  local sort, refusal = ir.term.check(case.term, case.schema)
  if not sort then
    return refused(refusal)
  end
  local form = ir.term.normalize(case.term)
  return {
    sort = sort,
    normal_form = ir.term.encode(form),
    fingerprint = ir.term.fingerprint(form),
    identity = ir.term.identity(form),
  }
end

--- The normal form, and that of the normal form: {once, twice, is_admitted}.
function kinds.normal_form_twice(case)
  local sort, refusal = ir.term.check(case.term, case.schema)
  if not sort then
    return refused(refusal)
  end
  local once = ir.term.normalize(case.term)
  return {
    once = ir.term.encode(once),
    twice = ir.term.encode(ir.term.normalize(once)),
    is_admitted = ir.term.check(once, case.schema) == sort,
  }
end

function kinds.pred(case)
  local carrier, refusal = evaluated(case)
  if not carrier then
    return refused(refusal)
  end
  local verdicts = {}
  for i = 1, #case.cases do
    local ok, reason = carrier(case.cases[i].candidate, case.cases[i].ctx)
    verdicts[i] = { ok = ok, reason = reason }
  end
  return { verdicts = verdicts }
end

function kinds.xform(case)
  local carrier, refusal = evaluated(case)
  if not carrier then
    return refused(refusal)
  end
  local requests = {}
  for i = 1, #case.cases do
    local each = case.cases[i]
    requests[i] = carrier(each.request, each.candidate, each.ctx)
  end
  return { requests = requests }
end

function kinds.failplan(case)
  local plan, refusal = evaluated(case)
  if not plan then
    return refused(refusal)
  end
  local actions = {}
  for i = 1, #case.kinds do
    actions[i] = sequence.classify(plan, case.kinds[i])
  end
  return { actions = actions }
end

function kinds.policy(case)
  local _, refusal = ir.term.check(case.term, case.schema)
  refusal = mismatch(case, refusal)
  if refusal then
    return refused(refusal)
  end
  local plan = assert(ir.compile(case.term, { schema = case.schema })).plan(case.candidates, case.ctx)
  local ordered, rejected = {}, {}
  for i = 1, #plan.ordered do
    local candidate = plan.ordered[i].candidate
    ordered[i] = { provider = candidate.provider_id, model = candidate.model_family, score = plan.ordered[i].score }
  end
  for i = 1, #plan.rejected do
    local each = plan.rejected[i]
    rejected[i] = { provider = each.provider, model = each.model, reason = each.reason }
  end
  return { ordered = ordered, rejected = rejected }
end

function kinds.flow(case)
  local flow = face.flow
  local sort, refusal = flow.check(case.flow, case.schema)
  if not sort then
    return refused(refusal)
  end
  return {
    encoding = flow.encode(case.flow),
    fingerprint = flow.fingerprint(case.flow),
    identity = flow.identity(case.flow),
  }
end

return kinds
