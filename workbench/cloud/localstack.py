"""A LocalStack that runs already, found by its own conventions (``LOCALSTACK_HOST``, port 4566)."""

import urllib.request

from workbench.errors import ServiceError

_ANSWER_S = 5.0


def find() -> str:
    """The URL of the LocalStack that answers.

    Raises:
        ServiceError: none does.
    """
    from localstack_client.config import get_service_endpoint

    url = get_service_endpoint("kinesis")
    try:
        with urllib.request.urlopen(f"{url}/_localstack/health", timeout=_ANSWER_S) as answer:
            if answer.status == 200:
                return url
    except (OSError, ValueError):  # URLError is an OSError
        pass
    advice = "start one, set LOCALSTACK_HOST to its host:port, or use --cloud embedded"
    raise ServiceError(f"no LocalStack answers at {url}: {advice}")
