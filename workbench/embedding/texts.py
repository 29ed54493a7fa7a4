"""What may be embedded: a sequence of strings, none of them empty."""

from collections.abc import Sequence


def check_texts(texts: Sequence[str]) -> list[str]:
    """The texts as a list. No text at all is allowed; a text without a character is not: it has no meaning to embed.

    Raises:
        TypeError: one string instead of a sequence of them, or an element that is not a string.
        ValueError: an empty string, or one with a lone surrogate, which no encoding can carry.
    """
    if isinstance(texts, str | bytes):
        raise TypeError(f"texts must be a sequence of strings, not one {type(texts).__name__}: [{texts[:40]!r}]")
    texts = list(texts)
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"texts[{position}] must be a string, not {type(text).__name__}: {str(text)[:40]!r}")
        if not text:
            raise ValueError(f"texts[{position}] is empty: a text needs at least one character")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"texts[{position}] has a lone surrogate at character {error.start}") from None
    return texts
