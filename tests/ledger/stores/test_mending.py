"""A SQLite file that lost its end: what is good of its chain is found, what was lost is said to be."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from llm_policy_host.errors import LedgerError
from llm_policy_host.ledger.verify import verify
from llm_policy_host.store.salvage import is_cut, salvage
from llm_policy_host.store.sqlite import SCHEMA, open_sqlite
from tests.ledger.drafts import draft, whole_run

from .places import Place

if TYPE_CHECKING:
    from llm_policy_host.ledger.log import Log

FRAME = 24 + 4096


def fill(log: Log, first: int, last: int) -> None:
    for number in range(first, last + 1):
        for each in whole_run(number, idem=f"{number:064x}"):
            log.append(each)


def opened_after(cut: Path) -> list[bytes]:
    """Open what was cut, as a host does; hold it to the chain's rules, and write on."""
    place = Place(str(cut), cut.parent / "archive")
    lines = place.lines_and_one_more()
    assert verify(lines).fault is None
    return lines


def whole_lines(lines: list[bytes], data: bytes, cut: int) -> tuple[int, int]:
    """Count the first lines that must still be there, and those that may: a file holds stale copies too."""
    least = next(
        (place for place, line in enumerate(lines) if data.rfind(line) + len(line) > cut), len(lines)
    )
    most = next((place for place, line in enumerate(lines) if line not in data[:cut]), len(lines))
    return least, most


def test_pages_that_another_process_is_moving_are_not_lost(file_place: Place, tmp_path: Path) -> None:
    """The first page, which tells the file's size, is moved; one who reads holds the others up."""
    path = tmp_path / "copy.db"
    with file_place.log() as log, closing(sqlite3.connect(path)) as reader:
        fill(log, 0, 0)
        list(log.store.lines())
        for suffix in ("", "-wal"):
            shutil.copy(f"{file_place.where}{suffix}", f"{path}{suffix}")
        reader.execute("BEGIN")
        assert reader.execute("SELECT max(seq) FROM event").fetchone() == (5,)
        with closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA wal_autocheckpoint=0")
            other.execute("CREATE TABLE more(data)")
            other.execute("INSERT INTO more VALUES (zeroblob(100000))")
            other.commit()
            header = first_page(Path(f"{path}-wal").read_bytes())
        with path.open("rb+") as file:
            file.write(header)
        assert not is_cut(path, busy_s=0.0)
        assert path.stat().st_size < 100_000


def first_page(journal: bytes) -> bytes:
    """Give the newest first page of a journal."""
    frames = [journal[at : at + FRAME] for at in range(32, len(journal), FRAME)]
    return [frame[24:] for frame in frames if int.from_bytes(frame[:4], "big") == 1][-1]


def test_a_mended_file_and_what_is_kept_of_the_old_one_are_synced_by_name(
    file_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with file_place.log() as log:
        fill(log, 0, 20)
    path = Path(file_place.where)
    os.truncate(path, path.stat().st_size - 4096)
    synced: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda file: synced.append(Path(f"/proc/self/fd/{file}").readlink().name)
    )
    salvage(path, SCHEMA)
    assert synced == ["ledger.db.torn-1", "ledger.db.mending", path.parent.name, path.parent.name]


