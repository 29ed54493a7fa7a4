"""JSON, one object an event."""

import msgspec

from workbench.errors import DecodeError, EventRejected
from workbench.events import Event


class Json:
    """Fields by name; fields that this version does not know are ignored, so that an old reader survives a new writer."""

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(Event)

    def encode(self, event: Event) -> bytes:
        try:
            return msgspec.json.encode(event)
        except UnicodeEncodeError:
            raise EventRejected(ascii(event.event_id), "it holds text that is not Unicode (a lone surrogate)") from None

    def decode(self, data: bytes) -> Event:
        try:
            return self._decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:  # ValidationError is a DecodeError
            raise DecodeError("json", str(error).replace("`", "")) from None
        except RecursionError:
            raise DecodeError("json", "it is nested too deeply") from None
