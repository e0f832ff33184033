"""The agent's own parts on a fast clock: a week of polls as fast as they go; prints what they use.

    python -m tests.support.soak --polls N

Settings as of the agent. Each line on stdout is one look: polls done, resident memory, threads,
open files, the size of the spool's log and how many samples wait.
"""

import argparse
import json
import os
from datetime import timedelta
from pathlib import Path
from threading import Event
from time import monotonic

from edge_agent import config
from edge_agent.clock import Clock
from edge_agent.poller import Poller
from edge_agent.shared import logs
from edge_agent.shared.loops import Loop
from edge_agent.sources import open_source
from edge_agent.spool.queue import Spool
from edge_agent.upload.uploader import Uploader
from tests.support.agent import START

LOOKS = 20


def main() -> None:
    """Poll as often as told, upload meanwhile, then drain."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--polls", type=int, required=True)
    polls = parser.parse_args().polls
    logs.set_up("CRITICAL")
    settings = config.load(os.environ)
    spool, stop, now = Spool(settings.spool_path), Event(), 0.0
    clock = Clock(
        wall=lambda: START + timedelta(seconds=now), boot_s=lambda: now, kernel=lambda: True
    )
    source = open_source(settings, clock.reading_time, stop)
    uploader = Uploader(settings, spool)
    poller = Poller(settings, source, spool, clock, uploader, stop, now=lambda: now)
    upload = Loop("upload", uploader.tick, stop)
    upload.start()
    for poll in range(1, polls + 1):
        poller.tick()
        now += settings.poll_interval_s
        if poll % (polls // LOOKS) == 0:
            look(settings.spool_path, poll, spool)
    end = monotonic() + 60
    while spool.status()["pending"] and monotonic() < end:
        stop.wait(0.1)
    stop.set()
    upload.join(10)
    look(settings.spool_path, polls, spool)
    source.close()
    uploader.close()
    spool.close()


def look(path: Path, polls: int, spool: Spool) -> None:
    """Print one line."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    wal = path.with_name(path.name + "-wal")
    seen = {
        "polls": polls,
        "seconds": round(monotonic(), 1),
        "rss_kb": int(status["VmRSS"].split()[0]),
        "threads": int(status["Threads"]),
        "files": len(os.listdir("/proc/self/fd")),
        "wal_kb": wal.stat().st_size // 1024 if wal.exists() else 0,
        "pending": spool.status()["pending"],
    }
    print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    main()
