"""A body of Anthropic's Messages API as a contract."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.values import Contract
from llm_policy_host.web.body import write_json
from llm_policy_host.web.errors import invalid

from ._fields import flag, optional_record, records, take_params, wanted_text
from ._thread import Part, Thread, image_part, text_part

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PARAMS: Final = {name: name for name in ("temperature", "top_p", "top_k", "max_tokens")}

_TOLD: Final = (
    "model messages system tools tool_choice stop_sequences max_tokens temperature top_p top_k stream"
    " thinking output_config output_format metadata"
)
"""The fields that the canonical form says too; every other is lost to a provider of another dialect."""

_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}

_EFFORTS: Final = ((4096, "low"), (16384, "medium"))
"""Budgets of thinking, in tokens, up to which an effort is meant; beyond, it is `high`."""

_SERVERS_OWN = re.compile(r"redacted_thinking|server_tool_use|mcp_tool_use|compaction|\w+_tool_result")
"""Records of what the vendor's servers did or sealed: nothing that another vendor could read."""


def read(body: dict[str, Any], betas: str = "", **aimed: Any) -> Contract:  # noqa: ANN401 - a contract's
    """Make a contract of a body; `betas` is the header by which a caller turns on fields of it."""
    thread, lost = Thread(), [name for name in body if name not in _TOLD.split() and body[name] is not None]
    _read_system(body.get("system"), "system", thread)
    _read_messages(body.get("messages"), thread, lost)
    tools, choice = _read_tools(body, lost)
    config = optional_record(body.get("output_config"), "output_config")
    params = take_params(dict(body), _PARAMS)
    effort = _effort(body, config)
    if effort is not None:
        params["reasoning_effort"] = effort
    turned_on = [name.strip() for name in betas.split(",") if name.strip()]
    if turned_on:
        lost.append("anthropic-beta")
    return Contract(
        messages=thread.messages(),
        tools=tools,
        response_format=_format(body, config),
        params=params,
        passthrough={
            **_without_foreign_thoughts(body),
            "_openai": {**_settings(body), **choice},
            "_lost": lost,
            "_betas": turned_on,
        },
        dialect="anthropic",
        **aimed,
    )


# Messages -----------------------------------------------------------------------------------------


def _read_messages(messages: Any, thread: Thread, lost: list[str]) -> None:  # noqa: ANN401 - as the caller wrote it
    if not isinstance(messages, list) or not messages:
        raise invalid("must be a list with at least one message", "messages")
    for index, message in enumerate(messages):
        at = f"messages[{index}]"
        if not isinstance(message, dict):
            raise invalid("must be an object", at)
        role, content = message.get("role"), message.get("content")
        if role == "system":
            _read_system(content, f"{at}.content", thread)
        elif role == "user":
            _read_user(_blocks(content, f"{at}.content"), f"{at}.content", thread, lost)
        elif role == "assistant":
            thread.next_turn()
            _read_answer(_blocks(content, f"{at}.content"), f"{at}.content", thread, lost)
        else:
            raise invalid("must be one of assistant, system, user", f"{at}.role")


def _blocks(content: Any, at: str) -> list[dict[str, Any]]:  # noqa: ANN401
    if isinstance(content, str):
        return [text_part(content)]
    if content is None:
        raise invalid("must be a text or a list of blocks", at)
    blocks = records(content, at)
    for index, block in enumerate(blocks):
        wanted_text(block, "type", f"{at}[{index}]")
        if block["type"] == "text":
            wanted_text(block, "text", f"{at}[{index}]")
    return blocks


def _read_system(content: Any, at: str, thread: Thread) -> None:  # noqa: ANN401
    if content is None:
        return
    blocks = _blocks(content, at)
    if any(block["type"] != "text" for block in blocks):
        raise invalid("must hold blocks of text alone", at)
    text = "\n\n".join(block["text"] for block in blocks)
    if text:
        thread.system(text)


