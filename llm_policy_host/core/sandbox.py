"""Operator Lua, run where it can do no harm: PUC Lua, bounded libraries, a process of its own.

The child gets no environment, may write no file, has bounds on memory and processor time,
and is killed when it takes too long.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_policy_host.errors import CoreError, HostError, MarshalError, SandboxError

from .marshal import decode
from .sources import host_source
from .vm import PUC_RUNTIMES, Vm, available_runtimes

if TYPE_CHECKING:
    from llm_policy_host.values import Plain


@dataclass(frozen=True, slots=True)
class Allowance:
    """What operator Lua may use."""

    instructions: int = 20_000_000
    memory_bytes: int = 64 * 1024 * 1024
    processor_s: int = 5
    wall_s: int = 20


DEFAULT_ALLOWANCE = Allowance()

_CHILD = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from llm_policy_host.core.sandbox import main
main()
"""


def evaluate(source: bytes, allowance: Allowance = DEFAULT_ALLOWANCE) -> Plain:
    """Evaluate a chunk that returns plain data, in this process."""
    runtimes = [name for name in PUC_RUNTIMES if name in available_runtimes()]
    if not runtimes:
        raise SandboxError("no PUC Lua is available here, and no other runs a config safely")
    vm = Vm(runtimes[0], max_memory=allowance.memory_bytes)
    try:
        run = vm.call(vm.load(host_source("sandbox.lua")), vm.kept, vm.face)
        ok, value = vm.call(run, source, allowance.instructions)
    except CoreError as error:
        raise SandboxError(str(error)) from None
    if not ok:
        raise SandboxError(decode(value))
    try:
        return vm.from_lua(value)
    except MarshalError as error:
        raise SandboxError(f"the config must return plain data: {error}") from None


def evaluate_in_child(source: bytes, allowance: Allowance = DEFAULT_ALLOWANCE) -> Plain:
    """Evaluate a chunk that returns plain data, in a process that dies with it."""
    command = [sys.executable, "-c", _CHILD, json.dumps(sys.path), json.dumps(_bounds(allowance))]
    try:
        child = subprocess.run(
            command, input=source, capture_output=True, env={}, timeout=allowance.wall_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise SandboxError(f"the config ran longer than {allowance.wall_s} s") from None
    try:
        answer = json.loads(child.stdout)
    except ValueError:
        raise SandboxError(f"the config's process ended with {child.returncode} and no answer") from None
    if "refused" in answer:
        raise SandboxError(answer["refused"])
    return answer["value"]


def _bounds(allowance: Allowance) -> list[int]:
    return [allowance.instructions, allowance.memory_bytes, allowance.processor_s, allowance.wall_s]


def main() -> None:
    """Be the child: evaluate standard input under the bounds given, answer on standard output."""
    allowance = Allowance(*json.loads(sys.argv[2]))
    source = sys.stdin.buffer.read()
    _limit(allowance)
    try:
        answer = {"value": evaluate(source, allowance)}
    except HostError as error:
        answer = {"refused": str(error)}
    sys.stdout.write(json.dumps(answer))


def _limit(allowance: Allowance) -> None:
    """Bound this process for good, where the system can."""
    try:
        import resource  # noqa: PLC0415 - absent on systems without POSIX limits
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CPU, (allowance.processor_s, allowance.processor_s))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Python and its libraries already have their memory; this bounds what comes on top
    wanted = 1024 * 1024 * 1024 + allowance.memory_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(
        resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
    )
