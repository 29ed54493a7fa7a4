"""What the deployed function is told besides addresses and keys."""

import msgspec


class Configuration(msgspec.Struct, frozen=True):
    """The design (``Settings.to_dict()``), which model embeds, and which index holds the catalogue."""

    settings: dict
    embedding_model: str
    embedding_dimension: int
    index_name: str

    def to_json(self) -> str:
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str) -> "Configuration":
        return msgspec.json.decode(text, type=cls)
