"""An index's name tells its contents apart; a model's access comes from where it is meant to."""

import re
from types import SimpleNamespace

import pytest

from workbench.errors import SettingError
from workbench.provision import OPENAI_MODELS, Access, embedding_access, index_name, remote_embedder
from workbench.settings import HNSW, Endpoints, Flat, Settings
from workbench.vectors.server.wire import Name

LOCAL = Endpoints(embeddings_url="http://127.0.0.1:1/v1", embeddings_key="local-key")
MODEL = SimpleNamespace(model="minilm@abc", dimension=384)
OPENAI = Settings(embedder="text-embedding-3-small")


def test_an_index_is_named_after_all_that_decides_its_contents():
    base = Settings()
    others = [
        base.but(**change) for change in ({"start": "2017-10-02"}, {"catalogue": 500}, {"index": Flat()}, {"index": HNSW(m=8)})
    ]
    names = {index_name(each, MODEL) for each in (base, *others)}
    names.add(index_name(base, SimpleNamespace(model="minilm@def", dimension=384)))
    assert len(names) == 6


@pytest.mark.parametrize(
    "change",
    [
        {"rate": 5},
        {"events": 3},
        {"batch_size": 7},
        {"placement": "lambda"},
        {"candidates": 99},
        {"half_life": 3},
        {"shards": 1},
        {"source": "synthetic"},
        {"loop": "closed", "clients": 9},
        {"handler": "published"},
        {"stall_s": 1},
        {"query_slowdown": 2},
    ],
)
def test_an_index_is_shared_by_settings_that_differ_in_nothing_that_it_holds(change):
    assert index_name(Settings(**change), MODEL) == index_name(Settings(), MODEL)


def test_the_name_is_one_that_pinecone_takes_and_stays_the_same():
    name = index_name(Settings(start="2017-11-06", catalogue=10_000, index=HNSW()), MODEL)
    rules = Name.__metadata__[0]
    assert re.search(rules.pattern, name) and len(name) <= rules.max_length
    assert name == "retail-43f768e99b"


def test_a_local_model_answers_at_the_local_server_whatever_openai_is_set_to(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-real")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://example.org/v1")
    assert embedding_access(Settings(), LOCAL) == Access("http://127.0.0.1:1/v1", "local-key")


@pytest.mark.parametrize("url", [None, "https://example.org/v1"])
def test_openais_model_takes_openais_key_and_url(monkeypatch, url):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-real")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    if url:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
    assert embedding_access(OPENAI, LOCAL) == Access(url, "sk-real")


@pytest.mark.parametrize("key", [None, ""])
def test_openais_model_without_a_key_says_what_is_missing(monkeypatch, key):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(SettingError, match="embedder = 'text-embedding-3-small' is not allowed: it needs OPENAI_API_KEY"):
        embedding_access(OPENAI, LOCAL)


def test_a_remote_embedder_is_a_client_of_that_model(monkeypatch):
    embedder = remote_embedder(Settings(), LOCAL, model="minilm@abc", dimension=384)
    assert (embedder.model, embedder.dimension) == ("minilm@abc", 384)
    embedder.close()
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(SettingError, match="OPENAI_API_KEY"):
        remote_embedder(OPENAI, LOCAL, model="text-embedding-3-small", dimension=1536)


def test_every_model_of_openais_is_one_that_settings_allow():
    for name, dimension in OPENAI_MODELS.items():
        assert Settings(embedder=name).embedder == name and dimension > 0
