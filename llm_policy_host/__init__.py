"""A host for policies that choose which model answers a call."""

from .errors import ConfigError, HostError, MarshalError, UsageError
from .values import Contract, Failure, Ranking, Response, Result, StreamChunk, Usage
from .wiring import Host

__all__ = [
    "ConfigError",
    "Contract",
    "Failure",
    "Host",
    "HostError",
    "MarshalError",
    "Ranking",
    "Response",
    "Result",
    "StreamChunk",
    "Usage",
    "UsageError",
]
