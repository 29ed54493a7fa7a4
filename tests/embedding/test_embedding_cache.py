"""The cache: what it asks for, what it keeps, what it shares, and what it refuses to give."""

import logging
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.embedding.cache import CachedEmbedder
from workbench.errors import ModelError, ServiceError, SettingError

from .letters import LetterEmbedder

ROOT = Path(__file__).parents[2]


def test_one_call_for_all_that_is_lacking_and_each_text_once(letters):
    cache = CachedEmbedder(letters)
    cache.embed(["b"])
    rows = cache.embed(["a", "b", "c", "a", "b", "c"])
    assert letters.calls == [["b"], ["a", "c"]]
    np.testing.assert_array_equal(rows, LetterEmbedder().embed(["a", "b", "c", "a", "b", "c"]))
    assert (cache.hits, cache.misses) == (4, 3)


@given(st.lists(st.lists(st.text("abcdef", min_size=1, max_size=1), max_size=8), max_size=12), st.integers(1, 8))
def test_gives_what_the_embedder_gives_whatever_was_asked_before(batches, capacity):
    cache = CachedEmbedder(LetterEmbedder(), capacity=capacity)
    for batch in batches:
        np.testing.assert_array_equal(cache.embed(batch), LetterEmbedder().embed(batch))
    assert cache.hits + cache.misses == sum(map(len, batches))
    assert cache.misses == sum(map(len, cache.embedder.calls))


def test_the_least_recently_used_leaves_first(letters):
    cache = CachedEmbedder(letters, capacity=2)
    for text in ["a", "b", "a", "c"]:  # c pushes b out: a was used since
        cache.embed([text])
    assert cache.lookup(["a", "c"]) is not None
    assert cache.lookup(["b"]) is None


def test_a_batch_may_be_larger_than_the_memory(letters):
    cache = CachedEmbedder(letters, capacity=2)
    assert cache.embed(list("abcdef")).shape == (6, 2)
    assert len(letters.calls) == 1


def test_lookup_counts_only_what_it_gives(letters):
    cache = CachedEmbedder(letters)
    assert cache.lookup(["a"]) is None and (cache.hits, cache.misses) == (0, 0)
    cache.embed(["a"])
    np.testing.assert_array_equal(cache.lookup(["a"]), LetterEmbedder().embed(["a"]))
    assert (cache.hits, cache.misses) == (1, 1)


def test_a_text_in_flight_is_waited_for_not_asked_for_again(letters):
    started, go_on = threading.Event(), threading.Event()
    plain = letters.embed

    def slow(texts):
        started.set()
        assert go_on.wait(10)
        return plain(texts)

    letters.embed = slow
    cache = CachedEmbedder(letters)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.embed, ["a", "b"])
        assert started.wait(10)
        second = pool.submit(cache.embed, ["b"])
        go_on.set()
        np.testing.assert_array_equal(second.result(10)[0], first.result(10)[1])
    assert letters.calls == [["a", "b"]]


def test_threads_agree(letters):
    cache = CachedEmbedder(letters, capacity=5)
    batches = [[chr(97 + (start * step) % 26) for step in range(1, 9)] for start in range(200)]
    with ThreadPoolExecutor(8) as pool:
        for batch, rows in zip(batches, pool.map(cache.embed, batches), strict=True):
            np.testing.assert_array_equal(rows, LetterEmbedder().embed(batch))
    assert cache.hits + cache.misses == 1600


def test_after_a_failure_the_texts_can_be_asked_for_again(letters):
    cache = CachedEmbedder(letters)
    plain, letters.embed = letters.embed, lambda texts: (_ for _ in ()).throw(ServiceError("down"))
    with pytest.raises(ServiceError, match="down"):
        cache.embed(["a"])
    letters.embed = plain
    assert cache.embed(["a"]).shape == (1, 2)
    assert (cache.hits, cache.misses) == (0, 1)


