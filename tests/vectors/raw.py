"""Plain HTTP to a vector server, without the SDK."""

import http.client
import json
from urllib.parse import urlsplit

KEY = "test-key"


class Caller:
    """One connection. ``headers`` are those of the last answer, in lower case."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
        self.headers: dict[str, str] = {}

    def __call__(self, method, path, body=None, *, key=KEY, version="2026-04"):
        """(status, decoded JSON or None)."""
        headers = {"api-key": key, "x-pinecone-api-version": version, "content-type": "application/json"}
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        self._connection.request(method, path, data, {name: value for name, value in headers.items() if value is not None})
        answer = self._connection.getresponse()
        content = answer.read()
        self.headers = {name.lower(): value for name, value in answer.getheaders()}
        if content and self.headers["content-type"] != "application/json":
            return answer.status, content.decode()
        return answer.status, json.loads(content) if content else None

    def close(self):
        self._connection.close()
