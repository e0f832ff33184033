"""Settings of the agent."""

from pathlib import Path

import pytest

from edge_agent import config
from edge_agent.shared.environment import InvalidSettings
from tests.support.agent import TOKEN, environ

P1 = {
    "SUNGROW_HOST": None,
    "HW_P1_HOST": "meter.local",
    "HW_P1_TOKEN": "0123456789abcdefABCDEF0123456789",
}
DEFAULTS = {
    "sungrow_port": 502,
    "sungrow_slave_id": 1,
    "inter_register_delay_ms": 20,
    "hw_p1_api": "v2",
    "hw_p1_serial": None,
    "hw_p1_ca_file": None,
    "hw_p1_timeout_s": 3,
    "vps_ca_file": None,
    "batch_size": 500,
    "upload_interval_s": 10,
    "min_backoff_s": 1,
    "max_backoff_s": 300,
    "spool_max_mb": 1024,
    "log_level": "INFO",
}


def problems_of(environ: dict[str, str]) -> list[str]:
    return config.check(environ)[1]


def test_the_defaults_are_those_of_the_contract(tmp_path):
    settings = config.load(environ(tmp_path, SPOOL_PATH=None))
    assert {name: getattr(settings, name) for name in DEFAULTS} == DEFAULTS
    assert str(settings.hw_p1_timezone) == "Europe/Brussels"
    assert settings.spool_path == Path("/var/lib/sunspool/house/spool.db")
    assert settings.health_path == Path("/var/lib/sunspool/house/health.json")


@pytest.mark.parametrize(
    ("changes", "interval_s", "port"),
    [({}, 5, 443), (P1, 1, 443), (P1 | {"HW_P1_API": "v1", "HW_P1_TOKEN": None}, 1, 80)],
)
def test_some_defaults_depend_on_the_device(tmp_path, changes, interval_s, port):
    settings = config.load(environ(tmp_path, **changes))
    assert (settings.poll_interval_s, settings.hw_p1_port) == (interval_s, port)


def test_the_health_file_lies_beside_the_spool(tmp_path):
    assert config.load(environ(tmp_path)).health_path == tmp_path / "health.json"


def test_a_trailing_slash_of_the_url_is_dropped(tmp_path):
    settings = config.load(environ(tmp_path, VPS_INGEST_URL="https://host/base/"))
    assert settings.vps_ingest_url == "https://host/base"


@pytest.mark.parametrize(
    "wrong",
    [
        {"SUNGROW_HOST": None},
        {"HW_P1_API": "v1", "HW_P1_HOST": "meter.local"},
        {"SUNGROW_HOST": "http://inverter"},
        {"SUNGROW_PORT": "0"},
        {"SUNGROW_SLAVE_ID": "248"},
        {"INTER_REGISTER_DELAY_MS": "19"},
        P1 | {"HW_P1_TOKEN": None},
        P1 | {"HW_P1_TOKEN": "0123"},
        P1 | {"HW_P1_API": "v3"},
        P1 | {"HW_P1_SERIAL": "5c2f"},
        P1 | {"HW_P1_CA_FILE": "/dev/null"},
        P1 | {"HW_P1_TIMEOUT_S": "31"},
        P1 | {"HW_P1_TIMEZONE": "Europe/Ghent"},
        P1 | {"POLL_INTERVAL_S": "0.5"},
        {"POLL_INTERVAL_S": "4"},
        {"VPS_INGEST_URL": "http://host"},
        {"VPS_INGEST_URL": None},
        {"VPS_DEVICE_TOKEN": None},
        {"VPS_DEVICE_TOKEN": "two words"},
        {"VPS_CA_FILE": "/nowhere"},
        {"DEVICE_ID": "a/b"},
        {"DEVICE_ID": None},
        {"BATCH_SIZE": "1001"},
        {"UPLOAD_INTERVAL_S": "0.5"},
        {"MIN_BACKOFF_S": "0"},
        {"MIN_BACKOFF_S": "10", "MAX_BACKOFF_S": "9"},
        {"SPOOL_MAX_MB": "0"},
        {"LOG_LEVEL": "LOUD"},
    ],
    ids=lambda wrong: " ".join(f"{name}={wrong[name]}" for name in list(wrong)[-1:]),
)
def test_each_rule_is_one_problem_that_names_its_setting(tmp_path, wrong):
    problems = problems_of(environ(tmp_path, **wrong))
    assert len(problems) == 1
    assert list(wrong)[-1] in problems[0]


def test_all_problems_are_told_at_once():
    problems = problems_of({"SUNGROW_PORT": "x", "BATCH_SIZE": "0", "MIN_BACKOFF_S": "500"})
    told = " ".join(problems)
    for name in ("SUNGROW_HOST", "SUNGROW_PORT", "VPS_INGEST_URL", "VPS_DEVICE_TOKEN"):
        assert name in told
    for name in ("DEVICE_ID", "BATCH_SIZE", "MIN_BACKOFF_S"):
        assert name in told
    with pytest.raises(InvalidSettings) as raised:
        config.load({"BATCH_SIZE": "0"})
    assert len(raised.value.problems) == 5


def test_secrets_show_neither_in_print_nor_in_check(tmp_path):
    settings = config.load(environ(tmp_path, **P1))
    shown, _ = config.check(environ(tmp_path, **P1))
    assert shown == settings.shown()
    for text in (repr(settings), str(shown)):
        assert TOKEN not in text
        assert P1["HW_P1_TOKEN"] not in text
    assert shown["VPS_DEVICE_TOKEN"] == shown["HW_P1_TOKEN"] == "***"


def test_the_token_of_a_file_is_known_by_its_file(tmp_path):
    (tmp_path / "vps_device_token").write_text("first\n")
    by_file = environ(
        tmp_path, VPS_DEVICE_TOKEN="", VPS_DEVICE_TOKEN_FILE=tmp_path / "vps_device_token"
    )
    by_credential = environ(tmp_path, VPS_DEVICE_TOKEN=None, CREDENTIALS_DIRECTORY=tmp_path)
    for settings in (config.load(by_file), config.load(by_credential)):
        assert settings.vps_device_token == "first"
        assert settings.vps_device_token_file == tmp_path / "vps_device_token"
    assert config.load(environ(tmp_path)).vps_device_token_file is None


def test_a_rotated_token_is_read_again_unless_the_file_is_broken(tmp_path):
    path = tmp_path / "token"
    assert config.read_token(path) is None
    path.write_text("second\n")
    assert config.read_token(path) == "second"
    path.write_text("\n")
    assert config.read_token(path) is None


def test_the_spool_is_found_with_one_setting():
    assert config.spool({"SPOOL_PATH": "/a/b.db"}) == (Path("/a/b.db"), 1024)
    found = config.spool({"DEVICE_ID": "d", "SPOOL_MAX_MB": "7"})
    assert found == (Path("/var/lib/sunspool/d/spool.db"), 7)
    with pytest.raises(InvalidSettings, match="SPOOL_PATH or DEVICE_ID"):
        config.spool({})
    with pytest.raises(InvalidSettings, match="SPOOL_MAX_MB"):
        config.spool({"DEVICE_ID": "d", "SPOOL_MAX_MB": "none"})


def test_a_private_ca_and_the_vendors_are_taken(tmp_path, ca):
    vendor = Path(config.__file__).parent / "sources" / "p1" / "homewizard-ca.pem"
    settings = config.load(environ(tmp_path, **P1, VPS_CA_FILE=ca.file, HW_P1_CA_FILE=vendor))
    assert (settings.vps_ca_file, settings.hw_p1_ca_file) == (ca.file, vendor)
