"""The inverter's way: its raw words, the agent, HTTPS, the database, and what curl gets."""

import json
from pathlib import Path

import pytest

from tests.support.servers import Simulator, wait_until
from tests.support.whole_path import INVERTER, Site

pytestmark = pytest.mark.slow

RECORDINGS = Path(__file__).parents[1] / "recordings" / "sungrow"
WORDS = sorted(RECORDINGS.glob("*.expected.json"))


@pytest.mark.parametrize("expected_file", WORDS, ids=lambda file: file.name.split(".expected")[0])
def test_recorded_words_come_out_of_curl_as_the_expected_sample(
    expected_file: Path, site: Site, tmp_path: Path
):
    words = expected_file.with_name(expected_file.name.replace(".expected", ""))
    expected = json.loads(expected_file.read_text())
    with Simulator(tmp_path / "inverter", "inverter", "--words", str(words)) as inverter:
        device = {"SUNGROW_HOST": "127.0.0.1", "SUNGROW_PORT": str(inverter.told["port"])}
        with site.agent(INVERTER, device) as agent:
            wait_until(lambda: site.stored(INVERTER), 30, "a sample in the database")
            body = site.curl(f"/v1/realtime?device_id={INVERTER}", INVERTER)
            today = site.curl(f"/v1/series?device_id={INVERTER}&frame=day", INVERTER)
            assert agent.health()["source_ok"]
    own = {"device_id": INVERTER, "ts": body["ts"], "age_s": body["age_s"]}
    assert body == expected | own
    assert 0 <= body["age_s"] < 30
    assert today["series"][-1]["avg_pv_power_w"] == expected["pv_power_w"]
    assert agent.spool()["pending"] == 0
