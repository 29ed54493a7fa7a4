"""Events to bytes and back: one module a format, each with ``encode(event) -> bytes`` and ``decode(bytes) -> Event``."""

from typing import Protocol

from workbench.events import Event
from workbench.registry import implementation

CODECS = {
    "json": "workbench.codecs.json:Json",
}


class Codec(Protocol):
    """Both directions of one format."""

    def encode(self, event: Event) -> bytes:
        """The event's bytes, ready to be a record's data.

        Raises:
            EventRejected: the event holds text that is not Unicode (a lone surrogate).
        """

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
    return implementation(CODECS, name, "codec")()
