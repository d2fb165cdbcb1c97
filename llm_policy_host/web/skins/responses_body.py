"""A body of OpenAI's Responses API as a contract."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.values import Contract
from llm_policy_host.web.errors import invalid

from ._fields import optional_record, records, take_params, wanted_text
from ._thread import Part, Thread, image_part, text_part

if TYPE_CHECKING:
    from collections.abc import Mapping

OWN_THOUGHT = "rs_llmp_"
"""How the ids of thoughts begin that this gateway wrote down: no provider knows them."""

_PARAMS: Final = {"temperature": "temperature", "top_p": "top_p", "max_output_tokens": "max_tokens"}

_TOLD: Final = (
    "model input instructions tools tool_choice parallel_tool_calls max_output_tokens temperature top_p text"
    " reasoning stream stream_options store metadata user safety_identifier"
)
"""The fields that the canonical form says too, or the answer repeats; every other is lost elsewhere."""

_KEPT: Final = ("previous_response_id", "conversation", "prompt")
"""What only a server that keeps answers could know."""

_SERVERS_OWN = re.compile(
    r"(web_search|file_search|code_interpreter|image_generation|mcp)_call|mcp_list_tools|compaction"
)
"""Records of what the vendor's servers did or sealed: nothing that another vendor could read."""


def read(body: dict[str, Any], **aimed: Any) -> Contract:  # noqa: ANN401 - a contract's
    """Make a contract of a body."""
    _refuse_kept(body)
    lost = [name for name in body if name not in _TOLD.split() and body[name] not in (None, False)]
    if body.get("truncation") == "disabled":
        lost.remove("truncation")
    thread = Thread()
    instructions = body.get("instructions")
    if instructions is not None:
        thread.system(_told_text(instructions, "instructions"))
    _read_input(body.get("input"), thread, lost)
    tools, settings = _read_tools(body, lost)
    text = optional_record(body.get("text"), "text")
    effort = optional_record(body.get("reasoning"), "reasoning").get("effort")
    named = {"reasoning_effort": effort, "verbosity": text.get("verbosity")}
    params = take_params(dict(body), _PARAMS) | take_params(named, {name: name for name in named})
    return Contract(
        messages=thread.messages(),
        tools=tools,
        response_format=_format(optional_record(text.get("format"), "text.format")),
        params=params,
        passthrough={
            **_without_own_thoughts(body),
            "_openai": {**_settings(body), **settings},
            "_lost": lost,
        },
        dialect="openai_responses",
        **aimed,
    )


def _refuse_kept(body: Mapping[str, Any]) -> None:
    for name in _KEPT:
        if body.get(name) is not None:
            raise invalid(
                "this gateway keeps no answers: send the whole input", name, "unsupported_parameter"
            )
    if body.get("background"):
        raise invalid("this gateway answers while it is asked, or not", "background", "unsupported_parameter")
    optional_record(body.get("metadata"), "metadata")


# Input --------------------------------------------------------------------------------------------


def _read_input(given: Any, thread: Thread, lost: list[str]) -> None:  # noqa: ANN401 - as the caller wrote it
    if isinstance(given, str):
        thread.user([text_part(given)])
        return
    items = records(given, "input")
    if not items:
        raise invalid("must be a text, or a list with at least one item", "input")
    for index, item in enumerate(items):
        _read_item(item, f"input[{index}]", thread, lost)


def _read_item(item: dict[str, Any], at: str, thread: Thread, lost: list[str]) -> None:
    kind = item.get("type", "message")
    if kind == "message":
        _read_message(item, at, thread)
    elif kind == "function_call":
        names = ("call_id", "name", "arguments")
        thread.call(*(wanted_text(item, name, at) for name in names))
    elif kind == "function_call_output":
        _read_output(item, at, thread)
    elif kind == "reasoning":
        _read_thought(item, at, thread, lost)
    elif kind == "item_reference":
        raise invalid("this gateway keeps no items: send the whole item", at, "unsupported_parameter")
    elif not isinstance(kind, str):
        raise invalid("must be a text", f"{at}.type")
    elif _SERVERS_OWN.fullmatch(kind):
        _lose(lost, kind)
    else:
        thread.user([item])  # without a canonical word, for adapters of other dialects to refuse


def _read_message(item: dict[str, Any], at: str, thread: Thread) -> None:
    parts = _parts(item.get("content"), f"{at}.content")
    role = item.get("role")
    if role == "user":
        thread.user(parts)
        return
    text = "".join(part["text"] for part in parts if part["type"] == "text")
    if role in ("system", "developer"):
        thread.system(text)
    elif role == "assistant":
        thread.answer(text)
    else:
        raise invalid("must be one of assistant, developer, system, user", f"{at}.role")
    others = [part for part in parts if part["type"] != "text"]
    if others:
        thread.user(others)  # without a canonical word, for adapters of other dialects to refuse


def _told_text(value: Any, at: str) -> str:  # noqa: ANN401
    if not isinstance(value, str):
        raise invalid("must be a text", at)
    return value


def _read_output(item: dict[str, Any], at: str, thread: Thread) -> None:
    parts = _parts(item.get("output"), f"{at}.output")
    text = "\n".join(part["text"] for part in parts if part["type"] == "text")
    thread.result(wanted_text(item, "call_id", at), text, [part for part in parts if part["type"] != "text"])


