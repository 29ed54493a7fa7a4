"""Who is compared, and what their runners may import."""

import ast
import sys
from pathlib import Path

import pytest

from workbench.benchmarks.peers import runners
from workbench.benchmarks.peers.environments import PINS
from workbench.benchmarks.peers.subjects import SUBJECTS

_FOLDER = Path(runners.__file__).parent
_OWN = {
    "measure": set(),
    "bare_faiss": {"faiss"},
    "store": {"workbench"},
    "over_http": set(),
    "qdrant_edge": {"qdrant_edge"},
    "chroma": {"chromadb"},
    "lance": {"lancedb", "pyarrow"},
    "milvus_lite": {"pymilvus"},
}


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
def test_a_subject_has_what_it_takes(subject):
    assert SUBJECTS[subject.name] is subject
    assert (_FOLDER / f"{subject.runner}.py").is_file()
    assert subject.environment is None or subject.environment in PINS
    assert subject.durability in ("nothing", "the death of the process", "a power cut")
    beams = [next(iter(setting.values())) for setting in subject.settings]
    assert beams == sorted(set(beams)) and min(beams) >= 10, "a beam is at least as wide as what is asked for"


@pytest.mark.parametrize("name", _OWN)
def test_a_runner_imports_its_own_package_and_numpy_at_most(name):
    tree = ast.parse((_FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module.partition(".")[0] for module in imported} - sys.stdlib_module_names - {"numpy"} == _OWN[name]


def test_every_runner_is_looked_at():
    assert {path.stem for path in _FOLDER.glob("*.py")} == {"__init__", *_OWN}
