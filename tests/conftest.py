"""Fixtures that several packages' tests share."""

from collections.abc import Iterator

import pytest

from workbench.cloud import embedded
from workbench.settings import Endpoints


@pytest.fixture(scope="session")
def embedded_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    """A running embedded cloud, one for the whole session: tests give what they make names of their own."""
    cloud = embedded.start(log=tmp_path_factory.mktemp("cloud") / "cloud.log")
    try:
        yield Endpoints(cloud="embedded", aws_url=cloud.wait_ready())
    finally:
        cloud.stop()
