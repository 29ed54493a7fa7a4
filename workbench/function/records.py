"""What a Kinesis event's record carries, as Lambda hands it over."""

import base64

from workbench.errors import DecodeError


def data(record: dict) -> bytes:
    """The record's data.

    Raises:
        DecodeError: it is not base64.
    """
    try:
        return base64.b64decode(record["kinesis"]["data"], validate=True)
    except (ValueError, TypeError) as error:  # binascii.Error, and text that is not ASCII, or none
        raise DecodeError("base64", str(error)) from None