def test_an_answer_of_the_wrong_shape_is_refused(letters):
    letters.dimension = 3
    cache = CachedEmbedder(letters)
    letters.dimension = 2
    with pytest.raises(ModelError, match=r"letters-1 gave shape \(1, 2\) for 1 texts of dimension 3"):
        cache.embed(["a"])


@pytest.mark.parametrize(("texts", "error"), [("Milk", TypeError), (["a", 7], TypeError), ([""], ValueError)])
def test_what_is_no_text_is_refused(letters, texts, error):
    with pytest.raises(error):
        CachedEmbedder(letters).embed(texts)


def test_settings_are_checked(letters, tmp_path):
    with pytest.raises(SettingError, match="capacity = 0 is not allowed: at least 1 text"):
        CachedEmbedder(letters, capacity=0)
    with pytest.raises(SettingError, match="batch = 0"):
        CachedEmbedder(letters).warm(["a"], batch=0)
    with pytest.raises(SettingError, match="a file that can be created and written"):
        CachedEmbedder(letters, path=tmp_path)  # a directory


def test_a_file_outlives_the_cache(letters, tmp_path):
    path = tmp_path / "new" / "cache.sqlite"
    with CachedEmbedder(letters, path=path) as cache:
        assert not cache.stored
        cache.embed(["a", "b"])
        assert cache.stored
    later = LetterEmbedder()
    with CachedEmbedder(later, path=path) as cache:
        assert cache.stored
        np.testing.assert_array_equal(cache.embed(["b", "a"]), LetterEmbedder().embed(["b", "a"]))
        assert (cache.hits, cache.misses) == (2, 0)
    assert later.calls == []


@pytest.mark.parametrize(("model", "dimension"), [("letters-2", 2), ("letters-1", 3)])
def test_another_models_vectors_are_never_given(letters, tmp_path, model, dimension):
    with CachedEmbedder(letters, path=tmp_path / "c") as cache:
        cache.embed(["a"])
    other = LetterEmbedder(model, dimension)
    with CachedEmbedder(other, path=tmp_path / "c") as cache:
        assert not cache.stored
        assert cache.embed(["a"]).shape == (1, dimension)
    assert other.calls == [["a"]]
    with CachedEmbedder(LetterEmbedder(), path=tmp_path / "c") as cache:  # and both stay
        cache.embed(["a"])
        assert cache.hits == 1


def test_an_interrupted_warm_up_goes_on_where_it_was(letters, tmp_path):
    plain = letters.embed

    def interrupted(texts):
        if len(letters.calls) == 2:
            raise KeyboardInterrupt
        return plain(texts)

    letters.embed = interrupted
    texts = [*"abcdefgh", "a"]
    with CachedEmbedder(letters, path=tmp_path / "c") as cache, pytest.raises(KeyboardInterrupt):
        cache.warm(texts, batch=2)
    later = LetterEmbedder()
    with CachedEmbedder(later, path=tmp_path / "c") as cache:
        assert cache.warm(texts, batch=3) == 4
        assert later.calls == [["e", "f", "g"], ["h"]]
        assert (cache.hits, cache.misses) == (0, 0)
        assert cache.warm(texts) == 0


_FILL = """
import sys
sys.path[:0] = [{root!r}, {root!r} + '/tests']
from pathlib import Path
from embedding.letters import LetterEmbedder
from workbench.embedding.cache import CachedEmbedder
with CachedEmbedder(LetterEmbedder(), path=Path(sys.argv[1])) as cache:
    for number in range(200):
        cache.embed([f"{{sys.argv[2]}}{{number}}", f"shared{{number}}"])
"""


def test_processes_share_a_file(tmp_path, caplog):
    path = tmp_path / "c"
    code = _FILL.format(root=str(ROOT))
    command = [sys.executable, "-W", "error", "-c", code, str(path)]
    running = [subprocess.Popen([*command, name], stderr=subprocess.PIPE) for name in "xyz"]
    for process in running:
        assert process.communicate(timeout=60) == (None, b"") and process.returncode == 0
    with CachedEmbedder(LetterEmbedder(), path=path) as cache:
        cache.embed([f"{name}{number}" for name in ["x", "y", "z", "shared"] for number in range(200)])
        assert (cache.hits, cache.misses) == (800, 0)
    assert caplog.records == [] and list(tmp_path.glob("*damaged*")) == []


