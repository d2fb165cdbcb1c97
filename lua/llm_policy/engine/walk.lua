-- Walking the shortlist of a run: its plan, who is next, and the steps that come of it (spec 2.4).
--
-- A run here is {engine, handle, policy?, candidate?, now_ms, plan?}: the handle is what lasts, the
-- plan is opened where somebody new must be found and closed with the step.

local attribution = require("llm_policy.engine.attribution")
local contracts = require("llm_policy.engine.contract")
local decide = require("llm_policy.semantics.decide")
local health = require("llm_policy.engine.health")
local numbers = require("llm_policy.base.numbers")
local observation = require("llm_policy.verbs.observation")
local policies = require("llm_policy.engine.policies")
local snapshots = require("llm_policy.engine.snapshot")
local trace = require("llm_policy.engine.trace")
local vocabularies = require("llm_policy.language.vocabulary")

local is_finite = numbers.is_finite

-- Plans ---------------------------------------------------------------------------------------------

--- Opens the plan of a run: everyone who may be called, found in order as they are needed.
local function open_plan(run)
  if not run.plan then
    local view = snapshots.view(run.engine, run.handle.snapshot)
    local idx, scores = observation.borrow(run.engine.spare), observation.borrow(run.engine.spare)
    local carriers = policies.narrowed(run.engine, run.policy, run.handle.snapshot.ctx.request)
    run.plan = { view = view, idx = idx, scores = scores, carriers = carriers }
    run.plan.cursor = decide.shortlist(carriers, view, idx, scores)
  end
  return run.plan
end

local function close_plan(run)
  if run.plan then
    observation.give(run.engine.spare, run.plan.idx)
    observation.give(run.engine.spare, run.plan.scores)
    run.plan = nil
  end
end

--- The candidate at a rank of the shortlist, or nothing behind its end.
local function at_rank(plan, r)
  if decide.reach(plan.cursor, r) then
    local index = plan.idx[plan.cursor.order[r]]
    return plan.view.candidates[index], index, plan.cursor.scores[r]
  end
end

-- Steps ---------------------------------------------------------------------------------------------

local function note(run, entry)
  run.handle.path[#run.handle.path + 1] = entry
end

--- Ends the run; whoever faces the embedder says of the step's candidate what it wants to know.
--- With a full trace the lists follow from the snapshot once more.
local function finish(run, ok, err, response)
  local handle, ranked, rejected = run.handle, run.handle.used, nil
  if handle.is_full and run.policy then
    local view = snapshots.view(run.engine, handle.snapshot)
    ranked, rejected = trace.lists(policies.narrowed(run.engine, run.policy, handle.snapshot.ctx.request), view)
  end
  handle.state = "done"
  local result = {
    ok = ok,
    response = response,
    error = err,
    trace = trace.summary(run.policy, handle, ranked, rejected, run.now_ms),
  }
  return { status = "done", result = result, candidate = ok and run.candidate or nil, state_handle = handle }
end

local function exhausted(run)
  local kind = run.handle.last_kind
  return finish(run, false, kind and "exhausted: " .. kind or "no_candidates")
end

--- Parameters as the policy changes them for the coming attempt.
local function mutated(run, params)
  local handle, engine = run.handle, run.engine
  if handle.attempt == 1 and run.plan then
    return run.policy.carriers.mutate(params, run.plan.view, handle.index)
  end
  local view = snapshots.single(engine, handle.snapshot, run.candidate, handle.attempt)
  return run.policy.carriers.mutate(params, view, 1)
end

--- The bounds of the coming attempt that the caller made shorter than the operator's; nothing where none are.
local function callers_bounds(run, params)
  local request, engine = run.handle.snapshot.ctx.request, run.engine
  local defaults, own = engine.config.defaults, nil
  if run.handle.is_callers_policy then
    own = {}
  elseif attribution.gives_bounds(request) then
    own = mutated(run, attribution.without_bounds(request, engine.params, defaults))
  end
  return own and attribution.shorter(params, own, defaults)
end

--- Calls the run's candidate.
local function call(run)
  local handle, engine = run.handle, run.engine
  handle.state, handle.attempt, handle.called_ms = "calling", handle.attempt + 1, run.now_ms
  local params = contracts.parameters(handle.snapshot.ctx.request, engine.params, engine.config.defaults)
  local changed = mutated(run, params)
  return {
    status = "call",
    candidate = run.candidate,
    index = handle.index,
    params = changed,
    callers_bounds = callers_bounds(run, changed),
    is_changed = run.policy.term[5][1] ~= "id",
    state_handle = handle,
  }
end

--- Whether what the host says of a provider disables it now: for good, or until later.
local function holds(given, now_ms)
  return given == true or is_finite(given) and now_ms < given
end

--- Whether a provider is passed by now. What the host says of this moment is the last word: false, it is not.
local function is_disabled(run, provider_id)
  local now_ms, handle = run.now_ms, run.handle
  local said = vocabularies.at(run.extras, provider_id)
  if said == false then
    return false
  end
  local own, given = handle.disabled[provider_id], handle.snapshot.ctx.state.disabled[provider_id]
  return health.is_disabled(run.engine.health, provider_id, now_ms)
    or own ~= nil and now_ms < own
    or holds(given, now_ms)
    or holds(said, now_ms)
end

--- Calls the next candidate of the shortlist, of one family where that is wanted; a provider that is
--- disabled at this moment is skipped.
local function advance(run, family)
  local plan, handle = open_plan(run), run.handle
  while true do
    local candidate, index, score = at_rank(plan, handle.rank + 1)
    if not candidate then
      return exhausted(run)
    end
    handle.rank = handle.rank + 1
    local was_chosen = handle.chosen and handle.chosen[vocabularies.route(candidate)]
    if not was_chosen and (not family or candidate.model_family == family) then
      handle.used[#handle.used + 1] = trace.ranked_entry(candidate, score)
      if not is_disabled(run, candidate.provider_id) then
        run.candidate, handle.index, handle.retries = candidate, index, 0
        handle.provider_id, handle.model_family = candidate.provider_id, candidate.model_family
        return call(run)
      end
      note(run, trace.skipped(candidate))
    end
  end
end

--- Makes another one of the shortlist the run's candidate: the route that somebody chose. Nothing where no
--- candidate of that route is in it, or its provider is disabled; the run is then as it was.
local function redirect(run, provider_id, family)
  local plan, handle, rank = open_plan(run), run.handle, 0
  while true do
    rank = rank + 1
    local candidate, index, score = at_rank(plan, rank)
    if not candidate then
      return nil
    end
    if candidate.provider_id == provider_id and candidate.model_family == family then
      if is_disabled(run, provider_id) then
        return nil
      end
      handle.used[#handle.used + 1] = trace.ranked_entry(candidate, score)
      run.candidate, handle.index, handle.retries = candidate, index, 0
      handle.provider_id, handle.model_family = provider_id, family
      -- the walk, which goes on behind the one that was passed over, does not come here again
      handle.chosen = handle.chosen or {}
      handle.chosen[vocabularies.route(candidate)] = true
      return candidate
    end
  end
end

return {
  advance = advance,
  call = call,
  close_plan = close_plan,
  finish = finish,
  note = note,
  redirect = redirect,
}
