"""The content plane: prompts, answers and providers' error texts, as far as they may be kept (spec 5.6)."""
