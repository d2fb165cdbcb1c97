"""`--record` and `--replay`: a host whose calls are written to a file, or answered from one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llm_policy_host.clock import SystemClock, VirtualClock
from llm_policy_host.errors import UsageError
from llm_policy_host.providers.recording import Recorder
from llm_policy_host.providers.replaying import Replayer, read_recording
from llm_policy_host.wiring import Host

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from llm_policy_host.ports import Clock


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options, of which one excludes the other."""
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "--record", metavar="FILE", help="write each provider's answers, as they are, to a new file"
    )
    either.add_argument("--replay", metavar="FILE", help="answer from such a file; nobody is called")


def virtual_host(arguments: argparse.Namespace) -> Host:
    """Make the host of one command: a replay takes no time, nor does a run at `--now-ms`."""
    now_ms: int | None = arguments.now_ms
    if arguments.replay is not None:
        recording = read_recording(Path(arguments.replay))
        virtual = VirtualClock(recording.started_ms if now_ms is None else now_ms)
        return Host.from_config(arguments.config, clock=virtual, reel=Replayer(recording, virtual))
    if now_ms is None:
        return _recorded_host(arguments, SystemClock())
    return _recorded_host(arguments, VirtualClock(now_ms), _check_scripted)


def lasting_host(arguments: argparse.Namespace, warn: Callable[[str], None]) -> Host:
    """Make the host of a server: a replay goes at the pace of the recording, from its moment on."""
    if arguments.replay is None:
        return _recorded_host(arguments, SystemClock(), warn=warn)
    recording = read_recording(Path(arguments.replay))
    clock = SystemClock(recording.started_ms)
    return Host.from_config(arguments.config, clock=clock, reel=Replayer(recording, clock, warn))


def _recorded_host(
    arguments: argparse.Namespace,
    clock: Clock,
    check: Callable[[Host], None] = lambda _: None,
    warn: Callable[[str], None] = lambda _: None,
) -> Host:
    if arguments.record is None:
        host = Host.from_config(arguments.config, clock=clock)
        check(host)
        return host
    path = Path(arguments.record)
    recorder = Recorder(path, clock, warn)
    try:
        host = Host.from_config(arguments.config, clock=clock, reel=recorder)
        check(host)
    except BaseException:
        # nothing was recorded: the next try may have the file's name
        recorder.close()
        path.unlink()
        raise
    return host


def _check_scripted(host: Host) -> None:
    """Refuse time that costs nothing where a real server or a feed would be waited for."""
    for name in host.market.sources:
        raise UsageError(
            f"`--now-ms` is for scripted providers and `--replay`: the source `{name}` is polled"
        )
    for name, provider in (host.config.core.get("providers") or {}).items():
        kind = provider.get("api_kind") or "openai_compatible"
        if kind != "scripted" and name not in host.disabled:
            raise UsageError(f"`--now-ms` is for scripted providers and `--replay`: `{name}` speaks `{kind}`")
