"""The log by itself: what it gives back, what it refuses, and what damage to its file does."""

import random
import shutil
import sqlite3
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench.errors import SettingError, StoreDamaged, VectorError
from workbench.vectors.log import CREATE, DELETE, DROP, EMPTY, UPSERT, Entry, Log, Totals

DIMENSION = 3


def upsert(lsn, versions, namespace="", seed=0):
    values = np.random.default_rng([seed, lsn]).normal(size=(len(versions), DIMENSION)).astype(np.float32)
    metadata = [b'{"n":%d,"text":"\xc3\xa9 [,]"}' % version for version in versions]
    return Entry(lsn, namespace, UPSERT, [f"r{v}" for v in versions], np.array(versions, np.int64), values, metadata)


ENTRIES = [
    upsert(1, [1, 2, 3]),
    Entry(2, "", DELETE, ["r1", "r3"]),
    upsert(3, [4], "other"),
    Entry(4, "new", CREATE),
    Entry(5, "new", DROP),
    upsert(6, [], "other"),
    Entry(7, "other", EMPTY),
]


def plain(entry):
    """An entry as something that compares."""
    return (
        entry.lsn,
        entry.namespace,
        entry.kind,
        list(entry.ids),
        entry.versions.tolist(),
        entry.vectors.reshape(-1, DIMENSION).tolist(),
        [bytes(each) for each in entry.metadata],
    )


def opened(path, dimension=DIMENSION, sync="off"):
    return Log(path, dimension=dimension, sync=sync)


def contents(path):
    log = opened(path)
    try:
        return [plain(entry) for entry in log.replay()], log.totals
    finally:
        log.close()


@pytest.fixture
def path(tmp_path):
    log = opened(tmp_path / "log.sqlite")
    for entry in ENTRIES:
        log.append(entry)
    log.close()
    return tmp_path / "log.sqlite"


@pytest.mark.parametrize("sync", ["full", "normal", "off"])
def test_what_was_appended_is_replayed_in_order(tmp_path, sync):
    log = opened(tmp_path / "log.sqlite", sync=sync)
    for entry in ENTRIES:
        log.append(entry)
    assert [plain(entry) for entry in log.replay()] == [plain(entry) for entry in ENTRIES]
    assert log.totals[0] == 7 and log.totals[2:] == (7, 4)
    assert log._database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert log._database.execute("PRAGMA synchronous").fetchone()[0] == {"off": 0, "normal": 1, "full": 2}[sync]
    log.close()
    replayed, totals = contents(tmp_path / "log.sqlite")
    assert replayed == [plain(entry) for entry in ENTRIES] and totals == log.totals
    assert not (tmp_path / "log.sqlite-wal").exists()  # all in one file again


def test_a_new_log_is_empty(tmp_path):
    assert contents(tmp_path / "log.sqlite") == ([], Totals(0, 0, 0, 0))


def test_entries_between_two_numbers(path):
    log = opened(path)
    assert [entry.lsn for entry in log.between(2, 6, 3)] == [2, 3, 4]
    assert plain(log.between(3, 3, 9)[0]) == plain(ENTRIES[2])
    assert log.between(8, 99, 9) == []
    log.close()


def test_a_rewrite_is_whole_and_the_totals_follow(path):
    log = opened(path)
    log.rewrite([1, 2, 7], [upsert(7, [2])])
    assert [entry.lsn for entry in log.replay()] == [3, 4, 5, 6, 7]
    assert log.totals[0] == 5 and log.totals[2:] == (7, 4)
    log.close()
    assert contents(path)[1] == log.totals


def test_a_rewrite_that_fails_changes_nothing(path):
    log, before = opened(path), contents_of(path)
    with pytest.raises(StoreDamaged):
        log.rewrite([1], [upsert(2, [9])])  # 2 is taken
    assert [plain(entry) for entry in log.replay()] == before
    log.append(upsert(8, [5]))
    log.close()
    assert contents(path)[0] == [*before, plain(upsert(8, [5]))]


def contents_of(path):
    copy = path.with_name("copy.sqlite")
    shutil.copy(path, copy)
    return contents(copy)[0]


