"""The gateway: OpenAI's and Anthropic's APIs over the one driver (spec 3.6)."""
