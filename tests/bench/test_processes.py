"""The processor time of a measured process."""

from __future__ import annotations

import subprocess
import sys

from bench.processes import cpu_of

WORK = """
import sys, threading, time
def work():
    ends = time.process_time() + 0.02
    while time.process_time() < ends:
        pass
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(time.process_time(), flush=True)
sys.stdin.read()
"""


def test_the_time_of_a_thread_that_has_ended_counts_and_is_finer_than_a_hundredth_of_a_second() -> None:
    with subprocess.Popen([sys.executable, "-c", WORK], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        own = float(worker.stdout.readline())
        measured = cpu_of(worker.pid)
        worker.communicate()
    assert 0.02 < own <= measured < own + 0.01
