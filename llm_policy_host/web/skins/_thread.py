"""A conversation put into the words of chat completions, from dialects that cut it otherwise."""

from __future__ import annotations

from typing import Any

Part = dict[str, Any]


def text_part(text: str) -> Part:
    """Give a part of a message's content that is text."""
    return {"type": "text", "text": text}


def image_part(url: str, detail: Any = None) -> Part:  # noqa: ANN401 - as the caller wrote it
    """Give a part that is an image, by its address or as a data URL."""
    image = {"url": url}
    return {
        "type": "image_url",
        "image_url": {**image, "detail": detail} if isinstance(detail, str) else image,
    }


class Thread:
    """Gathers what was said; the model's words, thoughts and calls up to a result are one message.

    A tool's result is text there: its images follow in a message of the user, each with the id
    of its call.
    """

    def __init__(self) -> None:
        self._messages: list[dict[str, Any]] = []
        self._images: list[Part] = []
        self._answer: dict[str, Any] | None = None

    def system(self, text: str) -> None:
        """Add an instruction."""
        self._end()
        self._messages.append({"role": "system", "content": text})

    def user(self, parts: list[Part]) -> None:
        """Add what the user says."""
        self._answer = None
        parts = [*self._images, *parts]
        self._images = []
        is_text = len(parts) == 1 and parts[0].get("type") == "text"
        self._messages.append({"role": "user", "content": parts[0]["text"] if is_text else parts})

    def result(self, call: str, text: str, images: list[Part]) -> None:
        """Add what a tool call gave."""
        self._answer = None
        self._messages.append({"role": "tool", "tool_call_id": call, "content": text})
        for image in images:
            self._images += [text_part(f"(an image in the result of tool call {call})"), image]

    def answer(self, text: str) -> None:
        """Add what the model said."""
        message = self._open()
        said = message["content"]
        if said is not None and "tool_calls" not in message:
            self._end()
            message, said = self._open(), None
        message["content"] = text if said is None else f"{said}\n\n{text}"

    def thought(self, text: str) -> None:
        """Add what the model thought."""
        message = self._open()
        before = message.get("reasoning_content")
        message["reasoning_content"] = text if before is None else f"{before}\n\n{text}"

    def call(self, call: str, name: str, arguments: str) -> None:
        """Add a tool call of the model."""
        function = {"name": name, "arguments": arguments}
        self._open().setdefault("tool_calls", []).append(
            {"id": call, "type": "function", "function": function}
        )

    def next_turn(self) -> None:
        """End the model's message: its next words are another."""
        self._answer = None

    def messages(self) -> list[dict[str, Any]]:
        """Give everything said; thoughts alone are no message."""
        self._end()
        return [
            message for message in self._messages if message["content"] is not None or "tool_calls" in message
        ]

    def _open(self) -> dict[str, Any]:
        if self._answer is None:
            self._end()
            self._answer = {"role": "assistant", "content": None}
            self._messages.append(self._answer)
        return self._answer

    def _end(self) -> None:
        self._answer = None
        if self._images:
            self.user([])
