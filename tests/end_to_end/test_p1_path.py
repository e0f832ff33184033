"""The P1 meter's way as a user goes it: pair, try, run the agent, ask the server with curl."""

import json
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from edge_agent.shared.samples import parse_time
from tests.simulators.appliances import SERIAL, ApplianceCa, san
from tests.simulators.homewizard import TOKEN, MeterSimulator
from tests.support.servers import EdgeAgent, wait_until
from tests.support.whole_path import METER, Site

pytestmark = pytest.mark.slow

BRUSSELS = ZoneInfo("Europe/Brussels")
RECORDINGS = Path(__file__).parents[1] / "recordings" / "homewizard"


class Kitchen:
    """A meter whose import rises by 1 Wh a second, with the local time of now."""

    def __init__(self) -> None:
        self.began = datetime.now(UTC)

    def __call__(self) -> dict:
        now = datetime.now(UTC)
        seconds = int((now - self.began).total_seconds())
        return {
            "timestamp": now.astimezone(BRUSSELS).strftime("%Y-%m-%dT%H:%M:%S"),
            "power_w": 3600,
            "energy_import_t1_kwh": 739.591,
            "energy_import_t2_kwh": round(855.251 + seconds / 1000, 3),
            "energy_export_kwh": 2355.869,
            "average_power_15m_w": 45,
            "monthly_power_peak_w": 3560,
            "monthly_power_peak_timestamp": now.astimezone(BRUSSELS).strftime("%Y-%m-01T00:15:00"),
            "tariff": 2,
        }


@pytest.fixture(scope="module")
def appliances(tmp_path_factory):
    """The CA of the look-alikes, and a certificate of the usual meter."""
    ca = ApplianceCa(tmp_path_factory.mktemp("appliances"))
    return ca, ca.issue(sans=(san(),))


def device(meter: MeterSimulator, ca: ApplianceCa | None) -> dict[str, str]:
    """The settings that name the meter; without a CA it is asked over v1."""
    host = {"HW_P1_HOST": "127.0.0.1", "HW_P1_PORT": str(meter.port)}
    if ca is None:
        return host | {"HW_P1_API": "v1"}
    return host | {"HW_P1_CA_FILE": str(ca.file)}


def lone_agent(folder: Path, settings: dict[str, str]) -> EdgeAgent:
    """An agent without a server."""
    server = {"VPS_INGEST_URL": "https://127.0.0.1:1", "VPS_DEVICE_TOKEN": "x"}
    return EdgeAgent(folder, {"DEVICE_ID": METER, **server, **settings})


@pytest.mark.parametrize("api", ["v1", "v2"])
def test_once_prints_the_sample_of_a_recording_or_says_why_not(tmp_path, appliances, api):
    ca, certificate = appliances
    with MeterSimulator(dict, certificate if api == "v2" else None) as meter:
        settings = device(meter, ca if api == "v2" else None) | {"HW_P1_TOKEN": TOKEN}
        agent = lone_agent(tmp_path, settings)
        for path in sorted(RECORDINGS.glob("*.expected.json")):
            expected = json.loads(path.read_text())
            if expected["api"] != api or "reasons" in expected:
                continue
            answer = path.with_name(path.name.replace(".expected", ""))
            meter.scripted = (200, answer.read_bytes())
            done = agent.ask("--once")
            if "sample" in expected:
                made = json.loads(done.stdout)
                age = datetime.now(UTC) - parse_time(made.pop("ts"))
                assert timedelta(0) <= age < timedelta(seconds=60)
                assert made == {"device_id": METER, **expected["sample"]}, path.name
                assert done.returncode == 0
            else:
                assert (done.returncode, done.stdout) == (69, ""), path.name
                assert expected["reason"] in done.stderr
            assert TOKEN not in done.stdout + done.stderr
        meter.scripted = None
        meter.fault = 401 if api == "v2" else 403
        assert agent.ask("--once").returncode == 69


