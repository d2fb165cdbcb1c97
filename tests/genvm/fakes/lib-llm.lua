-- The library of GenVM's model scripts, as far as spec 4.1 tells it.

local rs = __llm -- luacheck: globals __llm

local M = { rs = rs, providers = rs.providers }

M.overloaded_statuses = { [408] = true, [429] = true, [503] = true, [504] = true, [529] = true }

--- The providers' models that pass, in tables that every caller shares.
local function selection(passes)
  local out = {}
  for provider_name, provider in pairs(rs.providers) do
    local models
    for model_name, model in pairs(provider.models) do
      if model.enabled and passes(model) then
        models = models or {}
        models[model_name] = model
      end
    end
    if models then
      out[provider_name] = { models = models, meta = provider.meta, timeout = provider.timeout }
    end
  end
  return out
end

local SELECTIONS = {
  [false] = {
    [false] = selection(function()
      return true
    end),
    [true] = selection(function(model)
      return model.supports_image
    end),
  },
  [true] = {
    [false] = selection(function(model)
      return model.supports_json
    end),
    [true] = selection(function(model)
      return model.supports_json and model.supports_image
    end),
  },
}

function M.select_providers_for(prompt, format)
  local wants_image = prompt.images ~= nil and #prompt.images > 0
  return SELECTIONS[format == "json" or format == "bool"][wants_image]
end

local function mapped(user_message, system_message, images, format)
  return {
    prompt = {
      user_message = user_message,
      system_message = system_message,
      temperature = 0.7,
      images = images,
      max_tokens = 1000,
      use_max_completion_tokens = true,
    },
    format = format,
  }
end

function M.exec_prompt_transform(args)
  return mapped(args.prompt, nil, args.images, args.response_format)
end

local TEMPLATES = {
  EqComparative = { "eq_comparative", "bool" },
  EqNonComparativeValidator = { "eq_non_comparative_validator", "bool" },
  EqNonComparativeLeader = { "eq_non_comparative_leader", "text" },
}

function M.exec_prompt_template_transform(args)
  local row = TEMPLATES[args.template]
  local template = rs.templates[row[1]]
  local text = string.gsub(template.user, "#{([%w_]+)}", args)
  return mapped(text, template.system, {}, row[2])
end

return M
