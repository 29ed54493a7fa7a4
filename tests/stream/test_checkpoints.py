from workbench.cloud.clients import client
from workbench.stream.checkpoints import Checkpoints


def test_a_shard_is_where_it_was_last_written(wired):
    assert wired.checkpoints.read("shard-1") is None
    wired.checkpoints.write("shard-1", "49590338271490256608559692538361571095921575989136588898")
    wired.checkpoints.write("shard-2", "7")
    assert wired.checkpoints.read("shard-1") == "49590338271490256608559692538361571095921575989136588898"
    wired.checkpoints.write("shard-1", "8")
    assert (wired.checkpoints.read("shard-1"), wired.checkpoints.read("shard-2")) == ("8", "7")


def test_a_forgotten_shard_begins_anew_and_the_others_stay(wired):
    wired.checkpoints.write("shard-1", "1")
    wired.checkpoints.write("shard-2", "2")
    wired.checkpoints.forget("shard-1")
    wired.checkpoints.forget("shard-3")  # never was there
    assert (wired.checkpoints.read("shard-1"), wired.checkpoints.read("shard-2")) == (None, "2")


def test_two_consumers_of_a_stream_do_not_disturb_each_other(wired, embedded_cloud):
    other = Checkpoints(client("dynamodb", embedded_cloud), wired.name, consumer="analytics")
    wired.checkpoints.write("shard-1", "1")
    assert other.read("shard-1") is None
    other.write("shard-1", "2")
    assert wired.checkpoints.read("shard-1") == "1"