def _read_user(blocks: list[dict[str, Any]], at: str, thread: Thread, lost: list[str]) -> None:
    parts: list[Part] = []
    for index, block in enumerate(blocks):
        if block["type"] == "tool_result":
            _read_result(block, f"{at}[{index}]", thread)
        elif _SERVERS_OWN.fullmatch(block["type"]):
            _lose(lost, block["type"])
        else:
            parts += _parts(block, f"{at}[{index}]")
    if parts:
        thread.user(parts)


def _read_result(block: dict[str, Any], at: str, thread: Thread) -> None:
    call = wanted_text(block, "tool_use_id", at)
    inner = [] if block.get("content") is None else _blocks(block["content"], f"{at}.content")
    parts = [part for index, each in enumerate(inner) for part in _parts(each, f"{at}.content[{index}]")]
    text = "\n".join(part["text"] for part in parts if part["type"] == "text")
    if flag(block, "is_error", at):
        text = f"error: {text}"
    thread.result(call, text, [part for part in parts if part["type"] != "text"])


def _read_answer(blocks: list[dict[str, Any]], at: str, thread: Thread, lost: list[str]) -> None:
    said: list[str] = []
    for index, block in enumerate(blocks):
        kind, here = block["type"], f"{at}[{index}]"
        if kind == "text":
            said.append(block["text"])
        elif kind == "thinking":
            thread.thought(wanted_text(block, "thinking", here))
        elif kind == "tool_use":
            arguments = optional_record(block.get("input"), f"{here}.input")
            identity = wanted_text(block, "id", here), wanted_text(block, "name", here)
            thread.call(*identity, write_json(arguments).decode())
        elif _SERVERS_OWN.fullmatch(kind):
            _lose(lost, kind)
        else:
            thread.user([block])  # without a canonical word, for adapters of other dialects to refuse
    if said:
        thread.answer("".join(said))


def _parts(block: dict[str, Any], at: str) -> list[Part]:
    """Say a block of the user's; one without a canonical word stays as it is, for adapters to refuse."""
    kind = block["type"]
    if kind == "text":
        return [text_part(block["text"])]
    if kind == "image":
        return [_image(block, at)]
    if kind == "document":
        return _document(block, at)
    if kind == "search_result":
        inner = _blocks(block.get("content"), f"{at}.content")
        about = [str(block.get(name) or "") for name in ("title", "source")]
        return [text_part("\n".join([*about, *(each.get("text", "") for each in inner)]))]
    return [block]


def _image(block: dict[str, Any], at: str) -> Part:
    source = _source(block, at)
    if source.get("type") == "base64":
        return image_part(_data_url(source, at))
    if source.get("type") == "url":
        return image_part(wanted_text(source, "url", f"{at}.source"))
    return block


def _document(block: dict[str, Any], at: str) -> list[Part]:
    source = _source(block, at)
    title = block.get("title")
    head = [text_part(title)] if isinstance(title, str) else []
    if source.get("type") == "text":
        return [*head, text_part(wanted_text(source, "data", f"{at}.source"))]
    if source.get("type") == "content":
        inner = _blocks(source.get("content"), f"{at}.source.content")
        return [*head, *(part for each in inner for part in _parts(each, f"{at}.source.content"))]
    if source.get("type") == "base64":
        name = title if isinstance(title, str) else "document.pdf"
        return [{"type": "file", "file": {"filename": name, "file_data": _data_url(source, at)}}]
    return [block]


def _source(block: dict[str, Any], at: str) -> dict[str, Any]:
    source = block.get("source")
    if not isinstance(source, dict):
        raise invalid("must be an object", f"{at}.source")
    return source


def _data_url(source: dict[str, Any], at: str) -> str:
    media_type, data = (wanted_text(source, name, f"{at}.source") for name in ("media_type", "data"))
    return f"data:{media_type};base64,{data}"


def _lose(lost: list[str], kind: str) -> None:
    name = f"messages:{kind[:40]}"
    if name not in lost:
        lost.append(name)


def _without_foreign_thoughts(body: dict[str, Any]) -> dict[str, Any]:
    """Leave out thoughts without a signature, which another vendor's model had: Anthropic refuses them."""
    signed = (_signed(message) for message in body["messages"])
    return {**body, "messages": [message for message in signed if message is not None]}


