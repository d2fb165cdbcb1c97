"""The contract that the gateway would make of a chat body."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from llm_policy_host.errors import UsageError
from llm_policy_host.web.aim import Aims
from llm_policy_host.web.errors import RefusedError
from llm_policy_host.web.skin import Asked
from llm_policy_host.web.skins.chat import Chat

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.values import Contract
    from llm_policy_host.wiring import Host


def contract_of_body(host: Host, body: Mapping[str, Any], *, profile: str | None = None) -> Contract:
    """Make a body's contract; `profile` is what a path like `/x/v1/PROFILE` would say."""
    whole = {"messages": [{"role": "user", "content": ""}], **body}
    flows = {name: flow.term for name, flow in host.flows.items()}
    asked = Asked("", 0, _model(whole), profile, body=whole)
    try:
        pieces = Aims(host, flows).aim(whole, asked, Chat())
        read = Chat().read(whole, asked)
    except RefusedError as error:
        where = f"`{error.problem.param}` " if error.problem.param else ""
        raise UsageError(f"the body is refused: {where}{error.problem.message}") from None
    if "flow_ir" in pieces:
        raise UsageError("a flow has a ranking for each of its nodes: ask for their policies")
    return dataclasses.replace(read, **pieces)


def _model(body: Mapping[str, Any]) -> str:
    model = body.get("model")
    return model if isinstance(model, str) else ""
