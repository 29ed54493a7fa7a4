"""A result comes back from its file as it was, or not at all."""

import errno
import hashlib
import json
import math
import os
import subprocess
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import settings as testing
from hypothesis import strategies as st

from workbench.errors import ResultError
from workbench.measure.metrics import METRICS
from workbench.results import encode, files, read, save
from workbench.settings import Settings

from .made import events, result


def test_a_result_comes_back_as_it_was_and_its_floats_as_float32(tmp_path):
    made, frame = result(error="", provenance={"machine": "µ, 2 cores"}), events()
    save(encode(made, frame), tmp_path / "a.parquet")
    again, kept = read(tmp_path / "a.parquet")
    assert again == made
    assert kept.dtypes.astype(str).to_dict() == {
        "event_id": "str",
        "latency_ms": "float32",
        "attempts": "int64",
        "cold": "bool",
        "outcome": "str",
    }
    assert kept["latency_ms"].tolist() == [np.float32(0.1), np.float32(3.9), np.float32(7.7)]
    others = ["event_id", "attempts", "cold", "outcome"]
    assert kept[others].to_dict("list") == frame[others].to_dict("list")


def test_other_types_are_kept(tmp_path):
    frame = pd.DataFrame(
        {
            "at": pd.to_datetime(["2026-01-02T03:04:05.000000001", None]),
            "small": np.array([1, -2], np.int8),
            "large": np.array([2**63, 0], np.uint64),
            "half": np.array([1.5, np.nan], np.float32),
            "perhaps": pd.array([1, None], dtype="Int64"),
            "text": ["", "κόσμε"],
        }
    )
    save(encode(result(), frame), tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(read(tmp_path / "a.parquet")[1], frame)


@pytest.mark.parametrize("frame", [None, pd.DataFrame(), events(0)], ids=["none", "empty", "no rows"])
def test_a_result_without_samples_has_no_rows(tmp_path, frame):
    save(encode(result(), frame), tmp_path / "a.parquet")
    again, kept = read(tmp_path / "a.parquet")
    assert again == result() and len(kept) == 0


def test_the_file_is_plain_parquet_with_zstd_page_checksums_and_a_dictionary_for_texts(tmp_path):
    save(encode(result(), events()), tmp_path / "a.parquet")
    file = pq.ParquetFile(tmp_path / "a.parquet", page_checksum_verification=True)
    group = file.metadata.row_group(0)
    columns = {group.column(place).path_in_schema: group.column(place) for place in range(group.num_columns)}
    assert {column.compression for column in columns.values()} == {"ZSTD"}
    assert {name for name, column in columns.items() if column.has_dictionary_page} == {"event_id", "outcome"}
    assert file.read().to_pandas()["attempts"].tolist() == [0, 1, 2]
    stored = json.loads(file.metadata.metadata[b"workbench.result"])
    assert stored["figures"] == {"p50_ms": 12.5, "lost": 0.0} and stored["settings"] == Settings().to_dict()


def test_the_seal_is_the_hash_of_the_file_without_it(tmp_path):
    data = encode(result(), events())
    save(data, tmp_path / "a.parquet")
    seal = pq.read_metadata(tmp_path / "a.parquet").metadata[b"workbench.seal"].decode()
    digits = seal.removeprefix("sha256 of this file with zeros here: ")
    assert hashlib.sha256(data.replace(digits.encode(), b"0" * 64)).hexdigest() == digits


def test_a_text_that_looks_like_the_seal_changes_nothing(tmp_path):
    hostile = "sha256 of this file with zeros here: " + "0" * 64
    frame = pd.DataFrame({hostile: [hostile], "b": [hostile * 2]})
    made = result(error=hostile, provenance={hostile: hostile})
    save(encode(made, frame), tmp_path / "a.parquet")
    again, kept = read(tmp_path / "a.parquet")
    assert again == made and kept.equals(frame)


@testing(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(METRICS)), st.floats()))
@example({"p50_ms": math.nan, "mean_ms": math.inf, "call_ms": -math.inf, "lost": -0.0, "p95_ms": 5e-324})
def test_every_float_comes_back(tmp_path_factory, figures):
    path = tmp_path_factory.mktemp("floats") / "a.parquet"
    save(encode(result(figures=figures)), path)
    found = read(path)[0].figures
    assert {name: repr(value) for name, value in found.items()} == {name: repr(value) for name, value in figures.items()}


