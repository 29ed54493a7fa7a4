"""Events to bytes and back: one module a format, each with ``encode(event) -> bytes`` and ``decode(bytes) -> Event``."""

import importlib
from typing import Protocol

from workbench.errors import SettingError
from workbench.events import Event

CODECS = {
    "json": "workbench.codecs.json:Json",
}


class Codec(Protocol):
    """Both directions of one format."""

    def encode(self, event: Event) -> bytes:
        """The event's bytes, ready to be a record's data."""

    def decode(self, data: bytes) -> Event:
        """The event that these bytes hold.

        Raises:
            DecodeError: the bytes are no event of this format; the reason says where.
        """


def codec(name: str) -> Codec:
    """The codec of that name.

    Raises:
        SettingError: there is no such codec.
    """
    if name not in CODECS:
        raise SettingError("codec", name, f"one of {', '.join(CODECS)}")
    module, _, attribute = CODECS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)()
