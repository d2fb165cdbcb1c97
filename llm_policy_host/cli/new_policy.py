"""`llm-policy new-policy`: a policy in Lua, and a file for its cases that fails until there are some."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from llm_policy_host.errors import UsageError

from .init import write_new
from .output import OK, add_json, print_json, warn

if TYPE_CHECKING:
    import argparse

    from .output import Commands

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}\Z")

_LUA = """\
-- {name}: say here what it is for.

local dsl = require("llm_policy").dsl
local F, S, R, M, P = dsl.F, dsl.S, dsl.R, dsl.M, dsl.P

return dsl.policy({{
  filter = F.all_of({{ F.requirements(), F.not_disabled() }}),
  scorer = S.neg(S.normalize(S.field("price_in"))),
  selector = R.argmax(),
  mutate = M.identity(),
  failures = P.plan({{ unknown = {{ action = "next_candidate" }} }}),
}})
"""

_CASES = """\
# What `{name}` must do. A policy without cases fails its test.
config: {config}
policy: {name}.lua
seed: 1
cases: []
#  - name: the cheapest goes first
#    request: {{min_context: 16000}}
#    expect: {{chosen: MODEL @ PROVIDER}}
"""


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("new-policy", help="write a policy in Lua and a file for its cases")
    parser.add_argument("name", metavar="NAME", help="its name: letters, digits, `-` and `_`")
    parser.add_argument(
        "-c",
        "--config",
        default="policy.yaml",
        metavar="CONFIG",
        help="whose catalog it is for (policy.yaml)",
    )
    add_json(parser)
    parser.set_defaults(do=do)


def do(arguments: argparse.Namespace) -> int:
    """Write the two files beside the config."""
    name, config = arguments.name, Path(arguments.config)
    if not _NAME.match(name):
        raise UsageError(f"`{name}` is no name: letters, digits, `-` and `_` are wanted")
    if not config.is_file():
        raise UsageError(f"no config `{config}`: `llm-policy init` makes one, --config names another")
    policy, cases = config.with_name(f"{name}.lua"), config.with_name(f"{name}.test.yaml")
    filled = {"name": name, "config": config.name}
    write_new({policy: _LUA.format(**filled), cases: _CASES.format(**filled)})
    if arguments.json:
        print_json({"ok": True, "files": [str(policy), str(cases)]})
        return OK
    print(policy)
    print(cases)
    warn(f"as a profile of {config}: `{name}: {{policy_ir: {name}.lua}}`")
    return OK
