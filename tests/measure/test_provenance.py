"""Where a figure comes from: the same in every process with the same code, and never taken for another's."""

import hashlib
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl

import workbench
from workbench.measure import provenance as module
from workbench.measure.provenance import provenance


def test_it_names_machine_versions_threads_commit_and_code():
    found = provenance()
    assert list(found) == ["machine", "system", "python", "libraries", "commit", "code", "threads"]
    assert all(found.values()) and all("\n" not in value for value in found.values())
    assert re.fullmatch(r".+, \d+ cores, \d+ GiB", found["machine"])
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))


@pytest.mark.parametrize("name", ["boto3", "distributed", "faiss-cpu", "hdrhistogram", "numpy", "pandas", "pyarrow", "torch"])
def test_it_names_what_was_installed(name):
    assert f"{name} {version(name)}" in provenance()["libraries"].split(", ")


def test_the_code_is_told_by_paths_and_contents(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "a.py").write_bytes(b"x = 1\n")
    (tmp_path / "b" / "c.py").write_bytes(b"")
    (tmp_path / "notes.txt").write_bytes(b"no code")
    before = module.source_digest(tmp_path)
    assert before == hashlib.sha256(b"a.py\x006\x00x = 1\nb/c.py\x000\x00").hexdigest()[:12]
    (tmp_path / "notes.txt").write_bytes(b"changed")
    assert module.source_digest(tmp_path) == before
    (tmp_path / "a.py").write_bytes(b"x = 2\n")
    changed = module.source_digest(tmp_path)
    (tmp_path / "a.py").rename(tmp_path / "d.py")
    assert len({before, changed, module.source_digest(tmp_path)}) == 3


def test_the_packages_own_code_has_the_same_hash_in_another_process_and_folder(tmp_path):
    code = "import sys; sys.path[:0] = sys.argv[1:]; from workbench.measure import provenance as m; print(m.provenance()['code'])"
    root = Path(workbench.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code, str(root)], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == provenance()["code"]


def test_threads_are_those_of_now():
    np.ones((2, 2)) @ np.ones((2, 2))  # numpy's pool is loaded
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        assert "openblas 1" in provenance()["threads"].split(", ")
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        assert "openblas 2" in provenance()["threads"].split(", ")


def test_torchs_threads_are_torchs_own_word(monkeypatch):
    class Torch:
        get_num_threads = staticmethod(lambda: 3)

    monkeypatch.setitem(sys.modules, "torch", Torch)
    assert "torch 3" in provenance()["threads"].split(", ")
    monkeypatch.delitem(sys.modules, "torch")
    assert "torch" not in provenance()["threads"]


def test_outside_of_a_repository_the_commit_is_unknown(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert module._commit() == "unknown"
