"""kill -9 at random moments, against a server that misbehaves: not one accepted reading is lost.

The ledger: what the meter served against database, spool and set-aside table. A reading that was
served but not yet on disk when the kill came was not accepted; it can only be the last one before
that kill.
"""

import random
import time
from collections import Counter

import pytest

from tests.simulators.homewizard import MeterSimulator
from tests.simulators.ingest_server import ACCEPT, IngestServer, Reply, refuse_named
from tests.support.agent import CountingMeter, left_spool, p1_environ, reading
from tests.support.servers import EdgeAgent, wait_until

pytestmark = pytest.mark.slow


def is_bad(sample):
    """Whether the server never takes this one: few enough for what may be set aside in a day."""
    return reading(sample) % 40 == 7


def misbehave(dice, request):
    """An answer of some row of the table; what is stored is stored before the answer is wrong."""
    named = [
        {"loc": ["samples", index, "energy_import_kwh"], "msg": "is bad", "type": "value"}
        for index, sample in enumerate(request.samples)
        if is_bad(sample)
    ]
    if named:
        return dice.choice([Reply(422, {"detail": named}), Reply(400, b"no"), Reply(502, b"")])
    stored = dice.random() < 0.5
    return dice.choice(
        [
            *[ACCEPT] * 4,
            Reply(200, b"<html>hello</html>", store=stored),
            Reply(200, {"inserted": 0, "received": len(request.samples) + 1}, store=stored),
            Reply(202, {}, store=stored),
            Reply(302, b"", {"Location": "/"}),
            Reply(401),
            Reply(404),
            Reply(413) if len(request.samples) > 1 else ACCEPT,
            Reply(415),
            Reply(429, b"", {"Retry-After": "1"}),
            Reply(500, b"", store=stored),
            Reply(503, b"", {"Retry-After": "soon"}, store=stored),
            Reply(reset=True, store=stored),
            Reply(silent=True, store=stored),
            Reply(200, {"inserted": 0}, drip_s=0.3),
        ]
    )


@pytest.mark.parametrize("kills", [8, pytest.param(200, marks=pytest.mark.full)])
def test_no_accepted_reading_is_lost_or_doubled(tmp_path, tls, ca, kills):
    dice = random.Random(kills)
    last_before_kill = set()
    with MeterSimulator(CountingMeter()) as meter, IngestServer(tls) as server:
        env = p1_environ(meter.port, server.port, ca.file, MIN_BACKOFF_S=0.05, MAX_BACKOFF_S=0.3)
        agent = EdgeAgent(tmp_path, env)
        server.rule = lambda request: misbehave(dice, request)
        for _ in range(kills):
            agent.launch()
            time.sleep(dice.uniform(0.3, 2.2))
            agent.kill()
            last_before_kill.add(meter.measure.served)
        server.rule = refuse_named(is_bad)
        agent.health_file.unlink(missing_ok=True)
        agent.launch()
        wait_until(lambda: agent.health().get("spool_count", 9) <= 1, 60, "the spool to drain")
        assert agent.stop() == 0
    check_ledger(tmp_path, meter.measure.served, server, last_before_kill)


def check_ledger(folder, served, server, last_before_kill):
    """Count every reading in each place where it may be."""
    spool = left_spool(folder / "spool.db")
    pending = [reading(entry.sample) for entry in spool.peek(100_000)]
    aside = [reading(one["sample"]) for one in spool.status()["rejected"]]
    spool.close()
    stored = [reading(sample) for sample in server.stored.values()]
    found = Counter(stored + pending + aside)
    missing = set(range(1, served + 1)) - set(found)
    doubled = [number for number, times in found.items() if times > 1]
    lost = missing - last_before_kill
    print(
        f"served {served}, accepted {len(found)}, stored {len(stored)}, pending {len(pending)},"
        f" set aside {len(aside)}, not accepted {len(missing)}, lost {len(lost)},"
        f" doubled {len(doubled)}, sent again {sum(server.times_stored.values()) - len(stored)}"
    )
    assert not lost
    assert not doubled
    assert all(number % 40 == 7 for number in aside)
    assert served >= len(last_before_kill) // 2
