-- An engine for a host in another language: what crosses is scalars and text, as little as the host
-- needs. A handle stays here, as a value that the host keeps and gives back (spec 2.5, 3.1).

local encoding = require("llm_policy.language.encoding")
local explanation = require("llm_policy.engine.explanation")
local json = require("llm_policy.base.json")
local policies = require("llm_policy.engine.policies")
local runs = require("llm_policy.engine.run")
local snapshots = require("llm_policy.engine.snapshot")
local tables = require("llm_policy.base.tables")

local encode, sub = encoding.value, string.sub

--- Whether the candidates of a run are the catalog's alone.
local function is_resident(engine, snapshot)
  return snapshots.candidates(engine, snapshot) == engine.catalog.candidates
end

--- Whom a success was of, as text; one of the catalog at its own price is written once.
local function chosen_text(engine, step)
  local handle = step.state_handle
  local texts, index = engine.catalog.texts, handle.index
  local rests = not handle.snapshot.price_multipliers and is_resident(engine, handle.snapshot)
  local text = rests and texts[index] or encode(snapshots.chosen(handle.snapshot, step.candidate))
  if rests then
    texts[index] = text
  end
  return text
end

--- A result as text: a record whose first key is `chosen` where there is one.
local function result_text(engine, step)
  if not step.state_handle.is_full then
    step.result.trace.policy_term = nil -- its identity says as much
  end
  local text = encode(step.result)
  return step.candidate and '{"chosen":' .. chosen_text(engine, step) .. "," .. sub(text, 2) or text
end

--- A step as values: status, then by status
---   "call": index, params text or nothing where they are the contract's own, handle, candidate text
---           or nothing where the index is of the catalog, text of the caller's bounds or nothing
---   "wait": until_ms, nothing, handle
---   "done": whether it is ok, result text, handle
local function cross(engine, step)
  local handle = step.state_handle
  if step.status == "call" then
    local params = step.is_changed and encode(step.params) or nil
    local foreign = not is_resident(engine, handle.snapshot) and encode(step.candidate) or nil
    local bounds = step.callers_bounds and encode(step.callers_bounds) or nil
    return "call", step.index, params, handle, foreign, bounds
  elseif step.status == "wait" then
    return "wait", step.until_ms, nil, handle
  end
  return "done", step.result.ok, result_text(engine, step), handle
end

--- Whether two flat records hold the same; those of two runs mostly are one and the same table.
local function is_same(a, b)
  if a == b then
    return true
  elseif not a or not b then
    return false
  end
  local keys = tables.keys(a)
  for i = 1, #keys do
    if a[keys[i]] ~= b[keys[i]] then
      return false
    end
  end
  return #keys == #tables.keys(b)
end

--- Whether plans made in two states follow from the same; until when a provider is disabled is no part of it.
local function is_same_state(a, b)
  return a.ema == b.ema
    and is_same(a.breakers, b.breakers)
    and is_same(a.credits, b.credits)
    and is_same(a.disabled, b.disabled)
end

--- What a plan read of the engine, without moments: a provider is disabled or it is not.
local function state_text(state)
  local disabled = tables.map(state.disabled, function()
    return true
  end)
  return encode({ breakers = state.breakers, credits = state.credits, disabled = disabled, prices = state.ema })
end

--- The engine's functions for such a host. What it gives in `inputs` it never changes afterwards: offers
--- are taken up once, by their identity.
local function open(engine)
  local face, last, version = {}, nil, 0
  engine.catalog.keeps_offers = true

  function face.start(contract, now_ms, seed, inputs, is_full, is_callers_policy)
    inputs = inputs or {}
    inputs.now_ms, inputs.seed, inputs.trace = now_ms, seed, is_full and "full" or nil
    inputs.is_callers_policy = is_callers_policy
    return cross(engine, runs.start(engine, contract, inputs))
  end

  --- Nothing, and the refusal's text, for what the run does not take.
  local function crossed(step, refusal)
    if not step then
      return nil, encode(refusal)
    end
    return cross(engine, step)
  end

  local function resume(handle, event, now_ms, disabled)
    return crossed(runs.resume(engine, handle, event, { now_ms = now_ms, disabled = disabled }))
  end

  function face.succeed(handle, now_ms)
    return resume(handle, { ok = true }, now_ms)
  end

  --- `disabled` are providers that this moment passes by, as in a start's inputs; false says that it does not.
  --- `is_callers_fault` says that the failure is evidence against nobody, whatever its kind.
  function face.fail(handle, now_ms, error_kind, http_status, retry_after_ms, disabled, is_callers_fault)
    local event = {
      ok = false,
      error_kind = error_kind,
      http_status = http_status,
      retry_after_ms = retry_after_ms,
      is_callers_fault = is_callers_fault,
    }
    return resume(handle, event, now_ms, disabled)
  end

  function face.wake(handle, now_ms)
    return resume(handle, { woke = true }, now_ms)
  end

  --- Ends a run from outside: its deadline passed, or its caller left.
  function face.abandon(handle, now_ms, kind)
    return crossed(runs.abandon(engine, handle, kind, { now_ms = now_ms }))
  end

  --- The catalog's candidates in canonical order, as text: what an index of a call step points to.
  function face.candidates()
    return encode(engine.catalog.candidates)
  end

  function face.rank(contract, inputs)
    local ordered, err, rejected, refusal = engine:rank(contract, inputs)
    return encode({ ordered = ordered, error = err, rejected = rejected, refusal = refusal })
  end

  --- The identity under which an admitted policy is known, or nothing and the refusal's text.
  function face.admit(term)
    local id, refusal = engine:admit(term)
    return id, refusal and encode(refusal)
  end

  --- Whether an identity is still known; it then stays as long as one that is admitted now.
  function face.knows(id)
    return policies.keep(engine.policies, id)
  end

  function face.explain(contract, inputs)
    return encode(explanation.explained(engine, contract, inputs))
  end

  function face.status(now_ms)
    return encode(engine:provider_status(now_ms))
  end

  --- What a planned run stands on that only the engine knows: the policy's identity, nothing for a local one,
  --- and a number that stays as long as the state does.
  function face.grounds(handle)
    local state = handle.snapshot.ctx.state
    if not last or not is_same_state(state, last) then
      last, version = state, version + 1
    end
    return handle.policy_id, version
  end

  --- The same in words: the state, and the policy's term where it is no local one.
  function face.grounds_text(handle)
    return state_text(handle.snapshot.ctx.state), handle.term and encode(handle.term)
  end

  --- The part of the shortlist that a run used, also where its trace lists everyone.
  function face.used(handle)
    return encode(handle.used)
  end

  --- A run's handle as text, to be taken up again elsewhere.
  function face.dump(handle)
    return encode(handle)
  end

  --- The call of a dumped run again, that nobody has made yet; to another route of its shortlist where one
  --- is named.
  function face.revive(text, now_ms, provider_id, family)
    local target = provider_id and { provider_id = provider_id, model_family = family }
    return crossed(runs.recall(engine, json.decode(text), { now_ms = now_ms }, target))
  end

  return face
end

return { open = open }
