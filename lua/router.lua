-- The older name of the public face.
return require("llm_policy")