@pytest.mark.parametrize("step", [31, pytest.param(1, marks=pytest.mark.heavy)])
def test_a_file_cut_at_any_byte_of_its_end_keeps_every_line_that_it_holds_up_to_the_first_lost(
    file_place: Place, tmp_path: Path, step: int
) -> None:
    for first in range(0, 40, 10):
        with file_place.log() as log:
            log.blob(f"a policy {first}".encode() * 40)
            fill(log, first, first + 9)
    data, lines = Path(file_place.where).read_bytes(), file_place.lines()
    assert len(lines) == 200
    losses, is_exact = set(), []
    size = len(data)
    for cut in [
        *range(size - 40, size + 1),
        *range(size - 4096, size - 40, step),
        *range(size // 3, size - 4096, 1021),
    ]:
        folder = tmp_path / "cut"
        folder.mkdir()
        path = folder / "ledger.db"
        path.write_bytes(data[:cut])
        kept = opened_after(path)
        assert kept == lines[: len(kept)]
        least, most = whole_lines(lines, data, cut)
        assert least <= len(kept) <= most, cut
        is_exact.append(least == most)
        is_mended = cut < len(data)
        assert (folder / "ledger.db.torn-1").exists() == is_mended
        losses.add(len(lines) - len(kept))
        shutil.rmtree(folder)
    assert {0} < losses
    assert max(losses) > 100
    assert sum(is_exact) > len(is_exact) / 2


def test_a_journal_cut_at_any_byte_of_its_end_loses_whole_groups_and_no_more(
    file_place: Place, tmp_path: Path
) -> None:
    with file_place.log() as log:
        ends = [0]
        for number in range(12):
            fill(log, number, number)
            ends.append(len(list(log.store.lines())))
        main, journal = (Path(f"{file_place.where}{suffix}").read_bytes() for suffix in ("", "-wal"))
        lines = list(log.store.lines())
    last = len(journal) - FRAME
    found = []
    for cut in [
        *range(len(journal) // 4, last, 2003),
        *range(last, last + 30),
        *range(len(journal) - 30, len(journal) + 1),
    ]:
        folder = tmp_path / "cut"
        folder.mkdir()
        (folder / "ledger.db").write_bytes(main)
        (folder / "ledger.db-wal").write_bytes(journal[:cut])
        kept = opened_after(folder / "ledger.db")
        assert kept == lines[: len(kept)]
        assert len(kept) in ends, cut
        found.append(len(kept))
        shutil.rmtree(folder)
    assert found == sorted(found)
    assert found[0] < found[-2] < found[-1] == len(lines)


def test_a_death_while_the_journal_moves_to_the_file_needs_no_mending(
    file_place: Place, tmp_path: Path
) -> None:
    with file_place.log() as log:
        fill(log, 1, 12)
        lines = list(log.store.lines())
        journal = Path(f"{file_place.where}-wal").read_bytes()
        unmoved = Path(file_place.where).stat().st_size
    main = Path(file_place.where).read_bytes()
    assert unmoved < len(main)
    for cut in range(unmoved, len(main) + 1, 1024):
        folder = tmp_path / "cut"
        folder.mkdir()
        (folder / "ledger.db").write_bytes(main[:cut])
        (folder / "ledger.db-wal").write_bytes(journal)
        assert opened_after(folder / "ledger.db") == lines
        assert not list(folder.glob("*.torn-*"))
        shutil.rmtree(folder)


def test_a_file_that_lost_its_end_beside_a_journal_is_mended_with_it(
    file_place: Place, tmp_path: Path
) -> None:
    with file_place.log() as log:
        fill(log, 1, 40)
    with file_place.log() as log:
        fill(log, 41, 41)
        lines = list(log.store.lines())
        main, journal = (Path(f"{file_place.where}{suffix}").read_bytes() for suffix in ("", "-wal"))
    folder = tmp_path / "cut"
    folder.mkdir()
    (folder / "ledger.db").write_bytes(main[: len(main) // 2])
    (folder / "ledger.db-wal").write_bytes(journal)
    kept = opened_after(folder / "ledger.db")
    assert kept == lines[: len(kept)]
    assert 50 < len(kept) < 200
    assert (folder / "ledger.db.torn-1").exists()


def test_what_cannot_be_mended_is_left_as_it_is(file_place: Place) -> None:
    with file_place.log() as log:
        fill(log, 1, 9)
    path = Path(file_place.where)
    data = path.read_bytes()
    path.write_bytes(data[:4096])
    with pytest.raises(LedgerError, match=r"no event in it can be read; see `.*ledger\.db\.torn-1`"):
        file_place.open()
    assert path.read_bytes() == data[:4096]
    path.write_bytes(data[:60])
    with pytest.raises(LedgerError, match=r"malformed|not a database"):
        file_place.open()


def test_only_who_writes_alone_mends(file_place: Place) -> None:
    with file_place.log() as log:
        fill(log, 1, 9)
    path = Path(file_place.where)
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(LedgerError, match="its end is missing; open it once with the mode `exclusive`"):
        file_place.open("shared")
    file_place.open().close()
    file_place.open("shared").close()


def test_mending_believes_no_line_that_was_changed(file_place: Place) -> None:
    with file_place.log() as log:
        fill(log, 1, 30)
    path = Path(file_place.where)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(
            "UPDATE event SET line = CAST(replace(line, 'small-1', 'large-9') AS BLOB) WHERE seq = 48"
        )
    os.truncate(path, path.stat().st_size - 1)
    with file_place.opened() as store:
        assert len(list(store.lines())) == 47


def test_a_mended_ledger_keeps_its_archive_and_what_it_follows(file_place: Place) -> None:
    with file_place.log() as log:
        fill(log, 1, 30)
    with file_place.opened() as store:
        store.archive(20)
    before = file_place.lines()
    path = Path(file_place.where)
    os.truncate(path, path.stat().st_size - 1)
    with file_place.opened() as store:
        assert store.segments()[0].last_seq == 20
        after = list(store.lines())
    assert len(after) > 20
    assert after == before[: len(after)]


def test_another_file_or_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    path.write_text("these are notes, and no database of any kind; " * 9)
    with pytest.raises(LedgerError, match="file is not a database"):
        open_sqlite(path)
    path.unlink()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE notes(text)")
    other.close()
    with pytest.raises(LedgerError, match="is a database, but not a ledger"):
        open_sqlite(path)
    path.unlink()
    open_sqlite(path).close()
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version=9")
    other.close()
    with pytest.raises(LedgerError, match="has the version 9; this program reads 1"):
        open_sqlite(path)


def test_only_the_owner_can_read_the_ledger(file_place: Place) -> None:
    with file_place.opened() as store:
        store.put((1, None, "BackgroundFault", "local", None, b'{"hash":"x"}'))
        store.archive(1)
        path = Path(file_place.where)
        made = [*path.parent.glob("ledger.db*"), *file_place.archive.iterdir()]
        assert len(made) >= 4
        assert {each.name: oct(each.stat().st_mode & 0o077) for each in made} == {
            each.name: "0o0" for each in made
        }


def test_the_log_cuts_lines_that_were_torn(file_place: Place) -> None:
    with file_place.log() as log:
        fill(log, 1, 2)
    with sqlite3.connect(file_place.where) as other:
        other.execute("UPDATE event SET line = substr(line, 1, 100) WHERE seq = 10")
    other.close()
    with file_place.log() as log:
        assert log.chain.seq >= 9
        log.append(draft("BackgroundFault"))
    assert file_place.verdict().fault is None
