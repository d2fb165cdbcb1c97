-- What a validator adds to the backends of GenVM's YAML. Copy it to `router-overlay.lua` beside
-- `dispatch.lua`; every key may be absent. Names are those of the YAML: a backend's, and
-- `backend/model` for a model.

return {
  -- Fields that your policy may name; their values stand under `meta`, here or in the YAML.
  fields = {
    bench_rank = { sort = "Num" },
    is_open = { sort = "Bool", default = false },
  },

  providers = {
    acme = { tier = "partner", no_log = true },
    bravo = { tier = "marketplace", has_tee = true, meta = { is_open = true } },
  },

  -- Prices in USD per million tokens.
  models = {
    ["acme/small-1"] = { price_in = 0.4, price_out = 1.6, meta = { bench_rank = 2 } },
    ["bravo/small-1"] = { price_in = 0.25, price_out = 1.1, meta = { bench_rank = 1 } },
    ["bravo/eye-1"] = { price_in = 0.5, price_out = 2, capabilities = { context = 32000 } },
  },

  -- Whatever decides, never these.
  policy_envelope = { price_max = { output = 20 } },

  -- What a failure leads to in the chains, and in the default profile.
  retry_policies = {
    fall_through = {
      auth_error = { action = "disable_provider" },
      unknown = { action = "next_candidate" },
    },
  },

  profiles = {
    cheap = {
      filter = { "requirements", "not_disabled" },
      scorer = { "neg", { "normalize", { "field", "price_out" } } },
      mutate = { set_param = { seed = "from_ctx" }, jitter = { temperature = 0.1 } },
      retry_policy = "fall_through",
    },
  },

  -- Who decides: a profile's name, a term, or {text = term, image = term}. Absent: the chains of
  -- `meta.greybox`, and without those the profile `default`. Instead of this key there may be a file
  -- `greybox-policy.lua`.
  -- policy = "cheap",

  -- Loading fails where no enabled model has a place in `meta.greybox`.
  -- greybox_required = true,
}
