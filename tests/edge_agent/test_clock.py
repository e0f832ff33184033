"""Which clock is trusted, what is held, and the times that held readings get."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from edge_agent import RELEASED
from edge_agent.clock import Clock, Stamp, read_boot_id, read_boot_s
from edge_agent.placing import COMPUTED, GUESSED, ROWS, Placing
from edge_agent.shared.samples import parse_time
from edge_agent.spool.file import TAKEN_BACK
from edge_agent.spool.queue import Spool
from tests.support.agent import START, sample

SECOND = timedelta(seconds=1)


class Machine:
    """A machine whose two clocks are turned by hand."""

    def __init__(self, folder, wall=START, newest=None, boot="boot-1"):
        self.wall = wall
        self.boot_s = 100.0
        self.timesync = folder / "timesync"
        self.clock = Clock(
            newest,
            wall=lambda: self.wall,
            boot_s=lambda: self.boot_s,
            boot_id=boot,
            timesync=self.timesync,
        )
        self._placing = None

    def place(self, spool):
        """One pass over what is held in the spool."""
        self._placing = self._placing or Placing(spool, self.clock)
        self._placing.step()

    @property
    def trusted(self):
        return self.clock.doubt(self.clock.read()) is None

    def start_timesyncd(self):
        self.timesync.mkdir()

    def set_by_timesyncd(self):
        (self.timesync / "synchronized").touch()

    def wait(self, seconds):
        self.wall += seconds * SECOND
        self.boot_s += seconds


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path / "spool.db")
    yield spool
    spool.close()


def take(machine, spool, number):
    """One reading, as the poll loop takes it."""
    machine.place(spool)
    stamp = machine.clock.stamp()
    spool.enqueue(sample(number, ts=stamp.ts.isoformat()), stamp)
    return stamp


def take_from_the_future(spool, count):
    """Readings of this boot, one a second, of a clock that was a day ahead."""
    for number in range(count):
        ts = START + timedelta(days=1, seconds=number)
        stamp = Stamp(ts, 100.0 + number, "boot-1", synced=True)
        spool.enqueue(sample(number, ts=ts.isoformat()), stamp)


def queue(spool):
    """The readings that may be sent: number and time, in the order they were taken."""
    return [(int(e.sample["pv_power_w"]), parse_time(e.sample["ts"])) for e in spool.peek(9999)]


def test_where_nothing_can_be_asked_the_clock_is_trusted(machine):
    assert machine.trusted
    assert not machine.clock.stamp().synced  # until what was held has its time
    machine.clock.release()
    assert machine.clock.stamp() == Stamp(START, 100.0, "boot-1", synced=True)
    assert machine.clock.warning is None


def test_times_strictly_rise_even_when_the_clock_stands_or_steps_back_a_little(machine):
    machine.clock.release()
    stamps = [machine.clock.stamp() for _ in range(3)]
    machine.wall -= 2 * SECOND
    stamps += [machine.clock.stamp() for _ in range(3)]
    times = [stamp.ts for stamp in stamps]
    assert times == sorted(set(times))
    assert all(stamp.synced for stamp in stamps)
    assert times[-1] - START < timedelta(milliseconds=1)


def test_times_rise_over_a_restart(tmp_path):
    machine = Machine(tmp_path, newest=START + SECOND)
    machine.clock.release()
    assert machine.clock.stamp().ts > START + SECOND


@pytest.mark.parametrize(
    ("wall", "newest", "trusted"),
    [
        (RELEASED, None, True),
        (RELEASED - SECOND, None, False),
        (datetime(1970, 1, 1, tzinfo=UTC), None, False),
        (START, START + timedelta(hours=1), False),
        (START, START - timedelta(hours=1), True),
    ],
)
def test_a_clock_before_the_release_or_the_newest_reading_is_not_trusted(
    tmp_path, wall, newest, trusted
):
    machine = Machine(tmp_path, wall, newest)
    clock = machine.clock
    assert machine.trusted is trusted
    if trusted:
        clock.release()
    assert clock.stamp().synced is trusted
    assert bool(clock.warning) is not trusted


def test_timesyncd_vetoes_until_it_has_set_its_marker(machine):
    assert machine.trusted
    machine.start_timesyncd()
    assert not machine.trusted
    machine.set_by_timesyncd()
    assert machine.trusted


def test_readings_before_the_time_came_get_it_from_the_boot_clock(machine, spool):
    machine.start_timesyncd()
    machine.wall = START - timedelta(hours=6)
    for number in range(3):
        assert not take(machine, spool, number).synced
        machine.wait(5)
    assert queue(spool) == []
    assert "timesyncd" in machine.clock.warning
    machine.set_by_timesyncd()
    machine.wall = START + 15 * SECOND
    assert take(machine, spool, 3).synced
    assert queue(spool) == [(number, START + number * 5 * SECOND) for number in range(4)]
    assert machine.clock.warning is None


def test_an_earlier_process_of_the_same_boot_is_placed_as_exactly(tmp_path, spool):
    machine = Machine(tmp_path, wall=datetime(2000, 1, 1, tzinfo=UTC))
    take(machine, spool, 0)
    again = Machine(tmp_path, wall=START, newest=spool.newest_ts())
    again.boot_s = 160.0
    take(again, spool, 1)
    assert queue(spool) == [(0, START - 60 * SECOND), (1, START)]


def test_a_boot_that_never_saw_the_time_comes_after_the_last_known_reading(tmp_path, spool):
    good = Machine(tmp_path)
    take(good, spool, 0)
    good.wait(5)
    take(good, spool, 1)
    lost = Machine(tmp_path, datetime(2000, 1, 1, tzinfo=UTC), spool.newest_ts(), boot="boot-2")
    lost.boot_s = 3.0
    for number in (2, 3, 4):
        take(lost, spool, number)
        lost.wait(5)
    today = Machine(tmp_path, START + timedelta(days=1), spool.newest_ts(), boot="boot-3")
    take(today, spool, 5)
    last = START + 5 * SECOND
    assert queue(spool) == [
        (0, START),
        (1, last),
        (2, last + 1 * SECOND),
        (3, last + 6 * SECOND),
        (4, last + 11 * SECOND),
        (5, START + timedelta(days=1)),
    ]


def test_more_readings_than_fit_one_look_keep_their_distances(tmp_path, spool):
    lost = Machine(tmp_path, datetime(2000, 1, 1, tzinfo=UTC), boot="boot-1")
    for number in range(1100):
        stamp = lost.clock.stamp()
        spool.enqueue(sample(number, ts=stamp.ts.isoformat()), stamp)
        lost.wait(1)
    later = Machine(tmp_path, boot="boot-2")
    for _ in range(2):
        assert later.clock.holds
        later.place(spool)
    assert not later.clock.holds
    placed = [parse_time(entry.sample["ts"]) for entry in spool.peek(3000)]
    assert {later - earlier for earlier, later in pairwise(placed)} == {SECOND}


@pytest.mark.parametrize("back", [timedelta(minutes=2), timedelta(hours=1), timedelta(days=400)])
def test_a_step_back_loses_nothing_and_collides_with_nothing(machine, spool, back):
    for number in range(5):
        take(machine, spool, number)
        machine.wait(5)
    machine.wall -= back
    for number in range(5, 10):
        assert not take(machine, spool, number).synced
        machine.wait(5)
    assert "before" in machine.clock.warning
    assert [number for number, _ in queue(spool)] == list(range(5))
    machine.wall += back
    take(machine, spool, 10)
    assert queue(spool) == [(number, START + number * 5 * SECOND) for number in range(11)]


def test_a_clock_that_stays_behind_catches_up_without_a_collision(machine, spool):
    for number in range(3):
        take(machine, spool, number)
        machine.wait(5)
    machine.wall -= 60 * SECOND
    for number in range(3, 30):
        take(machine, spool, number)
        machine.wait(5)
    found = queue(spool)
    assert [number for number, _ in found] == list(range(30))
    times = [ts for _, ts in found]
    assert times == sorted(set(times))


@pytest.mark.parametrize(
    ("ahead", "kept"),
    # What the server may have taken keeps its time.
    [(timedelta(minutes=3), True), (timedelta(minutes=10), False), (timedelta(days=400), False)],
)
def test_after_a_clock_that_was_ahead_the_server_decides(machine, spool, ahead, kept):
    machine.wall += ahead
    take(machine, spool, 0)
    machine.wait(5)
    machine.wall -= ahead
    for number in range(1, 10):
        assert not take(machine, spool, number).synced
        machine.wait(5)
    machine.clock.compare(machine.wall)
    for number in range(10, 20):
        assert take(machine, spool, number).synced
        machine.wait(5)
    right = [(number, START + number * 5 * SECOND) for number in range(20)]
    assert queue(spool) == ([(0, START + ahead), *right[1:]] if kept else right)
    assert machine.clock.warning is None


def test_what_the_server_said_before_the_clock_was_put_right_is_enough(machine, spool):
    machine.wall += timedelta(hours=1)
    take(machine, spool, 0)
    machine.clock.compare(START)
    assert "ahead" in machine.clock.warning
    machine.wait(5)
    machine.wall -= timedelta(hours=1)
    assert not take(machine, spool, 1).synced  # the spool has to learn it first
    machine.wait(5)
    assert take(machine, spool, 2).synced
    assert queue(spool) == [(number, START + number * 5 * SECOND) for number in range(3)]
    assert machine.clock.warning is None


def test_a_time_that_was_wrong_is_forgotten_for_good(tmp_path, spool):
    machine = Machine(tmp_path, START + timedelta(days=400))
    take(machine, spool, 0)
    again = Machine(tmp_path, newest=spool.newest_ts())
    assert not take(again, spool, 1).synced
    again.clock.compare(again.wall)
    again.wait(5)
    assert take(again, spool, 2).synced
    offline = Machine(tmp_path, START + 10 * SECOND, spool.newest_ts(), boot="boot-2")
    assert take(offline, spool, 3).synced


def test_the_spool_forgets_it_too_where_nothing_was_held(machine, spool):
    machine.clock.compare(START)
    machine.wall += timedelta(days=400)
    take(machine, spool, 0)
    machine.wall = START
    take(machine, spool, 1)
    take(machine, spool, 2)
    assert spool.newest_ts() - START < SECOND


def test_many_readings_of_the_future_get_their_time_piece_by_piece(machine, spool):
    count = 2 * TAKEN_BACK + 500
    take_from_the_future(spool, count)
    machine.clock.compare(START)
    machine.wait(count)
    for number in range(count, count + 5):
        take(machine, spool, number)
        machine.wait(1)
    found = queue(spool)
    assert found == [(number, START + number * SECOND) for number in range(count + 5)]
    assert spool.newest_ts() == found[-1][1]


def test_a_clock_behind_the_server_disproves_no_reading_of_the_past(tmp_path, spool):
    good = Machine(tmp_path, START - 60 * SECOND)
    for number in range(12):
        take(good, spool, number)
        good.wait(5)
    late = Machine(tmp_path, START - 40 * SECOND, spool.newest_ts(), boot="boot-2")
    late.clock.compare(START + 10 * SECOND)
    for number in range(12, 17):
        assert not take(late, spool, number).synced
        late.wait(5)
    late.wall += 50 * SECOND
    take(late, spool, 17)
    right = [(number, START + (10 + 5 * (number - 12)) * SECOND) for number in range(12, 18)]
    assert queue(spool)[12:] == right


def test_a_boot_after_a_clock_that_was_ahead_is_placed_before_the_next_one(tmp_path, spool):
    now = START
    for episode in "ab":
        ahead = Machine(tmp_path, now + timedelta(days=1), spool.newest_ts(), f"{episode}-1")
        ahead.clock.compare(ahead.wall)
        take(ahead, spool, 0)
        offline = Machine(tmp_path, now, spool.newest_ts(), f"{episode}-2")
        for number in range(1, 4):
            assert not take(offline, spool, number).synced
            offline.wait(5)
        now += timedelta(hours=1)
        online = Machine(tmp_path, now, spool.newest_ts(), f"{episode}-3")
        online.clock.compare(now)
        take(online, spool, 4)
        now += timedelta(hours=1)
    times = [ts for _, ts in queue(spool)]
    assert len(set(times)) == len(times) == 10
    booted = START + timedelta(hours=1) - 100 * SECOND
    assert all(booted - timedelta(minutes=5) < ts < booted for ts in times[:4])
    assert {later - earlier for earlier, later in pairwise(times[1:4])} == {5 * SECOND}


def test_a_restart_while_they_are_placed_changes_nothing(machine, spool, tmp_path):
    count = 2 * TAKEN_BACK + 500
    take_from_the_future(spool, count)
    machine.clock.compare(START)
    machine.wait(count)
    while spool.newest_ts() > machine.wall:
        take(machine, spool, count)
        machine.wait(1)
        count += 1
    again = Machine(tmp_path, machine.wall, spool.newest_ts())
    again.boot_s = machine.boot_s
    while not take(again, spool, count).synced:
        again.wait(1)
        count += 1
    assert queue(spool) == [(number, START + number * SECOND) for number in range(count + 1)]


def test_boots_without_the_time_end_where_this_boot_begins_however_long(tmp_path, spool):
    for number in range(3 * ROWS):
        boot, boot_s = f"boot-{number // (2 * ROWS)}", float(number % (2 * ROWS))
        spool.enqueue(sample(number), Stamp(START, boot_s, boot, synced=False))
    machine = Machine(tmp_path, START + timedelta(days=1), boot="boot-2")
    for _ in range(3):
        machine.place(spool)
    times = [ts for _, ts in queue(spool)]
    assert {later - earlier for earlier, later in pairwise(times)} == {SECOND}
    assert timedelta() < machine.wall - 100 * SECOND - times[-1] < 5 * SECOND


def test_a_retried_reading_of_the_future_waits_for_its_time(tmp_path):
    spool = Spool(tmp_path / "spool.db")
    machine = Machine(tmp_path, START + timedelta(days=1))
    take(machine, spool, 0)
    spool.set_aside([(spool.peek(1)[0].id, "from the future")])
    machine.clock.compare(START)
    machine.wall = START
    for number in range(1, 4):
        machine.wait(5)
        take(machine, spool, number)
    assert spool.retry() == 1
    spool.close()
    spool = Spool(tmp_path / "spool.db")
    again = Machine(tmp_path, machine.wall, spool.newest_ts())
    again.boot_s = machine.boot_s
    again.clock.compare(again.wall)
    again.wait(5)
    assert take(again, spool, 4).synced
    assert queue(spool) == [(number, START + number * 5 * SECOND) for number in range(5)]
    spool.close()


def test_a_refusal_of_the_wrong_time_does_not_hit_a_reading_that_has_its_own(machine, spool):
    machine.wall += timedelta(days=1)
    for number in range(2):
        take(machine, spool, number)
        machine.wait(5)
    in_flight = spool.peek(9)
    machine.wall -= timedelta(days=1)
    machine.clock.compare(machine.wall)
    for number in range(2, 5):
        take(machine, spool, number)
        machine.wait(5)
    spool.set_aside([(entry.id, "from the future") for entry in in_flight])
    assert queue(spool) == [(number, START + number * 5 * SECOND) for number in range(5)]
    assert spool.status()["rejected"] == []


def test_a_server_with_another_time_confirms_nothing(machine, spool):
    machine.wall += timedelta(minutes=10)
    take(machine, spool, 0)
    machine.wall -= timedelta(minutes=10)
    machine.clock.compare(START + timedelta(minutes=10))
    assert not take(machine, spool, 1).synced


def test_a_confirmation_ends_when_the_clock_jumps(machine, spool):
    machine.clock.compare(START)
    take(machine, spool, 0)
    machine.wall -= timedelta(hours=1)
    assert not take(machine, spool, 1).synced
    assert "before the newest" in machine.clock.warning
    machine.wait(5)
    machine.wall += timedelta(hours=1)
    assert take(machine, spool, 2).synced
    assert [number for number, _ in queue(spool)] == [0, 1, 2]


def test_each_placed_reading_is_marked_in_the_spool(machine, spool):
    notes = []

    class Listening:
        newest_ts, held, other_boots_s = spool.newest_ts, spool.held, spool.other_boots_s

        def place(self, updates):
            notes.extend(note for _, _, note in updates)
            return spool.place(updates)

    for boot in ("boot-0", "boot-1"):
        spool.enqueue(sample(0), Stamp(START, 1.0, boot, synced=False))
    machine.place(Listening())
    assert notes == [GUESSED, COMPUTED]


def test_a_minute_between_our_clock_and_the_servers_is_a_warning(machine, caplog):
    machine.clock.release()
    for ahead_s in (30, -30):
        machine.clock.compare(START + ahead_s * SECOND)
        assert machine.clock.warning is None
    machine.clock.compare(START + 90 * SECOND)
    machine.clock.compare(START + 90 * SECOND)
    assert machine.clock.warning == "the clock is 90 s behind the server's"
    assert [record.event for record in caplog.records] == ["clock_differs"]
    machine.clock.compare(START - 90 * SECOND)
    assert machine.clock.warning == "the clock is 90 s ahead of the server's"
    machine.clock.compare(START)
    assert machine.clock.warning is None


def test_the_machines_own_clocks_are_read():
    clock = Clock()
    clock.release()
    stamp = clock.stamp()
    assert abs((datetime.now(UTC) - stamp.ts).total_seconds()) < 10
    assert read_boot_s() >= stamp.boot_s > 0
    assert read_boot_id() == stamp.boot_id != ""
