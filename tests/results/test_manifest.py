"""A manifest names what belongs to a sweep, and nothing else."""

import errno
import json
import os

import msgspec
import pytest

from workbench.errors import ResultError
from workbench.results import Point, load, read_manifest, write_manifest
from workbench.settings import Flat, Settings

from .made import sweep


def test_a_manifest_comes_back_and_its_folder_can_be_moved(tmp_path):
    swept = sweep(tmp_path / "first", (Settings(), Settings(index=Flat())), repeats=2)
    assert read_manifest(tmp_path / "first") == swept and swept.smoke
    (tmp_path / "first").rename(tmp_path / "second")
    moved = read_manifest(tmp_path / "second")
    assert moved.folder == tmp_path / "second" and moved.points == swept.points
    assert len(load(moved)) == 4
    assert "first" not in (tmp_path / "second" / "sweep.json").read_text()


def test_a_manifest_is_replaced_in_one_step(tmp_path, monkeypatch):
    swept = sweep(tmp_path)
    before = (tmp_path / "sweep.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
        with pytest.raises(ResultError, match=r"sweep\.json cannot be written: No space left on device"):
            write_manifest(msgspec.structs.replace(swept, repeats=7))
    assert (tmp_path / "sweep.json").read_bytes() == before
    write_manifest(msgspec.structs.replace(swept, repeats=7))
    assert read_manifest(tmp_path).repeats == 7 and not read_manifest(tmp_path).smoke


@pytest.mark.parametrize("file", ["../a.parquet", "/etc/passwd", "x/../../a", ".", "", "link/a.parquet"])
def test_a_manifest_names_nothing_outside_of_its_folder(tmp_path, file):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "link").symlink_to(tmp_path)
    point = {"settings": {}, "run": 0, "file": file}
    values = {"name": "a", "task": "pipeline", "cloud": "embedded", "repeats": 1, "points": [point]}
    (tmp_path / "sweep" / "sweep.json").write_text(json.dumps(values))
    with pytest.raises(ResultError, match="outside of the sweep's folder"):
        load(tmp_path / "sweep")


def test_a_manifest_names_a_file_and_a_point_once(tmp_path):
    swept = sweep(tmp_path)
    (point,) = swept.points
    for other in (Point({}, 0, point.file), Point(point.settings, 0, "other")):
        with pytest.raises(ResultError, match="twice"):
            write_manifest(msgspec.structs.replace(swept, points=(point, other)))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"name": 1}', '"\xff"'])
def test_what_is_no_manifest_is_refused(tmp_path, text):
    (tmp_path / "sweep.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ResultError, match=r"sweep\.json is no sweep's manifest: ") as caught:
        read_manifest(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_manifest_is_no_sweep(tmp_path):
    with pytest.raises(ResultError, match=r"holds no sweep: there is no sweep\.json in it"):
        load(tmp_path)
