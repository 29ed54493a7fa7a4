"""Resharding as Kinesis does it, in place of MiniStack's, which drops the shards that it replaces, and their records.

From the Kinesis Developer Guide ("Reshard a stream") and the API reference: a shard that is split or merged is closed. It keeps
its records until they expire, is listed with an EndingSequenceNumber, and is read to its end, where GetRecords gives no
NextShardIterator but the ChildShards. Children take over its hash keys; their sequence numbers start behind its last one.

What AWS does in the background, with the stream UPDATING, is done when the call returns. The limit of ten UpdateShardCount a day
is not kept. A SubscribeToShard that has reached the end of a closed shard stays open until its five minutes are over.
"""

import functools
import json
import math
import time
from bisect import bisect_right
from collections.abc import Callable
from types import ModuleType

from workbench.cloud import lineage

_MOST_SHARDS = 10_000  # of a stream

Answer = tuple[int, dict, bytes]  # status, headers, body
Handler = Callable[[dict], Answer]


class _RefusedError(Exception):
    """A request that AWS refuses: the name of its error, and a message."""


def install(kinesis: ModuleType) -> None:
    """Let MiniStack reshard as AWS does. GetRecords of an open shard stays MiniStack's own, after a few look-ups.

    Args:
        kinesis: the module ``ministack.services.kinesis``, before it has any stream.
    """
    kinesis._next_sequence_number = lineage.sequence_numbers()
    kinesis._compute_hash_ranges = lambda count: [(str(first), str(last)) for first, last in lineage.even_ranges(count)]
    kinesis._route_to_shard = _route
    kinesis._expire_records = functools.partial(_expire, kinesis._expire_records)
    kinesis._shard_out = functools.partial(_describe, kinesis._shard_out)
    for name, handler in {
        "_describe_stream_summary": _describe_stream_summary,
        "_list_shards": _list_shards,
        "_get_shard_iterator": _get_shard_iterator,
        "_get_records": _get_records,
        "_split_shard": _split_shard,
        "_merge_shards": _merge_shards,
        "_update_shard_count": _update_shard_count,
    }.items():
        setattr(kinesis, name, _answering(handler, kinesis, getattr(kinesis, name)))


def _answering(handler: Callable[[ModuleType, Handler, dict], Answer], kinesis: ModuleType, original: Handler) -> Handler:
    def answer(data: dict) -> Answer:
        try:
            return handler(kinesis, original, data)
        except _RefusedError as refused:
            return kinesis.error_response_json(*refused.args)

    return answer


def _open_shards(stream: dict) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Starting hash keys, ascending, and ids: found anew only when the stream's shards are others than the last time."""
    shards = stream["shards"]
    known = stream.get("open_shards")
    if known is None or known[0] is not shards:
        known = stream["open_shards"] = (shards, *lineage.by_hash_key(shards))
    return known[1:]


def _route(hash_key: int, stream: dict) -> str:
    starts, ids = _open_shards(stream)
    return ids[bisect_right(starts, hash_key) - 1]


def _expire(original: Callable[[dict], None], stream: dict) -> None:
    """A closed shard expires when the last record that it can hold has: it is neither listed nor found any more."""
    original(stream)
    horizon = time.time() - stream["RetentionPeriodHours"] * 3600
    if any(lineage.closed(shard) < horizon for shard in stream["shards"].values()):
        stream["shards"] = {each: shard for each, shard in stream["shards"].items() if lineage.closed(shard) >= horizon}


def _describe(original: Callable[[str, dict], dict], shard_id: str, shard: dict) -> dict:
    described = original(shard_id, shard)
    if "ending_sequence_number" in shard:
        described["SequenceNumberRange"]["EndingSequenceNumber"] = shard["ending_sequence_number"]
    return described


def _describe_stream_summary(kinesis: ModuleType, original: Handler, data: dict) -> Answer:
    status, headers, body = original(data)
    if status != 200:
        return status, headers, body
    answer = json.loads(body)
    _, stream = kinesis._resolve_stream(data)
    answer["StreamDescriptionSummary"]["OpenShardCount"] = len(_open_shards(stream)[1])
    return kinesis.json_response(answer)