@pytest.mark.parametrize("statement", ["BEGIN IMMEDIATE", "INSERT", "UPDATE", "COMMIT"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupt_anywhere_in_a_write_leaves_a_log_that_opens(path, statement, when):
    class Interrupting:
        """A connection on which Ctrl-C comes just before or after one statement, once."""

        def __init__(self, database):
            self.database, self.armed = database, True

        def __getattr__(self, name):
            return getattr(self.database, name)

        def execute(self, text, *rest):
            hit = self.armed and text.startswith(statement)
            self.armed = self.armed and not hit
            if hit and when == "before":
                raise KeyboardInterrupt
            result = self.database.execute(text, *rest)
            if hit:
                raise KeyboardInterrupt
            return result

    log = opened(path)
    log._database = Interrupting(log._database)
    with pytest.raises(KeyboardInterrupt):
        log.append(upsert(8, [5]))
    there = statement == "COMMIT" and when == "after"
    assert log.totals[0] == 7 + there
    log.append(upsert(9, [6]))
    log.close()
    expected = [*ENTRIES, *([upsert(8, [5])] if there else []), upsert(9, [6])]
    assert contents(path) == ([plain(entry) for entry in expected], log.totals)


def test_the_highest_numbers_stay_when_their_entries_go(path):
    """A version that was given twice would let a graph on disk, built from the first record, pass for the second's."""
    log = opened(path)
    log.rewrite([3, 7], [])
    log.close()
    assert contents(path)[1][2:] == (7, 4)
    log = opened(path)
    log.rewrite([1, 2, 4, 5, 6], [])
    log.close()
    assert contents(path) == ([], Totals(0, 0, 7, 4))


def test_pages_that_are_free_go_back_to_the_file_system(tmp_path):
    log = opened(tmp_path / "log.sqlite")
    for lsn in range(1, 40):
        log.append(
            Entry(lsn, "", UPSERT, ["x"], np.array([lsn]), np.ones((1, DIMENSION), np.float32), [b'"%s"' % (b"x" * 200_000)])
        )
    log.rewrite(range(1, 39), [])
    while log.shrink():
        pass
    log.close()
    assert log.size() < 300_000
    assert [entry[0] for entry in contents(tmp_path / "log.sqlite")[0]] == [39]


# What is refused


def test_an_unknown_sync_policy(tmp_path):
    with pytest.raises(SettingError, match="one of full, normal, off"):
        opened(tmp_path / "log.sqlite", sync="sometimes")


def test_another_dimension(path):
    with pytest.raises(StoreDamaged, match="holds vectors of dimension 3, not 4"):
        opened(path, dimension=4)
    assert len(contents(path)[0]) == 7


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE totals SET format = 2", "format 2: this version of the workbench reads 1"),
        ("UPDATE totals SET lsn = 3", "totals are not what was written"),
        ("UPDATE totals SET version = 1", "totals are not what was written"),
        ("DELETE FROM totals", "tables are not those"),
        ("INSERT INTO totals SELECT * FROM totals", "tables are not those"),
        ("DROP TABLE totals", "no such table: totals"),
        ("DROP TABLE log", "tables are not those"),
        ("ALTER TABLE log RENAME COLUMN checksum TO check_sum", "tables are not those"),
        ("CREATE TABLE more (x)", "tables are not those"),
        ("DELETE FROM log WHERE lsn = 3", "6 entries are left of 7"),
        ("UPDATE log SET namespace = 'another' WHERE lsn = 3", "entry 3 is not what was written"),
        ("UPDATE log SET ids = CAST(ids AS TEXT) WHERE lsn = 1", "entry 1 is not what was written"),
        ("UPDATE log SET namespace = CAST(x'ff' AS TEXT) WHERE lsn = 3", "damaged"),
        ("UPDATE log SET kind = 2 WHERE lsn = 2", "entry 2 is not what was written"),
        ("UPDATE log SET lsn = 30 WHERE lsn = 3", "entry 30 is not what was written"),
        ("UPDATE log SET vectors = zeroblob(length(vectors)) WHERE lsn = 1", "entry 1 is not what was written"),
        ("UPDATE log SET ids = metadata, metadata = ids WHERE lsn = 1", "entry 1 is not what was written"),
    ],
)
def test_a_changed_file_is_refused_in_one_line(path, statement, says):
    with sqlite3.connect(path) as database:
        database.execute(statement)
    database.close()
    with pytest.raises(StoreDamaged, match=says) as refused:
        contents(path)
    assert "\n" not in str(refused.value) and str(path) in str(refused.value)


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4080, b"xy"])
def test_a_file_of_something_else(tmp_path, content):
    (tmp_path / "log.sqlite").write_bytes(content)
    with pytest.raises(StoreDamaged, match="damaged or no vector log"):
        opened(tmp_path / "log.sqlite")
    assert (tmp_path / "log.sqlite").read_bytes() == content


def test_another_database(tmp_path):
    with sqlite3.connect(tmp_path / "log.sqlite") as database:
        database.execute("CREATE TABLE totals (format)")
    database.close()
    with pytest.raises(StoreDamaged, match="tables are not those"):
        opened(tmp_path / "log.sqlite")


def test_a_second_connection(path):
    log = opened(path)
    log.append(upsert(8, [5]))
    with pytest.raises(VectorError, match="in use by another process") as refused:
        opened(path)
    assert refused.value.status == 409
    log.close()


