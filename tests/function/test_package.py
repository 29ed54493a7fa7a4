"""The zip: the same bytes each time, everything that the function needs, nothing that it must not carry."""

import ast
import hashlib
import io
import os
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from workbench.codecs import CODECS
from workbench.function import package
from workbench.function.variants import CATALOGUE

FORBIDDEN = {
    "torch",
    "faiss",
    "pymilvus",
    "simdjson",
    "pandas",
    "IPython",
    "matplotlib",
    "scipy",
    "sentence_transformers",
    "pyarrow",
    "jupyterlab",
    "tqdm",
}
MB = 2**20


@pytest.fixture(scope="module")
def archive(function_zip):
    return zipfile.ZipFile(io.BytesIO(function_zip))


def test_another_process_makes_the_same_bytes(function_zip, tmp_path):
    """Whatever its hash seed, time zone, umask and working folder."""
    code = "import hashlib, os; os.umask(0o077); from workbench.function import package; "
    code += "print(hashlib.sha256(package.build()).hexdigest())"
    env = {**os.environ, "PYTHONHASHSEED": "4711", "TZ": "Asia/Tokyo"}
    other = subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == hashlib.sha256(function_zip).hexdigest()


def test_a_change_of_the_sources_makes_another_zip(function_zip, monkeypatch, tmp_path):
    """It is made once for a state of the sources: a notebook that edits the function must not deploy the old one."""
    monkeypatch.setattr(package, "LIBRARIES", ())
    package._build.cache_clear()
    changed = tmp_path / "act.py"
    changed.write_text("first")
    monkeypatch.setattr(package, "_ROOT", tmp_path)
    monkeypatch.setattr(package, "modules", lambda: {"act": changed})
    first = package.build()
    assert package.build() is first
    changed.write_text("second")
    os.utime(changed, ns=(1, 1))
    assert zipfile.ZipFile(io.BytesIO(package.build())).read("act.py") == b"second"
    package._build.cache_clear()


def test_the_zip_holds_no_forbidden_library(archive):
    tops = {Path(name).parts[0].removesuffix(".py").partition("-")[0] for name in archive.namelist()}
    assert tops & FORBIDDEN == set()
    assert {"workbench", "numpy", "msgspec", "boto3", "botocore", "pinecone", "httpx", "cachetools"} <= tops


def test_the_zip_fits_lambda(archive, function_zip):
    """250 MB unzipped is the limit; a zip above 50 MB could not be uploaded directly (Lambda quotas)."""
    assert sum(info.file_size for info in archive.infolist()) < 100 * MB and len(function_zip) < 25 * MB


def test_the_zip_is_sound(archive):
    """Any user may read it, each name once, none outside, no bytecode; and nothing that tells who made it or when."""
    infos = archive.infolist()
    assert archive.testzip() is None
    assert len({info.filename for info in infos}) == len(infos)
    assert all(info.external_attr >> 16 == 0o644 and info.date_time == (2020, 1, 1, 0, 0, 0) for info in infos)
    assert not [
        name for name in archive.namelist() if name.startswith(("/", "..")) or "__pycache__" in name or name.endswith(".pyc")
    ]
    assert not [name for name in archive.namelist() if name.endswith(("RECORD", "INSTALLER", "direct_url.json"))]


def test_the_libraries_are_all_that_they_themselves_require():
    """Also what is imported only in passing: a library's declared requirements hold for every path through it."""
    listed = {canonicalize_name(name) for name in package.LIBRARIES}
    for name in package.LIBRARIES:
        declared = [Requirement(text) for text in distribution(name).requires or ()]
        needed = {canonicalize_name(each.name) for each in declared if not each.marker or each.marker.evaluate({"extra": ""})}
        assert needed <= listed, f"{name} requires {needed - listed}"


def test_every_codec_is_in_it():
    """They are imported by a setting's name, which no import statement shows."""
    homes = {home.partition(":")[0] for home in CODECS.values()}
    assert homes and homes <= package.modules().keys()


def test_the_workbench_in_it_is_what_the_handlers_import(archive):
    own = {name for name in archive.namelist() if name.startswith("workbench/")}
    assert own == {f"{path.relative_to(package._ROOT).as_posix()}" for path in package.modules().values()}
    assert {"workbench/function/process.py", "workbench/function/read.py", "workbench/__init__.py"} <= own
    heavy = ("workbench/vectors/store.py", "workbench/vectors/index.py", "workbench/embedding/minilm.py", "workbench/pipeline.py")
    assert own.isdisjoint(heavy)
    assert CATALOGUE.encode() in archive.read("workbench/function/variants.py")


def test_no_module_in_it_imports_a_forbidden_library_when_it_is_imported():
    imported = {}
    for name, path in package.modules().items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            imported |= {each.partition(".")[0]: name for each in names}
    assert {each: imported[each] for each in imported.keys() & FORBIDDEN} == {}
    assert {"boto3", "numpy", "msgspec", "httpx", "cachetools"} <= imported.keys()