def _list_shards(kinesis: ModuleType, original: Handler, data: dict) -> Answer:
    """MiniStack's, which knows no ShardFilter."""
    _, stream = kinesis._resolve_stream(data)
    if not stream:
        return original(data)
    kinesis._expire_records(stream)
    chosen = data.get("ShardFilter")
    if not chosen:
        return original(data)
    if chosen.get("Type") == "AFTER_SHARD_ID":
        return original({**data, "ExclusiveStartShardId": _given(chosen, "ShardId")})
    fits = _shard_filter(stream["shards"], chosen)
    status, headers, body = original({**data, "MaxResults": len(stream["shards"])})
    if status != 200:
        return status, headers, body
    found = [each for each in json.loads(body)["Shards"] if fits(stream["shards"][each["ShardId"]])]
    page = found[: data.get("MaxResults", _MOST_SHARDS)]
    more = {"NextToken": kinesis._encode_list_shards_token(page[-1]["ShardId"])} if len(page) < len(found) else {}
    return kinesis.json_response({"Shards": page, **more})


def _shard_filter(shards: lineage.Shards, chosen: dict) -> Callable[[dict], bool]:
    match chosen.get("Type"):
        case "AT_LATEST":
            return lambda shard: lineage.closed(shard) == math.inf
        case "FROM_TRIM_HORIZON":
            return lambda shard: True
        case "AT_TRIM_HORIZON":  # those of which no parent is left: parents that are left were open then
            return lambda shard: not any(parent in shards for parent in lineage.parents(shard))
        case "AT_TIMESTAMP":
            at = float(_given(chosen, "Timestamp"))
            return lambda shard: lineage.opened(shard) <= at <= lineage.closed(shard)
        case "FROM_TIMESTAMP":
            at = float(_given(chosen, "Timestamp"))
            return lambda shard: at <= lineage.closed(shard)
        case other:
            raise _RefusedError("ValidationException", f"Type {other} of ShardFilter is none of AWS'")


def _get_shard_iterator(kinesis: ModuleType, original: Handler, data: dict) -> Answer:
    """MiniStack's, but a sequence number must be one of the shard's: AWS takes no parent's for a child."""
    _, stream = kinesis._resolve_stream(data)
    shard = stream and stream["shards"].get(data.get("ShardId"))
    if shard and data.get("ShardIteratorType") in ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"):
        number, first = data.get("StartingSequenceNumber"), shard["starting_sequence_number"]
        last = shard.get("ending_sequence_number")
        if not str(number).isdecimal() or not int(first) <= int(number) <= (int(last) if last else math.inf):
            numbers = f"{first} to {last}" if last else f"{first} and higher"
            message = f"StartingSequenceNumber {number} is not of {data['ShardId']}, which has {numbers}"
            raise _RefusedError("InvalidArgumentException", message)
    return original(data)


def _get_records(kinesis: ModuleType, original: Handler, data: dict) -> Answer:
    position = kinesis._shard_iterators.get(data.get("ShardIterator"))
    stream = position and kinesis._streams.get(position["stream"])
    shard = stream and stream["shards"].get(position["shard_id"])
    if not shard or "ending_sequence_number" not in shard:
        return original(data)
    status, headers, body = original(data)
    if status != 200:
        return status, headers, body
    answer = json.loads(body)
    following = answer["NextShardIterator"]
    if kinesis._shard_iterators[following]["position"] < len(shard["records"]):
        return status, headers, body
    del kinesis._shard_iterators[following], answer["NextShardIterator"]
    answer["ChildShards"] = [
        {
            "ShardId": each,
            "ParentShards": lineage.parents(child),
            "HashKeyRange": {"StartingHashKey": child["starting_hash_key"], "EndingHashKey": child["ending_hash_key"]},
        }
        for each, child in lineage.children(stream["shards"], position["shard_id"])
    ]
    return kinesis.json_response(answer)