def test_an_operation_that_is_too_large_for_the_file(path):
    log = opened(path)
    log._database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1_000)
    with pytest.raises(VectorError, match="divide it") as refused:
        log.append(upsert(8, list(range(5, 205))))
    assert refused.value.status == 413
    log.append(upsert(8, [5]))
    log.close()
    assert len(contents(path)[0]) == 8


# Damage


@pytest.fixture(scope="module")
def damageable(tmp_path_factory):
    """A log with pages of every sort: inner and leaf ones, overflow, free ones; with what it holds."""
    path = tmp_path_factory.mktemp("damage") / "log.sqlite"
    log = opened(path)
    for lsn in range(1, 120):
        log.append(upsert(lsn, list(range(lsn * 100, lsn * 100 + (60 if lsn % 10 == 0 else 3)))))
    log.append(Entry(120, "", DELETE, [f"r{n}" for n in range(50)]))
    log.rewrite(range(30, 60), [])
    log.close()
    return path.read_bytes(), contents(path)


def outcome(path):
    """What a log holds, and holds after one more write and another opening; None if it is refused."""
    try:
        log = opened(path)
    except VectorError as error:  # also a header that says that the file may not be written
        assert "\n" not in str(error)
        return None
    try:
        try:
            found, totals = [plain(entry) for entry in log.replay()], log.totals
            log.append(upsert(1_000, [50_000]))
            while log.shrink():
                pass
        finally:
            log.close()
    except StoreDamaged as error:
        assert "\n" not in str(error)
        return None
    assert contents(path)[0] == [*found, plain(upsert(1_000, [50_000]))]
    return found, totals


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(1, 255))
def test_one_damaged_byte_is_noticed_or_does_not_matter(damageable, tmp_path, place, value):
    whole, expected = damageable
    damaged = bytearray(whole)
    damaged[int(place * len(whole))] ^= value
    check_damaged(damaged, expected, tmp_path)


@pytest.mark.parametrize("part", range(4))
def test_each_damaged_byte_of_the_header_and_the_schema(damageable, tmp_path, part):
    """The bytes of the first page that are used, which random places seldom hit."""
    whole, expected = damageable
    page = struct.unpack(">H", whole[16:18])[0]
    used = [*range(120), *range(page - 700, page)]
    for at in used[part::4]:
        damaged = bytearray(whole)
        damaged[at] ^= random.Random(at).choice([1, 2, 3, 4, 0x10, 0x20, 0x80, 0xFF])
        check_damaged(damaged, expected, tmp_path, f"byte {at}")


def check_damaged(damaged, expected, tmp_path, what=""):
    path = tmp_path / "log.sqlite"
    for leftover in tmp_path.glob("log.sqlite*"):
        leftover.unlink()
    path.write_bytes(damaged)
    assert outcome(path) in (None, expected), what


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_short(damageable, tmp_path, share):
    whole, _ = damageable
    path = tmp_path / "log.sqlite"
    path.write_bytes(whole[: int(share * len(whole))])
    if share:
        with pytest.raises(StoreDamaged):
            contents(path)
    else:
        assert contents(path)[0] == []  # nothing at all is a new log: as when a process was killed before it wrote any of it


# A torn tail


@pytest.fixture(scope="module")
def torn(tmp_path_factory):
    """The files of a log that was not closed, and after which size of the WAL each of its entries was there."""
    path = tmp_path_factory.mktemp("torn") / "log.sqlite"
    log, wal, ends = opened(path), path.with_name("log.sqlite-wal"), []
    start = wal.stat().st_size
    for lsn in range(1, 25):
        log.append(upsert(lsn, list(range(lsn * 100, lsn * 100 + 1 + (lsn % 5) * 60))))
        ends.append(wal.stat().st_size)
    files = path.read_bytes(), wal.read_bytes()
    log.close()
    return *files, start, ends


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_torn_tail_leaves_exactly_the_operations_before_it(torn, tmp_path, data):
    main, wal, start, ends = torn
    cut = data.draw(
        st.integers(start, len(wal)) | st.sampled_from([start, *ends]) | st.sampled_from(ends).map(lambda end: end - 1)
    )
    for leftover in tmp_path.glob("log.sqlite*"):
        leftover.unlink()
    (tmp_path / "log.sqlite").write_bytes(main)
    (tmp_path / "log.sqlite-wal").write_bytes(wal[:cut])
    whole = sum(end <= cut for end in ends)
    found, totals = contents(tmp_path / "log.sqlite")
    assert [entry[0] for entry in found] == list(range(1, whole + 1))
    assert totals.lsn == whole
    assert contents(tmp_path / "log.sqlite")[0] == found
