"""What passes through a client, counted."""

from workbench.stream.meter import Load, Meter


class Scripted:
    """A client whose answers are as told."""

    def __init__(self) -> None:
        self.answers: dict[str, dict] = {}

    def __getattr__(self, name: str):
        return lambda **_: self.answers[name]


def test_a_meter_counts_what_was_taken_and_how_far_behind_the_last_reader_is():
    now, kinesis = [100.0], Scripted()
    meter = Meter(kinesis, clock=lambda: now[0])
    kinesis.answers["put_records"] = {"Records": [{"SequenceNumber": "1"}, {"ErrorCode": "Throttled"}, {"SequenceNumber": "2"}]}
    entries = [{"Data": b"12345", "PartitionKey": "é"}, {"Data": b"x", "PartitionKey": "k"}, {"Data": b"", "PartitionKey": "k"}]
    meter.put_records(StreamName="s", Records=entries)
    kinesis.answers["put_record"] = {"SequenceNumber": "3"}
    meter.put_record(StreamName="s", Data=b"12", PartitionKey="k")
    now[0] += 4
    assert meter.load() == Load(3 / 4, (7 + 1 + 3) / 4, 0.0)
    for shard_id, behind_ms in (("a", 1500), ("b", 0)):
        kinesis.answers["get_shard_iterator"] = {"ShardIterator": f"{shard_id}1"}
        meter.get_shard_iterator(StreamName="s", ShardId=shard_id, ShardIteratorType="TRIM_HORIZON")
        kinesis.answers["get_records"] = {"NextShardIterator": f"{shard_id}2", "MillisBehindLatest": behind_ms}
        meter.get_records(ShardIterator=f"{shard_id}1", Limit=1)
    now[0] += 2
    assert meter.load() == Load(0.0, 0.0, 3.5), "a reads no more: it falls back with each second"
    kinesis.answers["get_records"] = {"MillisBehindLatest": 0}
    meter.get_records(ShardIterator="a2", Limit=1)
    now[0] += 1
    assert meter.load() == Load(0.0, 0.0, 3.0), "a was read to its end"