def _signed(message: dict[str, Any]) -> dict[str, Any] | None:
    content = message.get("content")
    if not isinstance(content, list) or all(_is_signed(block) for block in content):
        return message
    left = [block for block in content if _is_signed(block)]
    return {**message, "content": left} if left else None


def _is_signed(block: Mapping[str, Any]) -> bool:
    return block.get("type") != "thinking" or bool(block.get("signature"))


# Tools and settings -------------------------------------------------------------------------------


def _read_tools(body: dict[str, Any], lost: list[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Give the tools and the choice among them.

    Tools that Anthropic's own servers or models know without a schema are lost elsewhere, and
    the trace says so; where the request is about nothing else, they stay as they are, for the
    adapters of other dialects to refuse.
    """
    tools: list[dict[str, Any]] = []
    hosted: list[dict[str, Any]] = []
    for index, tool in enumerate(records(body.get("tools"), "tools")):
        if tool.get("type") in (None, "custom"):
            tools.append(_function(tool, f"tools[{index}]"))
        else:
            wanted_text(tool, "type", f"tools[{index}]")
            hosted.append(tool)
    choice = optional_record(body.get("tool_choice"), "tool_choice")
    wanted = choice.get("name") if choice.get("type") == "tool" else None
    if hosted and (not tools or any(tool.get("name") == wanted for tool in hosted)):
        return [*tools, *hosted], {}
    lost += dict.fromkeys(f"tools:{tool['type'][:40]}" for tool in hosted)
    return tools, _choice(choice, tools)


def _function(tool: dict[str, Any], at: str) -> dict[str, Any]:
    function: dict[str, Any] = {"name": wanted_text(tool, "name", at)}
    if isinstance(tool.get("description"), str):
        function["description"] = tool["description"]
    function["parameters"] = optional_record(tool.get("input_schema"), f"{at}.input_schema")
    if isinstance(tool.get("strict"), bool):
        function["strict"] = tool["strict"]
    return {"type": "function", "function": function}


def _choice(choice: Mapping[str, Any], tools: Iterable[Any]) -> dict[str, Any]:
    if not choice or not tools:
        return {}
    kind = choice.get("type")
    said: dict[str, Any] = {}
    if kind == "tool":
        said["tool_choice"] = {
            "type": "function",
            "function": {"name": wanted_text(choice, "name", "tool_choice")},
        }
    elif isinstance(kind, str) and kind in _CHOICES:
        said["tool_choice"] = _CHOICES[kind]
    else:
        raise invalid("must be one of any, auto, none, tool", "tool_choice.type")
    if flag(choice, "disable_parallel_tool_use", "tool_choice"):
        said["parallel_tool_calls"] = False
    return said


def _settings(body: Mapping[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    stops = body.get("stop_sequences")
    if stops is not None:
        if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
            raise invalid("must be a list of texts", "stop_sequences")
        if stops:
            said["stop"] = stops
    user = optional_record(body.get("metadata"), "metadata").get("user_id")
    if isinstance(user, str):
        said["user"] = user
    return said


def _effort(body: Mapping[str, Any], config: Mapping[str, Any]) -> str | None:
    """Read how much to think: an effort, or what a budget amounts to."""
    effort = config.get("effort")
    if effort is not None:
        if not isinstance(effort, str) or len(effort) > 64:
            raise invalid("must be a text", "output_config.effort")
        return effort
    thinking = optional_record(body.get("thinking"), "thinking")
    budget = thinking.get("budget_tokens")
    if thinking.get("type") != "enabled" or budget is None:
        return None
    if isinstance(budget, bool) or not isinstance(budget, int):
        raise invalid("must be a whole number", "thinking.budget_tokens")
    return next((word for most, word in _EFFORTS if budget <= most), "high")


def _format(body: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any] | None:
    form = optional_record(config.get("format"), "output_config.format")
    form = form or optional_record(body.get("output_format"), "output_format")
    if not form:
        return None
    schema = form.get("schema")
    if form.get("type") != "json_schema" or not isinstance(schema, dict):
        raise invalid("must be of type `json_schema`, with a schema", "output_config.format")
    return {"type": "json_schema", "json_schema": {"name": "output", "schema": schema, "strict": True}}
