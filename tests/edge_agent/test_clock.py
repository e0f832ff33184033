"""Which clock is trusted, what is held, and the times that held readings get."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from edge_agent import RELEASED
from edge_agent.clock import Clock, ReadingTime, read_boot_id, read_boot_s
from edge_agent.poller import place_held
from edge_agent.shared.samples import parse_time
from edge_agent.spool.boots import TAKEN_BACK_ROWS
from edge_agent.spool.queue import Spool
from tests.support.agent import START, sample
from tests.support.servers import ROOT

SECOND = timedelta(seconds=1)


class Machine:
    """A machine whose two clocks are turned by hand."""

    def __init__(self, folder, wall=START, newest=None, boot="boot-1", was_set=False):
        self.wall = wall
        self.boot_s = 100.0
        self.kernel = True
        self.timesync = folder / "timesync"
        self.clock = Clock(
            newest,
            was_set=lambda boot_id: was_set,
            wall=lambda: self.wall,
            boot_s=lambda: self.boot_s,
            boot_id=boot,
            timesync=self.timesync,
            kernel=lambda: self.kernel,
        )

    def place(self, spool):
        """What the poll loop does before each reading."""
        place_held(spool, self.clock)

    @property
    def trusted(self):
        return self.clock.read().trusted

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
    stamp = machine.clock.reading_time()
    spool.enqueue(sample(number, ts=stamp.ts.isoformat()), stamp)
    return stamp


def take_from_the_future(spool, count):
    """Readings of this boot, one a second, of a clock that was a day ahead."""
    for number in range(count):
        ts = START + timedelta(days=1, seconds=number)
        stamp = ReadingTime(ts, 100.0 + number, "boot-1", trusted=True)
        spool.enqueue(sample(number, ts=ts.isoformat()), stamp)


def queue(spool):
    """The readings that may be sent: number and time, in the order they were taken."""
    return [(int(e.sample["pv_power_w"]), even(e.sample["ts"])) for e in spool.peek(9999)]


def even(ts):
    """A time without the odd microsecond that only those of held readings have."""
    time = parse_time(ts)
    return time.replace(microsecond=time.microsecond & ~1)


def test_where_nothing_can_be_asked_the_clock_is_trusted(machine):
    assert machine.trusted
    assert machine.clock.reading_time() == ReadingTime(START, 100.0, "boot-1", trusted=True)
    assert machine.clock.warning is None


def test_times_strictly_rise_even_when_the_clock_stands_or_steps_back_a_little(machine):
    stamps = [machine.clock.reading_time() for _ in range(3)]
    machine.wall -= 2 * SECOND
    stamps += [machine.clock.reading_time() for _ in range(3)]
    times = [stamp.ts for stamp in stamps]
    assert times == sorted(set(times))
    assert all(stamp.trusted for stamp in stamps)
    assert times[-1] - START < timedelta(milliseconds=1)


def test_times_rise_over_a_restart(tmp_path):
    machine = Machine(tmp_path, newest=START + SECOND)
    assert machine.clock.reading_time().ts > START + SECOND


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
        assert clock.reading_time().trusted is trusted
    assert bool(clock.warning) is not trusted


def test_timesyncd_vetoes_until_it_has_set_its_marker(machine):
    assert machine.trusted
    machine.start_timesyncd()
    assert not machine.trusted
    machine.set_by_timesyncd()
    assert machine.trusted


def test_a_kernel_whose_clock_nothing_has_set_holds_readings_until_the_server_agrees(
    machine, spool
):
    machine.kernel = False
    machine.wall -= timedelta(hours=6)  # as fake-hwclock leaves it
    assert not take(machine, spool, 0).trusted
    assert "nothing has set the clock yet" in machine.clock.warning
    machine.clock.on_server_time(START)
    machine.wait(5)
    assert not take(machine, spool, 1).trusted, "the server says another time"
    machine.wall += timedelta(hours=6)  # chrony steps it, without rtcsync
    machine.wait(5)
    assert take(machine, spool, 2).trusted
    assert queue(spool) == [(number, START + number * 5 * SECOND) for number in range(3)]


def test_a_kernel_whose_clock_was_set_is_believed_for_the_rest_of_the_boot(tmp_path, spool):
    machine = Machine(tmp_path)
    assert take(machine, spool, 0).trusted
    machine.kernel = False  # as after nine hours without a time server
    assert take(machine, spool, 1).trusted
    for boot, trusted in (("boot-1", True), ("boot-2", False)):
        again = Machine(tmp_path, boot=boot, was_set=spool.knows_boot(boot))
        again.kernel = False
        assert again.trusted is trusted


def test_timesyncds_marker_is_enough_for_the_kernel(machine):
    machine.kernel = False
    machine.start_timesyncd()
    machine.set_by_timesyncd()
    assert machine.trusted


def test_the_kernel_is_only_asked(tmp_path):
    if subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode:
        pytest.skip("strace may not trace here")
    output = tmp_path / "trace"
    program = "from edge_agent.clock import is_set_by_kernel; print(is_set_by_kernel())"
    command = ["strace", "-e", "trace=adjtimex,clock_adjtime", "-o", output]
    done = subprocess.run(
        [*command, sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True
    )
    (call,) = [line for line in output.read_text().splitlines() if "adjtime" in line]
    assert "modes=0" in call
    assert done.stdout.decode().strip() == str("STA_UNSYNC" not in call)


def test_readings_before_the_time_came_get_it_from_the_boot_clock(machine, spool):
    machine.start_timesyncd()
    machine.wall = START - timedelta(hours=6)
    for number in range(3):
        assert not take(machine, spool, number).trusted
        machine.wait(5)
    assert queue(spool) == []
    assert "timesyncd" in machine.clock.warning
    machine.set_by_timesyncd()
    machine.wall = START + 15 * SECOND
    assert take(machine, spool, 3).trusted
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


@pytest.mark.slow
def test_more_readings_than_fit_one_look_keep_their_distances(tmp_path, spool):
    lost = Machine(tmp_path, datetime(2000, 1, 1, tzinfo=UTC), boot="boot-1")
    for number in range(1100):
        stamp = lost.clock.reading_time()
        spool.enqueue(sample(number, ts=stamp.ts.isoformat()), stamp)
        lost.wait(1)
    later = Machine(tmp_path, boot="boot-2")
    later.place(spool)
    placed = [parse_time(entry.sample["ts"]) for entry in spool.peek(3000)]
    assert {later - earlier for earlier, later in pairwise(placed)} == {SECOND}


@pytest.mark.parametrize("back", [timedelta(minutes=2), timedelta(hours=1), timedelta(days=400)])
def test_a_step_back_loses_nothing_and_collides_with_nothing(machine, spool, back):
    for number in range(5):
        take(machine, spool, number)
        machine.wait(5)
    machine.wall -= back
    for number in range(5, 10):
        assert not take(machine, spool, number).trusted
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
    wrong, right = START, START - 60 * SECOND
    found = queue(spool)
    assert [number for number, _ in found] == list(range(30))
    for number, ts in found:
        assert ts - (wrong if number < 3 else right) - number * 5 * SECOND < 6 * SECOND
    times = [entry.sample["ts"] for entry in spool.peek(99)]
    assert len(set(times)) == 30, "two readings at one time would be one in the database"


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
        assert not take(machine, spool, number).trusted
        machine.wait(5)
    machine.clock.on_server_time(machine.wall)
    for number in range(10, 20):
        assert take(machine, spool, number).trusted
        machine.wait(5)
    right = [(number, START + number * 5 * SECOND) for number in range(20)]
    assert queue(spool) == ([(0, START + ahead), *right[1:]] if kept else right)
    assert machine.clock.warning is None


def test_what_the_server_said_before_the_clock_was_put_right_is_enough(machine, spool):
    machine.wall += timedelta(hours=1)
    take(machine, spool, 0)
    machine.clock.on_server_time(START)
    assert "ahead" in machine.clock.warning
    machine.wait(5)
    machine.wall -= timedelta(hours=1)
    assert take(machine, spool, 1).trusted
    machine.wait(5)
    assert take(machine, spool, 2).trusted
    assert queue(spool) == [(number, START + number * 5 * SECOND) for number in range(3)]
    assert machine.clock.warning is None


def test_a_time_that_was_wrong_is_forgotten_for_good(tmp_path, spool):
    machine = Machine(tmp_path, START + timedelta(days=400))
    take(machine, spool, 0)
    again = Machine(tmp_path, newest=spool.newest_ts())
    assert not take(again, spool, 1).trusted
    again.clock.on_server_time(again.wall)
    again.wait(5)
    assert take(again, spool, 2).trusted
    offline = Machine(tmp_path, START + 10 * SECOND, spool.newest_ts(), boot="boot-2")
    assert take(offline, spool, 3).trusted


def test_the_spool_forgets_it_too_where_nothing_was_held(machine, spool):
    machine.clock.on_server_time(START)
    machine.wall += timedelta(days=400)
    take(machine, spool, 0)
    machine.wall = START
    take(machine, spool, 1)
    take(machine, spool, 2)
    assert spool.newest_ts() - START < SECOND


@pytest.mark.slow
def test_many_readings_of_the_future_get_their_time_piece_by_piece(machine, spool):
    count = 2 * TAKEN_BACK_ROWS + 500
    take_from_the_future(spool, count)
    machine.clock.on_server_time(START)
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
    late.clock.on_server_time(START + 10 * SECOND)
    for number in range(12, 17):
        assert not take(late, spool, number).trusted
        late.wait(5)
    late.wall += 50 * SECOND
    take(late, spool, 17)
    right = [(number, START + (10 + 5 * (number - 12)) * SECOND) for number in range(12, 18)]
    assert queue(spool)[12:] == right


def test_a_boot_after_a_clock_that_was_ahead_is_placed_before_the_next_one(tmp_path, spool):
    now = START
    for episode in "ab":
        ahead = Machine(tmp_path, now + timedelta(days=1), spool.newest_ts(), f"{episode}-1")
        ahead.clock.on_server_time(ahead.wall)
        take(ahead, spool, 0)
        offline = Machine(tmp_path, now, spool.newest_ts(), f"{episode}-2")
        for number in range(1, 4):
            assert not take(offline, spool, number).trusted
            offline.wait(5)
        now += timedelta(hours=1)
        online = Machine(tmp_path, now, spool.newest_ts(), f"{episode}-3")
        online.clock.on_server_time(now)
        take(online, spool, 4)
        now += timedelta(hours=1)
    times = [ts for _, ts in queue(spool)]
    assert len(set(times)) == len(times) == 10
    booted = START + timedelta(hours=1) - 100 * SECOND
    assert all(booted - timedelta(minutes=5) < ts < booted for ts in times[:4])
    assert {later - earlier for earlier, later in pairwise(times[1:4])} == {5 * SECOND}


@pytest.mark.slow
def test_a_restart_while_they_are_placed_changes_nothing(machine, spool, tmp_path):
    count = 2 * TAKEN_BACK_ROWS + 500
    take_from_the_future(spool, count)
    machine.clock.on_server_time(START)
    machine.wait(count)
    while spool.newest_ts() > machine.wall:
        take(machine, spool, count)
        machine.wait(1)
        count += 1
    again = Machine(tmp_path, machine.wall, spool.newest_ts())
    again.boot_s = machine.boot_s
    while not take(again, spool, count).trusted:
        again.wait(1)
        count += 1
    assert queue(spool) == [(number, START + number * SECOND) for number in range(count + 1)]


@pytest.mark.slow
def test_boots_without_the_time_end_where_this_boot_begins_however_long(tmp_path, spool):
    for number in range(3000):
        boot, boot_s = f"boot-{number // 2000}", float(number % 2000)
        spool.enqueue(sample(number), ReadingTime(START, boot_s, boot, trusted=False))
    machine = Machine(tmp_path, START + timedelta(days=1), boot="boot-2")
    machine.place(spool)
    times = [ts for _, ts in queue(spool)]
    assert {later - earlier for earlier, later in pairwise(times)} == {SECOND}
    assert timedelta() < machine.wall - 100 * SECOND - times[-1] < 5 * SECOND


def test_a_retried_reading_of_the_future_waits_for_its_time(tmp_path):
    spool = Spool(tmp_path / "spool.db")
    machine = Machine(tmp_path, START + timedelta(days=1))
    take(machine, spool, 0)
    spool.set_aside([(spool.peek(1)[0].id, "from the future")])
    machine.clock.on_server_time(START)
    machine.wall = START
    for number in range(1, 4):
        machine.wait(5)
        take(machine, spool, number)
    assert spool.retry() == 1
    spool.close()
    spool = Spool(tmp_path / "spool.db")
    again = Machine(tmp_path, machine.wall, spool.newest_ts())
    again.boot_s = machine.boot_s
    again.clock.on_server_time(again.wall)
    again.wait(5)
    assert take(again, spool, 4).trusted
    assert queue(spool) == [(number, START + number * 5 * SECOND) for number in range(5)]
    spool.close()


def test_a_refusal_of_the_wrong_time_does_not_hit_a_reading_that_has_its_own(machine, spool):
    machine.wall += timedelta(days=1)
    for number in range(2):
        take(machine, spool, number)
        machine.wait(5)
    in_flight = spool.peek(9)
    machine.wall -= timedelta(days=1)
    machine.clock.on_server_time(machine.wall)
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
    machine.clock.on_server_time(START + timedelta(minutes=10))
    assert not take(machine, spool, 1).trusted


def test_a_confirmation_ends_when_the_clock_jumps(machine, spool):
    machine.clock.on_server_time(START)
    take(machine, spool, 0)
    machine.wall -= timedelta(hours=1)
    assert not take(machine, spool, 1).trusted
    assert "before the newest" in machine.clock.warning
    machine.wait(5)
    machine.wall += timedelta(hours=1)
    assert take(machine, spool, 2).trusted
    assert [number for number, _ in queue(spool)] == [0, 1, 2]


def test_a_minute_between_our_clock_and_the_servers_is_a_warning(machine, caplog):
    for ahead_s in (30, -30):
        machine.clock.on_server_time(START + ahead_s * SECOND)
        assert machine.clock.warning is None
    machine.clock.on_server_time(START + 90 * SECOND)
    machine.clock.on_server_time(START + 90 * SECOND)
    assert machine.clock.warning == "the clock is 90 s behind the server's"
    assert [record.event for record in caplog.records] == ["clock_differs"]
    machine.clock.on_server_time(START - 90 * SECOND)
    assert machine.clock.warning == "the clock is 90 s ahead of the server's"
    machine.clock.on_server_time(START)
    assert machine.clock.warning is None


def test_the_machines_own_clocks_are_read():
    clock = Clock()
    stamp = clock.reading_time()
    assert abs((datetime.now(UTC) - stamp.ts).total_seconds()) < 10
    assert read_boot_s() >= stamp.boot_s > 0
    assert read_boot_id() == stamp.boot_id != ""
