"""The checkpoint of a shard whose records are done out of order."""

from hypothesis import given
from hypothesis import strategies as st

from workbench.stream.progress import Progress


def test_the_checkpoint_is_the_end_of_what_is_done_without_a_gap():
    progress = Progress("7")
    progress.read(["8", "9", "10"])
    assert (progress.checkpoint, len(progress)) == ("7", 3)
    progress.done(["9"])
    assert progress.checkpoint == "7"
    progress.done(["8"])
    assert (progress.checkpoint, len(progress)) == ("9", 1)
    progress.read(["11"])
    progress.done(["11", "10"])
    assert (progress.checkpoint, len(progress)) == ("11", 0)


@given(st.lists(st.sampled_from(["read", "done"]), max_size=80), st.randoms())
def test_nothing_that_is_open_is_behind_the_checkpoint(steps, random):
    progress, next_number, open_now = Progress(None), 0, []
    for step in steps:
        if step == "read":
            progress.read([str(next_number)])
            open_now.append(next_number)
            next_number += 1
        elif open_now:
            number = open_now.pop(random.randrange(len(open_now)))
            progress.done([str(number)])
        behind = min(open_now, default=next_number) - 1
        assert progress.checkpoint == (str(behind) if behind >= 0 else None)
