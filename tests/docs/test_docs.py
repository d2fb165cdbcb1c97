"""The documentation is true: its code runs, its outputs are what is printed, its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest

from .pages import ROOT, Page, pages
from .running import Runner, check_data, matches

if TYPE_CHECKING:
    from pathlib import Path

PAGES = {page.name: page for page in pages()}
EVERY_PAGE = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)

# What each language's blocks may say; a block that says nothing is data, or stands in the list below.
WORDS = {
    "sh": ("run", "exit"),
    "python": ("run", "exit", "file"),
    "lua": ("run", "file"),
    "yaml": ("file", "refused"),
    "json": ("file",),
    "jsonl": ("file",),
    "toml": ("file",),
    "text": ("output",),
}
DATA = ("json", "yaml")

# Cog's own markers are what nested lists look like.
MARKERS = "--markers=<!--cog cog--> <!--end-->"

# These install from a package index, as `.ci/run` does from the README itself.
NOT_RUN = (
    'python3 -m venv .venv && .venv/bin/pip install -q ".[demo]" && .venv/bin/llm-policy demo\n',
    (
        'python3 -m venv .venv && .venv/bin/pip install -q -e ".[test,demo]"'
        " && .venv/bin/python -m pytest -n 2 --dist loadfile\n"
    ),
)


@EVERY_PAGE
def test_every_block_does_what_it_says(page: Page, tmp_path: Path) -> None:
    Runner(tmp_path).play(page)


@EVERY_PAGE
def test_every_block_is_run_or_checked(page: Page) -> None:
    for block in page.blocks:
        at = f"{page.name}:{block.line}"
        assert block.language in WORDS, f"{at}: nobody checks `{block.language}`"
        for word in block.words:
            assert word.partition("=")[0] in WORDS[block.language], f"{at}: nobody knows `{word}`"
        assert block.words or block.language in DATA or block.text in NOT_RUN, f"{at}: nobody runs this"
        check_data(block)


@EVERY_PAGE
def test_every_link_leads_somewhere(page: Page) -> None:
    for link in page.links:
        target, _, anchor = link.partition("#")
        path = (page.path.parent / target).resolve() if target else page.path
        assert "://" not in link, f"{page.name}: `{link}` leaves the repository"
        assert path.exists(), f"{page.name}: `{link}` leads nowhere"
        if anchor:
            assert anchor in PAGES[path.relative_to(ROOT).as_posix()].anchors, f"{page.name}: no `{link}`"


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), ["README.md"]
    while waiting:
        page = PAGES[waiting.pop()]
        reached.add(page.name)
        for link in page.links:
            path = (page.path.parent / link.partition("#")[0]).resolve()
            below = path.rglob("*.md") if path.is_dir() else [path]
            found = {each.relative_to(ROOT).as_posix() for each in below}
            waiting += (found & PAGES.keys()) - reached
    assert reached == PAGES.keys()


def test_every_file_that_a_page_names_exists() -> None:
    named = re.compile(r"`((?:lua|llm_policy_host|tests|docs|example_host)/[\w./-]*\w)/?`")
    for page in PAGES.values():
        for path in named.findall("\n".join(page.prose)):
            assert (ROOT / path).exists(), f"{page.name}: no `{path}`"


def test_the_tables_are_what_the_code_says() -> None:
    made = [page.name for page in PAGES.values() if "<!--cog\n" in page.path.read_text("utf-8")]
    assert made
    command = [sys.executable, "-m", "cogapp", "--check", "--verbosity=1", "-I", ".", MARKERS, *made]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    again = f"python -m cogapp -r -I . {MARKERS!r} {' '.join(made)}"
    assert done.returncode == 0, f"{done.stdout}{done.stderr}to write the tables anew: {again}"


def test_the_changelog_has_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert re.search(
        rf"^## {re.escape(version)}\b", (ROOT / "docs/CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )


def test_the_readme_has_its_two_commands_each_on_one_line() -> None:
    blocks = [block.text for block in PAGES["README.md"].blocks if block.language == "sh" and not block.words]
    assert blocks == list(NOT_RUN[:2])


def test_a_wildcard_stands_for_anything_and_the_rest_for_itself() -> None:
    assert matches("a ... c", "a b\nb c\n")
    assert matches("took ... ms", "took 12 ms")
    assert not matches("a ... c", "a b d")
    assert not matches("a.c", "abc")
