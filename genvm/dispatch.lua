-- The greybox script of a GenVM validator: its own policy decides which model is asked, with what
-- request, and what happens on failure. Named by `lua_script_path`; this file only wires the modules.
-- luacheck: std lua53
-- luacheck: globals ExecPrompt ExecPromptTemplate Setup Teardown

local answers = require("greybox.answers")
local filters = require("greybox.filters")
local logs = require("greybox.log")
local natives = require("greybox.natives")
local overlays = require("greybox.overlay")
local run = require("greybox.run")
local sessions = require("greybox.session")
local worlds = require("greybox.world")

local found = natives.find()
local world = worlds.build(found, overlays.load())
world.log = logs.new(natives.optional(found.base, "log_json"))

--- What GenVM's own transform makes of arguments, or nothing where it has none.
local function transformed(name, args)
  local transform = natives.optional(found.lib, name)
  return transform and transform(args)
end

--- A prompt as a transform would map it.
local function mapped(args)
  local prompt = { user_message = args.prompt, images = args.images or {}, temperature = 0.7, max_tokens = 1000 }
  return { prompt = prompt, format = args.response_format }
end

function ExecPrompt(ctx, args, remaining_gen)
  local call = transformed("exec_prompt_transform", args) or mapped(args)
  return run.serve(world, ctx, call, remaining_gen, filters.TEXT_DEFAULT)
end

function ExecPromptTemplate(ctx, args, remaining_gen)
  local call = transformed("exec_prompt_template_transform", args)
    or run.raise(world, { "TEMPLATES_UNAVAILABLE" }, true, {})
  local format = answers.TEMPLATE_FORMATS[args.template] or call.format
  return run.serve(world, ctx, { prompt = call.prompt, format = format }, remaining_gen)
end

--- A session begins: what an earlier one left in this ctx is gone.
function Setup(ctx)
  sessions.close(ctx)
  sessions.of(world, ctx)
end

function Teardown(ctx)
  sessions.close(ctx)
end
