"""What processes cost: processor time of a whole tree of them, and memory."""

import os
import time
from pathlib import Path

from tests.support.servers.process import children

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def tree_s(pid: int) -> float:
    """Processor time of a process, of those it has started and of those that have ended."""
    return _own_s(pid) + sum(map(tree_s, children(pid)))


def _own_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        # Its own by the clock that Linux keeps of it, to the nanosecond; a tick is 10 ms.
        own_s = time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return 0  # it ends just now, and its parent counts it
    return own_s + sum(map(int, fields[13:15])) / TICKS_A_SECOND


def resident_mb(pid: int) -> float:
    """Memory of a process, in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
