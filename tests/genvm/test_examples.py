"""The examples beside the greybox script work as they stand, in both generations."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import yaml

from .backends import backend, model
from .values import Answer, Failure, Request
from .world import DISPATCH, GENERATIONS, Generation, World

DIRECTORY = DISPATCH.parent
FILES = {
    "router-overlay.lua": "router-overlay.example.lua",
    "greybox-policy.lua": "greybox-policy.example.lua",
}
PNG = b"\x89PNG\xff\x00"
NODES = [f"0x{i:02x}" for i in range(8)]


def backends(generation: Generation) -> dict[str, Any]:
    """Read the backends of a generation's example, with the defaults of what it leaves out."""
    told = yaml.safe_load((DIRECTORY / f"llm-module.v{generation}.example.yaml").read_text("utf-8"))[
        "backends"
    ]
    out = {}
    for name, row in told.items():
        models = {key: {**model(json=False), **each} for key, each in row["models"].items()}
        out[name] = {**backend(models), **{key: row[key] for key in row if key != "models"}}
    return out


def world(generation: Generation, files: tuple[str, ...], **more: Any) -> World:
    texts = {name: (DIRECTORY / FILES[name]).read_text("utf-8") for name in files}
    made = World(generation, backends(generation), files=texts, **more)
    assert made.load_error is None
    return made


CHOICES = [(), ("router-overlay.lua",), ("greybox-policy.lua",), tuple(FILES)]


@pytest.mark.parametrize(("generation", "files"), list(product(GENERATIONS, CHOICES)))
@pytest.mark.parametrize(
    "args", [{}, {"response_format": "json"}, {"images": [PNG]}], ids=["text", "json", "image"]
)
def test_every_call_is_answered(generation: Generation, files: tuple[str, ...], args: dict[str, Any]) -> None:
    made = world(generation, files)
    for node in NODES:
        with made.session(host_data={"node_address": node, "tx_id": "0x1"}) as session:
            assert made.exec_prompt(session, {"prompt": "hello", **args}).data


@pytest.mark.parametrize(("generation", "files"), list(product(GENERATIONS, CHOICES)))
@pytest.mark.parametrize("status", [None, 400, 401, 402, 408, 429, 503])
def test_every_failure_leads_to_the_next(
    generation: Generation, files: tuple[str, ...], status: int | None
) -> None:
    def script(request: Request) -> Any:
        return Failure(status) if request.provider == failing[0] else Answer("text")

    made = world(generation, files, script=script)
    failing = [""]
    failing[0] = made.ask().calls[0].provider
    outcome = made.ask()
    assert outcome.data == "text"
    assert outcome.calls[-1].provider != failing[0]


@pytest.mark.parametrize("generation", GENERATIONS)
def test_without_a_policy_the_chains_of_the_yaml_are_taken(generation: Generation) -> None:
    made = world(generation, ("router-overlay.lua",), script=lambda _request: Failure(503))
    assert made.ask().pairs == ["acme/small-1", "bravo/small-1", "bravo/eye-1"]
    assert made.ask(images=[PNG]).pairs == ["bravo/eye-1"]


@pytest.mark.parametrize("generation", GENERATIONS)
def test_validators_with_the_example_policy_differ_in_their_requests_alone(generation: Generation) -> None:
    prompts, pairs = [], set()
    for node in NODES:
        made = world(generation, tuple(FILES))
        with made.session(host_data={"node_address": node, "tx_id": "0x1"}) as session:
            outcome = made.exec_prompt(session, {"prompt": "hello", "images": [PNG]})
        prompts.append(outcome.calls[0].prompt)
        pairs |= set(outcome.pairs)
    assert len(pairs) == 1
    assert len({prompt["seed"] for prompt in prompts}) == len(NODES)
    assert len({prompt["temperature"] for prompt in prompts}) > 1
    assert len({prompt["images"][0] for prompt in prompts}) > 1
