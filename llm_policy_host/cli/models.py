"""The demo's model on this machine: what is there, and getting it there."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llm_policy_host.config.environment import environment
from llm_policy_host.localmodel import (
    SMOLLM2,
    Bar,
    LocalModel,
    ModelUnavailable,
    cache_directory,
    cached,
    check_server,
    obtain,
)

from .output import warn

if TYPE_CHECKING:
    from collections.abc import Iterator


def find_model_files() -> dict[str, str]:
    """Say whether the demo's model and its server are on this machine."""
    cache = cache_directory(environment())
    found = cached(cache)
    try:
        check_server()
    except ModelUnavailable as error:
        server = str(error)
    else:
        server = "installed"
    return {
        "model": f"{SMOLLM2.name} at {found}" if found else f"{SMOLLM2.name} not fetched yet (cache {cache})",
        "model_server": server,
    }


@contextmanager
def local_model() -> Iterator[LocalModel | None]:
    """Give a running model, fetched on first use; None, said aloud, where there can be none."""
    given = environment()
    try:
        check_server()
        file = obtain(cache_directory(given), given, Bar(SMOLLM2.name, sys.stderr))
        model = LocalModel.start(file)
    except ModelUnavailable as error:
        warn(f"no local model: {error}")
        warn("scripted answers stand in for it")
        yield None
        return
    with model:
        yield model