def _read_thought(item: dict[str, Any], at: str, thread: Thread, lost: list[str]) -> None:
    pieces = [*records(item.get("summary"), f"{at}.summary"), *records(item.get("content"), f"{at}.content")]
    text = "\n\n".join(wanted_text(piece, "text", at) for piece in pieces)
    if text:
        thread.thought(text)
    elif item.get("encrypted_content"):
        _lose(lost, "reasoning")


def _parts(content: Any, at: str) -> list[Part]:  # noqa: ANN401
    if isinstance(content, str):
        return [text_part(content)]
    if content is None:
        raise invalid("must be a text or a list of parts", at)
    return [_part(part, f"{at}[{index}]") for index, part in enumerate(records(content, at))]


def _part(part: dict[str, Any], at: str) -> Part:
    kind = wanted_text(part, "type", at)
    if kind in ("input_text", "output_text", "text"):
        return text_part(wanted_text(part, "text", at))
    if kind == "refusal":
        return text_part(wanted_text(part, "refusal", at))
    if kind == "input_image" and part.get("image_url") is not None:
        return image_part(wanted_text(part, "image_url", at), part.get("detail"))
    if kind == "input_file" and part.get("file_data") is not None:
        names = {name: part[name] for name in ("filename", "file_data") if part.get(name) is not None}
        return {"type": "file", "file": names}
    return part


def _lose(lost: list[str], kind: str) -> None:
    name = f"input:{kind}"
    if name not in lost:
        lost.append(name)


def _without_own_thoughts(body: dict[str, Any]) -> dict[str, Any]:
    """Leave out thoughts that this gateway wrote down: a provider would look for them and fail."""
    given = body["input"]
    if isinstance(given, str):
        return body
    return {**body, "input": [item for item in given if not str(item.get("id", "")).startswith(OWN_THOUGHT)]}


# Tools and settings -------------------------------------------------------------------------------


def _read_tools(body: dict[str, Any], lost: list[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Give the tools and the settings about them.

    Tools that OpenAI's own servers run are lost elsewhere, and the trace says so; where the
    request is about nothing else, they stay as they are, for the adapters of other dialects to
    refuse.
    """
    tools: list[dict[str, Any]] = []
    hosted: list[dict[str, Any]] = []
    for index, tool in enumerate(records(body.get("tools"), "tools")):
        kind = wanted_text(tool, "type", f"tools[{index}]")
        if kind == "function":
            tools.append(_function(tool, f"tools[{index}]"))
        else:
            hosted.append(tool)
    choice = body.get("tool_choice")
    wanted = choice.get("type") if isinstance(choice, dict) else None
    if hosted and (not tools or wanted in [tool["type"] for tool in hosted]):
        return [*tools, *hosted], {}
    lost += dict.fromkeys(f"tools:{tool['type'][:40]}" for tool in hosted)
    parallel = body.get("parallel_tool_calls")
    said = {} if parallel is None or not tools else {"parallel_tool_calls": parallel}
    return _chosen(tools, choice, said)


def _function(tool: dict[str, Any], at: str) -> dict[str, Any]:
    function: dict[str, Any] = {"name": wanted_text(tool, "name", at)}
    if isinstance(tool.get("description"), str):
        function["description"] = tool["description"]
    function["parameters"] = optional_record(tool.get("parameters"), f"{at}.parameters")
    if isinstance(tool.get("strict"), bool):
        function["strict"] = tool["strict"]
    return {"type": "function", "function": function}


def _chosen(
    tools: list[dict[str, Any]],
    choice: Any,  # noqa: ANN401 - as the caller wrote it
    said: dict[str, Any],
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Apply the choice: one of some tools is said by leaving out the others."""
    if choice is None or not tools:
        return tools, said
    if choice in ("auto", "none", "required"):
        return tools, {**said, "tool_choice": choice}
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind == "function":
        name = wanted_text(choice, "name", "tool_choice")
        return tools, {**said, "tool_choice": {"type": "function", "function": {"name": name}}}
    if kind == "allowed_tools" and choice.get("mode") in ("auto", "required"):
        names = [tool.get("name") for tool in records(choice.get("tools"), "tool_choice.tools")]
        allowed = [tool for tool in tools if tool["function"]["name"] in names]
        return allowed, {**said, "tool_choice": choice["mode"]} if allowed else {}
    raise invalid("must be auto, none, required, or name a tool", "tool_choice")


def _settings(body: Mapping[str, Any]) -> dict[str, Any]:
    user = body.get("safety_identifier") or body.get("user")
    return {"user": user} if isinstance(user, str) else {}


def _format(form: Mapping[str, Any]) -> dict[str, Any] | None:
    kind = form.get("type")
    if kind in (None, "text"):
        return None
    if kind == "json_object":
        return {"type": "json_object"}
    if kind != "json_schema" or not isinstance(form.get("schema"), dict):
        raise invalid("must be `text`, `json_object`, or `json_schema` with a schema", "text.format")
    schema = {name: form[name] for name in ("description", "strict", "schema") if form.get(name) is not None}
    return {
        "type": "json_schema",
        "json_schema": {"name": wanted_text(form, "name", "text.format"), **schema},
    }