def test_pair_then_run_then_ask_the_server(site: Site, appliances, tmp_path):
    ca, certificate = appliances
    token_file = tmp_path / "hw_p1_token"
    with MeterSimulator(Kitchen(), certificate) as meter:
        settings = device(meter, ca)
        agent = site.agent(METER, settings, HW_P1_TOKEN_FILE=str(token_file))
        _pair(agent, meter)
        assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
        with agent:
            wait_until(lambda: len(site.stored(METER)) >= 3, 30, "three samples on the server")
            health = agent.health()
        assert health["source_ok"], health
        _ask_everything(site)
        told = {(one["timestamp"], one["energy_import_t2_kwh"]) for one in meter.told}
        rows = site.stored(METER, "energy_import_kwh")
        assert len(rows) == len(set(rows)) == len(told)  # each telegram once
        assert token_file.read_text().strip() not in agent.log()
        assert meter.connections <= 3  # pairing, the agent; not one per reading


def _pair(agent: EdgeAgent, meter: MeterSimulator) -> None:
    """As the user does: start it, press the button, read what to do next."""

    def press() -> None:
        wait_until(lambda: meter.requests, 30, "the device to be asked")
        meter.press_button()

    presser = threading.Thread(target=press)
    presser.start()
    done = agent.ask("--pair")
    presser.join()
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"HW_P1_SERIAL={SERIAL}" in done.stdout


def _ask_everything(site: Site) -> None:
    newest = site.curl(f"/v1/realtime?device_id={METER}", METER)
    assert (newest["power_w"], newest["import_power_w"]) == (3600, 3600)
    assert newest["energy_export_kwh"] == 2355.869
    assert newest["energy_import_kwh"] == pytest.approx(1594.842, abs=0.1)
    assert newest["age_s"] < 60
    local = parse_time(newest["ts"]).astimezone(BRUSSELS)
    capacity = site.curl(f"/v1/capacity/month/{local:%Y-%m}?device_id={METER}", METER)
    assert {peak["avg_power_w"] for peak in capacity["peaks"]} == {3600}
    assert capacity["monthly_peak_w"] == 3600
    assert capacity["official_peak_w"] == 3560
    first = datetime(local.year, local.month, 1, 0, 15, tzinfo=BRUSSELS)
    assert parse_time(capacity["official_peak_ts"]) == first.astimezone(UTC)
    today = site.curl(f"/v1/daily-energy?device_id={METER}", METER)
    assert today["date"] == f"{local:%Y-%m-%d}"
    assert today["sample_count"] == len(site.stored(METER))
    assert today["import_today_kwh"] == pytest.approx((today["sample_count"] - 1) / 1000, abs=0.005)
    assert today["export_today_kwh"] == 0
    series = site.curl(f"/v1/series?device_id={METER}&frame=day", METER)
    assert sum(bucket["sample_count"] for bucket in series["series"]) == today["sample_count"]


def test_a_telegram_is_spooled_once_and_a_deleted_token_is_said_in_the_health(tmp_path, appliances):
    ca, certificate = appliances
    body = {"power_w": 77, "timestamp": "2026-11-21T15:00:00"}
    with MeterSimulator(lambda: body, certificate) as meter:
        agent = lone_agent(tmp_path, device(meter, ca) | {"HW_P1_TOKEN": TOKEN})
        with agent:
            wait_until(lambda: len(meter.told) >= 4, 30, "four polls")
            meter.users = {}  # and then somebody deletes the token
            wait_until(lambda: agent.health().get("source_ok") is False, 30, "the refusal")
            health = agent.health()
        assert (health["spool_count"], "--pair" in health["last_error"]) == (1, True)
        assert agent.log().count('"poll_failed"') == 1
        assert agent.spool()["pending"] == 1
    assert (tmp_path / "spool.db.p1-serial").read_text().strip() == SERIAL
