"""The command `llm-policy`: one file a subcommand."""
