"""The first calls of a process come from several threads at once: each key group of each shard has one."""

import subprocess
import sys

# A struct's field types are looked up while another thread already uses what there is of them: msgspec 0.22 then reads at 0.
_FIRST_CALLS = """
import threading, time
import msgspec._utils as looked_up
import numpy as np
from workbench.events import Recommendation
from workbench.function.entities import Activity, Touch, recommendation_item

look_up = looked_up._get_class_mro_and_typevar_mappings

def slowly(kind):
    if kind is Touch:
        time.sleep(0.5)
    return look_up(kind)

looked_up._get_class_mro_and_typevar_mappings = slowly
activity = Activity().after(Touch("e1", "p1", 1), np.ones(2, np.float32), half_life=10.0)
item = recommendation_item(Recommendation("u1", (), "t1"), activity)
found = []
threads = [threading.Thread(target=lambda: found.append(Activity.from_item(item).recent)) for _ in range(4)]
for thread in threads:
    thread.start()
    time.sleep(0.05)
for thread in threads:
    thread.join()
assert found == [(Touch("e1", "p1", 1),)] * 4
"""


def test_the_first_activities_may_be_read_by_several_threads():
    done = subprocess.run([sys.executable, "-c", _FIRST_CALLS], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
