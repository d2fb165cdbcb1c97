-- A session: health and the calls' count of one contract run. It lies in the session's own ctx, so that
-- one VM can serve several at once and none leaks into the next (spec 4.1).

local natives = require("greybox.natives")
local worlds = require("greybox.world")

local rawget, rawset, type = rawget, rawset, type

local KEY = "__ctx_greybox"

local Session = {}
Session.__index = Session

local function new(world)
  return setmetatable({
    engine = worlds.engine(world),
    calls = 0,
    waited_ms = 0,
    monotonic_ms = natives.optional(world.natives.base, "monotonic_ms"),
  }, Session)
end

--- The session of a ctx; made at its first call.
local function of(world, ctx)
  if type(ctx) ~= "table" then
    return new(world)
  end
  local found = rawget(ctx, KEY)
  if not found then
    found = new(world)
    rawset(ctx, KEY, found)
  end
  return found
end

--- Forgets the session of a ctx.
local function close(ctx)
  if type(ctx) == "table" then
    rawset(ctx, KEY, nil)
  end
end

--- The number of a call that begins, from 1.
function Session:next_call()
  self.calls = self.calls + 1
  return self.calls
end

--- The session's time: the host's clock, or without one the time that was waited.
function Session:now_ms()
  return self.monotonic_ms and self.monotonic_ms() or self.waited_ms
end

--- Notes that a moment has come, where no clock tells it.
function Session:reached(until_ms)
  if until_ms > self.waited_ms then
    self.waited_ms = until_ms
  end
end

return { of = of, close = close }
