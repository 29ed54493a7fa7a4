"""How far each shard was processed, in DynamoDB: a new reader goes on behind it."""


class Checkpoints:
    """One item a shard of one consumer, in the stack's checkpoints table."""

    def __init__(self, dynamodb, table: str, *, consumer: str) -> None:
        self._dynamodb, self._table, self._consumer = dynamodb, table, consumer

    def read(self, shard_id: str) -> str | None:
        """The sequence number of the last record that was dealt with; None if there is none."""
        item = self._dynamodb.get_item(TableName=self._table, Key=self._key(shard_id), ConsistentRead=True).get("Item")
        return item["sequence_number"]["S"] if item else None

    def write(self, shard_id: str, sequence_number: str) -> None:
        """Everything up to this record is dealt with."""
        self._dynamodb.put_item(TableName=self._table, Item={**self._key(shard_id), "sequence_number": {"S": sequence_number}})

    def forget(self, shard_id: str) -> None:
        """Nothing of this shard is dealt with."""
        self._dynamodb.delete_item(TableName=self._table, Key=self._key(shard_id))

    def _key(self, shard_id: str) -> dict:
        return {"shard_id": {"S": f"{self._consumer}/{shard_id}"}}