def _filled(path: Path, count: int = 500) -> None:
    with CachedEmbedder(LetterEmbedder(), path=path) as cache:
        cache.embed([f"{number}" for number in range(count)])


def _text(path: Path) -> None:
    path.write_text("this is no database\n")


def _noise(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 64)


def _cut(path: Path) -> None:
    _filled(path)
    path.write_bytes(path.read_bytes()[:9000])


def _scrambled(path: Path) -> None:
    _filled(path)
    contents = path.read_bytes()
    path.write_bytes(contents[:4096] + b"\xa5" * (len(contents) - 4096))


def _foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE customers (name TEXT)")
    connection.close()


@pytest.mark.parametrize("spoil", [_text, _noise, _cut, _scrambled, _foreign])
def test_a_file_that_cannot_be_used_is_set_aside_and_kept(tmp_path, caplog, spoil):
    path = tmp_path / "c"
    spoil(path)
    spoilt = path.read_bytes()
    with CachedEmbedder(LetterEmbedder(), path=path) as cache:
        np.testing.assert_array_equal(cache.embed(["a", "1"]), LetterEmbedder().embed(["a", "1"]))
    [record] = caplog.records
    assert record.levelno == logging.WARNING and "was not usable" in record.message and "\n" not in record.message
    assert (tmp_path / "c.damaged-1").read_bytes() == spoilt
    with CachedEmbedder(LetterEmbedder(), path=path) as cache:  # the new file serves
        cache.embed(["a", "1"])
        assert cache.hits == 2
    assert len(caplog.records) == 1


def test_a_second_damage_does_not_overwrite_the_first(tmp_path, caplog):
    for _ in range(2):
        _text(tmp_path / "c")
        CachedEmbedder(LetterEmbedder(), path=tmp_path / "c").close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "c.damaged-1", "c.damaged-2"]


def test_a_row_whose_checksum_fails_is_embedded_again(tmp_path, caplog):
    _filled(tmp_path / "c", 3)
    connection = sqlite3.connect(tmp_path / "c")
    with connection:
        connection.execute("UPDATE vectors SET row = x'0000803f0000000000000000' WHERE rowid = 1")
    connection.close()
    letters = LetterEmbedder()
    with CachedEmbedder(letters, path=tmp_path / "c") as cache:
        np.testing.assert_array_equal(cache.embed(["0", "1", "2"]), LetterEmbedder().embed(["0", "1", "2"]))
    assert letters.calls == [["0"]]
    assert "has 1 damaged rows" in caplog.text


def test_a_file_that_can_no_longer_be_written_ends_no_run(tmp_path, caplog):
    with CachedEmbedder(LetterEmbedder(), path=tmp_path / "c") as cache:
        cache.embed(["a"])
        cache._file._connection.execute("PRAGMA query_only = ON")  # as on a disk that went read-only
        assert cache.embed(["a", "b"]).shape == (2, 2)
        assert cache.embed(["c"]).shape == (1, 2)
    assert len(caplog.records) == 1 and "out of use, vectors stay in memory only" in caplog.text


def test_needs_numpy_and_the_standard_library_only():
    code = (
        "import sys, workbench.embedding.cache\n"
        "roots = {name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)\n"
        "print(sorted(roots - {'__main__', 'numpy', 'workbench'}), 'sqlite3' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-S", "-c", _with_numpy(code)], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[] False\n"


def _with_numpy(code: str) -> str:
    """-S keeps site's own hooks out of sys.modules; numpy's place is then not on the path."""
    return f"import sys; sys.path += [{str(ROOT)!r}, {str(Path(np.__file__).parents[1])!r}]\n{code}"
