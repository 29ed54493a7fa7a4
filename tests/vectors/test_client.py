"""Pinecone's client against servers that refuse, differ or are not there."""

import socket
import subprocess
import sys

import numpy as np
import pytest

from workbench.errors import ServiceError, SettingError, VectorError
from workbench.events import Record
from workbench.vectors.pinecone import PineconeStore

from .conftest import KEY


def test_a_client_without_a_key_is_refused_before_it_asks():
    with pytest.raises(SettingError, match="API key"):
        PineconeStore(url="http://127.0.0.1:1", key="", name="x", dimension=4)


def test_the_client_says_what_the_server_refused(server_url):
    with pytest.raises(VectorError, match="Invalid API key") as caught:
        PineconeStore(url=server_url, key="wrong", name="client", dimension=4)
    assert caught.value.status == 401
    with pytest.raises(VectorError, match="name"):
        PineconeStore(url=server_url, key=KEY, name="No Good", dimension=4)


def test_an_index_of_another_shape_is_not_used(server_url):
    first = PineconeStore(url=server_url, key=KEY, name="shaped", dimension=4)
    first.upsert([Record("a", np.ones(4))])
    again = PineconeStore(url=server_url, key=KEY, name="shaped", dimension=4)
    assert again.stats() == {"": 1}
    for store in (first, again):
        store.close()
    with pytest.raises(VectorError, match="dimension 4 and metric cosine") as caught:
        PineconeStore(url=server_url, key=KEY, name="shaped", dimension=5)
    assert caught.value.status == 409


def test_nothing_there_is_a_service_error():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: a port where nothing answers
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ServiceError, match=url):
            PineconeStore(url=url, key="k", name="x", dimension=4)


def test_the_client_needs_no_faiss():
    program = (
        "import sys; sys.modules['faiss'] = None\n"
        "import workbench.vectors.pinecone, pinecone\n"
        "pinecone.Pinecone(api_key='k').close()\n"
        "assert not any('grpc' in name for name in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
