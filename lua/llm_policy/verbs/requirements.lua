-- Requirements: what a request demands of a candidate, as one predicate (spec 1.6, `meets_req`).

local numbers = require("llm_policy.base.numbers")
local observation = require("llm_policy.verbs.observation")
local predicates = require("llm_policy.verbs.predicate")
local vocabularies = require("llm_policy.language.vocabulary")

local at, column = vocabularies.at, observation.column
local all, compare, flag, same = predicates.all, predicates.compare, predicates.flag, predicates.same
local is_finite, next, type = numbers.is_finite, next, type

--- Something is given: not nothing, not false, not an empty list.
local function is_given(value)
  return value ~= nil and value ~= false and not (type(value) == "table" and next(value) == nil)
end

local function wants_json(request)
  local kind = at(at(request, "response_format"), "type")
  return kind == "json_object" or kind == "json_schema"
end

local function has_need(requirements, name)
  local needs = at(requirements, "needs")
  if type(needs) ~= "table" then
    return false
  end
  for i = 1, #needs do
    if needs[i] == name then
      return true
    end
  end
  return false
end

--- A need: named in the requirements, or derived from the request's shape.
local function need(name, is_derived)
  local pred = flag(observation.support(name), "missing_capability:" .. name)
  return function(request, requirements)
    if has_need(requirements, name) or is_derived(request) then
      return pred
    end
  end
end

local function at_least(key, field)
  return function(_, requirements, vocabulary)
    local least = at(requirements, key)
    return is_finite(least) and compare(vocabulary.fields[field], "ge", least + 0.0, key) or nil
  end
end

local function equal(key, aspect)
  return function(_, requirements)
    local wanted = at(requirements, key)
    return type(wanted) == "string" and same(aspect, wanted, key) or nil
  end
end

local FIELDS = vocabularies.CORE_FIELDS

local TEE = flag(FIELDS.has_tee, "tee_required")

local function holds_private(_, view, i)
  if column(view, FIELDS.no_log)[i] or column(view, FIELDS.has_tee)[i] then
    return true
  end
  return false, "no_log"
end

local PRIVACY = { tee_required = TEE, no_log = predicates.asked(holds_private, {}) }

-- In the order in which a failure is reported: each row makes the predicate of one requirement, or
-- nothing where the request does not have it.
local REQUIREMENTS = {
  need("tools", function(request)
    return is_given(at(request, "tools"))
  end),
  need("vision", function(request)
    return is_given(at(request, "images"))
  end),
  need("json_mode", wants_json),
  need("seed", function()
    return false
  end),
  at_least("min_context", "context"),
  equal("model_family", observation.FAMILY),
  equal("tier", observation.TIER),
  function(_, requirements)
    return PRIVACY[at(requirements, "privacy")]
  end,
  at_least("min_tok_s", "tok_s"),
}

--- The request's requirements as one predicate, made once per view.
local function demanded(view, vocabulary)
  if not view.demanded then
    local request, preds = at(view.ctx, "request"), {}
    local requirements = at(request, "requirements")
    for j = 1, #REQUIREMENTS do
      preds[#preds + 1] = REQUIREMENTS[j](request, requirements, vocabulary)
    end
    view.demanded = all(preds)
  end
  return view.demanded
end

return { demanded = demanded }