def test_numpys_numbers_are_numbers(tmp_path):
    save(encode(result(figures={"p50_ms": np.float32(0.5), "lost": np.int64(3)})), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet")[0].figures == {"p50_ms": 0.5, "lost": 3.0}


_DATA = encode(result(), events(40))


def _refused(data: bytes, path) -> str:
    path.write_bytes(data)
    with pytest.raises(ResultError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path} ") and "\n" not in str(caught.value)
    assert str(caught.value).endswith("delete it and the sweep measures that point again")
    return str(caught.value)


def test_no_flipped_bit_goes_unnoticed(tmp_path):
    """Every byte, one of its bits each, and all bits of the footer's last bytes."""
    for place in range(len(_DATA)):
        _refused(_DATA[:place] + bytes([_DATA[place] ^ 1 << place % 8]) + _DATA[place + 1 :], tmp_path / "a")
    for bit in range(64 * 8):
        place = len(_DATA) - 64 + bit // 8
        _refused(_DATA[:place] + bytes([_DATA[place] ^ 1 << bit % 8]) + _DATA[place + 1 :], tmp_path / "a")


@testing(max_examples=200, deadline=None)
@given(st.integers(0, len(_DATA) - 1), st.integers(0, len(_DATA)), st.binary(max_size=40))
def test_no_cut_or_change_goes_unnoticed(tmp_path_factory, start, end, instead):
    data = _DATA[:start] + instead + _DATA[max(start, end) :]
    if data != _DATA:
        _refused(data, tmp_path_factory.getbasetemp() / "a")


def test_no_truncation_and_no_addition_goes_unnoticed(tmp_path):
    for size in range(0, len(_DATA), 7):
        assert any(reason in _refused(_DATA[:size], tmp_path / "a") for reason in ("cut short", "damaged"))
    assert "damaged" in _refused(_DATA + b"\0", tmp_path / "a")
    assert "cut short or no result" in _refused(b"", tmp_path / "a")


def test_a_foreign_file_is_no_result(tmp_path):
    events().to_parquet(tmp_path / "foreign.parquet")
    assert "no result" in _refused((tmp_path / "foreign.parquet").read_bytes(), tmp_path / "a")


def test_a_result_with_other_fields_is_of_another_version(tmp_path, monkeypatch):
    for change in ({"run": "first"}, {"figures": None}, {"figures": {"p50_ms": "fast"}}, {"task": None}):
        with monkeypatch.context() as patch:
            values = {**msgspec.structs.asdict(result()), **change}
            patch.setattr(files, "_json", lambda _, values=values: json.dumps(values).encode())
            data = encode(result())
        assert "another version" in _refused(data, tmp_path / "a")


def test_a_missing_file_and_a_folder_are_no_results(tmp_path):
    with pytest.raises(ResultError, match=r"none\.parquet does not exist: run the sweep again"):
        read(tmp_path / "none.parquet")
    with pytest.raises(ResultError, match="cannot be read: Is a directory"):
        read(tmp_path)


def test_samples_that_cannot_be_kept_are_refused():
    with pytest.raises(ResultError, match=r"samples cannot be kept: .*mixed"):
        encode(result(), pd.DataFrame({"mixed": [1, "one", {}]}))
    with pytest.raises(ResultError, match="samples cannot have a column 'run'"):
        encode(result(), pd.DataFrame({"run": [1]}))


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_nothing_is_overwritten(tmp_path):
    save(b"first", tmp_path / "a")
    with pytest.raises(ResultError, match="a exists, and no result is overwritten: delete it"):
        save(b"second", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"first" and _names(tmp_path) == ["a"]


def test_what_is_saved_is_durable_before_it_has_its_name(tmp_path, monkeypatch):
    calls, fsync, link = [], os.fsync, os.link
    monkeypatch.setattr(os, "fsync", lambda file: (calls.append("fsync"), fsync(file)))
    monkeypatch.setattr(os, "link", lambda *paths: (calls.append("link"), link(*paths)))
    save(b"data", tmp_path / "new folder" / "a")
    assert calls == ["fsync", "link", "fsync"] and _names(tmp_path / "new folder") == ["a"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("step", ["fsync", "link"])
def test_what_cannot_be_written_leaves_nothing(tmp_path, monkeypatch, step, number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(ResultError, match=f"a cannot be written: {os.strerror(number)}$"):
        save(b"data", tmp_path / "a")
    assert _names(tmp_path) == []


def test_an_interrupted_save_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "link", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(b"data", tmp_path / "a")
    assert _names(tmp_path) == []


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a file system of 64 KiB cannot be mounted here: {mounted.stderr.strip()}")
    try:
        save(bytes(1000), tmp_path / "small")
        with pytest.raises(ResultError, match=r"large cannot be written: No space left on device$"):
            save(bytes(200_000), tmp_path / "large")
        assert _names(tmp_path) == ["small"]
    finally:
        subprocess.run(["umount", tmp_path], check=True)
