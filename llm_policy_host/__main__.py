"""`python -m llm_policy_host` is the command `llm-policy`."""

import sys

from .cli.main import main

sys.exit(main())
