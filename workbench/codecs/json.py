"""JSON, one object an event."""

import msgspec

from workbench.errors import DecodeError
from workbench.events import Event


class Json:
    """Fields by name; fields that this version does not know are ignored, so that an old reader survives a new writer."""

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(Event)

    def encode(self, event: Event) -> bytes:
        return msgspec.json.encode(event)

    def decode(self, data: bytes) -> Event:
        try:
            return self._decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:  # ValidationError is a DecodeError
            raise DecodeError("json", str(error).replace("`", "")) from None