def _split_shard(kinesis: ModuleType, original: Handler, data: dict) -> Answer:
    stream = _provisioned_stream(kinesis, data)
    shard_id, text = _open_shard(stream, _given(data, "ShardToSplit")), str(_given(data, "NewStartingHashKey"))
    first, last = lineage.hash_keys(stream["shards"][shard_id])
    key = int(text) if text.isdecimal() else -1
    if not first + 1 < key < last:  # as AWS' message says, though its reference allows the whole range
        message = f"NewStartingHashKey {text} must be greater than {first + 1} and less than {last} to split {shard_id}"
        raise _RefusedError("InvalidArgumentException", message)
    _reshard(stream, lineage.replace, [shard_id], [(first, key - 1), (key, last)], kinesis._next_sequence_number)
    return kinesis.json_response({})


def _merge_shards(kinesis: ModuleType, original: Handler, data: dict) -> Answer:
    stream = _provisioned_stream(kinesis, data)
    pair = [_open_shard(stream, _given(data, name)) for name in ("ShardToMerge", "AdjacentShardToMerge")]
    (first, end), (start, last) = sorted(lineage.hash_keys(stream["shards"][each]) for each in pair)
    if end + 1 != start:
        message = f"{pair[0]} and {pair[1]} of stream {stream['StreamName']} are not adjacent: they cannot be merged"
        raise _RefusedError("InvalidArgumentException", message)
    _reshard(stream, lineage.replace, pair, [(first, last)], kinesis._next_sequence_number)
    return kinesis.json_response({})


def _update_shard_count(kinesis: ModuleType, original: Handler, data: dict) -> Answer:
    stream = _provisioned_stream(kinesis, data)
    target, scaling = _given(data, "TargetShardCount"), _given(data, "ScalingType")
    if type(target) is not int or target < 1 or scaling != "UNIFORM_SCALING":
        message = f"TargetShardCount {target} must be 1 or more, and ScalingType {scaling} must be UNIFORM_SCALING"
        raise _RefusedError("ValidationException", message)
    count = len(_open_shards(stream)[1])
    least, most = math.ceil(count / 2), min(2 * count, _MOST_SHARDS)
    if not least <= target <= most:
        message = f"TargetShardCount {target} must be {least} to {most}, half to double the {count} open shards"
        raise _RefusedError("LimitExceededException", message)
    _reshard(stream, lineage.even_out, target, kinesis._next_sequence_number)
    named = {name: stream[name] for name in ("StreamName", "StreamARN")}
    return kinesis.json_response({**named, "CurrentShardCount": count, "TargetShardCount": target})


def _reshard(stream: dict, change: Callable[..., object], *arguments: object) -> None:
    """On a copy: MiniStack's own event source mapping goes through the shards in another thread."""
    shards = dict(stream["shards"])
    change(shards, *arguments)
    stream["shards"] = shards


def _provisioned_stream(kinesis: ModuleType, data: dict) -> dict:
    name, stream = kinesis._resolve_stream(data)
    if not stream:
        raise _RefusedError("ResourceNotFoundException", f"Stream {name} not found")
    if stream["StreamModeDetails"]["StreamMode"] == "ON_DEMAND":
        raise _RefusedError("ValidationException", f"Stream {name} is in on-demand mode: AWS alone reshards it")
    return stream


def _open_shard(stream: dict, shard_id: str) -> str:
    shard = stream["shards"].get(shard_id)
    if not shard:
        raise _RefusedError("ResourceNotFoundException", f"Shard {shard_id} of stream {stream['StreamName']} not found")
    if "ending_sequence_number" in shard:
        message = f"Shard {shard_id} of stream {stream['StreamName']} is closed: it has been split or merged already"
        raise _RefusedError("InvalidArgumentException", message)
    return shard_id


def _given(data: dict, name: str) -> object:
    if data.get(name) is None:
        raise _RefusedError("ValidationException", f"{name} is missing")
    return data[name]
