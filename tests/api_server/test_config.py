"""Settings of the API: what each may be, all problems at once, and no secret in any of them."""

import hashlib
from zoneinfo import ZoneInfo

import pytest

from api_server.config import load, load_for_migration
from api_server.devices import Device, Site, digest
from edge_agent.shared.environment import InvalidSettings

ENVIRON = {
    "DATABASE_URL": "postgresql://sunspool:hunter2@localhost/sunspool",
    "REDIS_URL": "redis://:hunter2@localhost:6379/0",
    "DEVICE_TOKENS": "hunter2:roof",
}


def problems(**changes: str) -> list[str]:
    """What is wrong with these settings; none of it tells a secret."""
    with pytest.raises(InvalidSettings) as refused:
        load({**ENVIRON, **changes})
    assert "hunter2" not in str(refused.value)
    return refused.value.problems


def test_what_is_not_set_has_its_default():
    settings = load(ENVIRON)
    assert settings.migrate_database_url == settings.database_url
    assert settings.read_tokens == {}
    assert settings.site_timezone == ZoneInfo("Europe/Brussels")
    assert settings.cache_ttl_s == 5
    assert settings.max_samples_per_request == 1000
    assert settings.max_request_bytes == 1_048_576
    assert settings.max_requests_per_minute == 1200
    assert settings.cors_origins == frozenset()
    assert (settings.sites, settings.battery_kwh) == ({}, {})
    assert (settings.keep_samples_days, settings.grid_area, settings.tariff_file) == (None,) * 3
    assert (settings.alert_urls, settings.alert_heartbeat_url) == ((), None)
    assert (settings.alert_interval_s, settings.alert_silence_s) == (15, 900)
    assert (settings.alert_repeat_h, settings.alert_lang) == (24, "en")


def test_nothing_that_is_shown_or_printed_tells_a_secret():
    settings = load({**ENVIRON, "READ_TOKENS": "hunter2-reader:roof"})
    assert "hunter2" not in str(settings.shown())
    assert "hunter2" not in repr(settings)
    assert settings.shown()["DEVICE_TOKENS"] == "***"


def test_tokens_name_devices_of_both_kinds_and_may_be_digests():
    hidden = hashlib.sha256(b"hidden").hexdigest()
    text = f"one:roof, two:roof:sungrow,sha256-{hidden.upper()}:meter:p1"
    tokens = load({**ENVIRON, "DEVICE_TOKENS": text}).device_tokens
    assert tokens == {
        digest(b"one"): Device("roof", "sungrow"),
        digest(b"two"): Device("roof", "sungrow"),
        digest(b"hidden"): Device("meter", "p1"),
    }


@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_no_tokens_at_all_is_a_choice_but_must_be_made(text):
    assert load({**ENVIRON, "DEVICE_TOKENS": text}).device_tokens == {}
    environ = {name: value for name, value in ENVIRON.items() if name != "DEVICE_TOKENS"}
    with pytest.raises(InvalidSettings, match="DEVICE_TOKENS is required"):
        load(environ)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hunter2", "entry 1"),
        ("a:roof,hunter2", "entry 2"),
        ("a:roof,", "entry 2"),
        (":roof", "entry 1"),
        ("hunter2:", "device id"),
        ("hunter2:ro of", "device id"),
        ("hunter2:" + "x" * 65, "device id"),
        ("hunter2:roof:", "kind"),
        ("hunter2:roof:P1", "kind"),
        ("hunter2:roof:p1:x", "entry 1"),
        ("hunter 2:roof", "token"),
        ("hunter2\xe9:roof", "token"),
        ("sha256-hunter2:roof", "sha256-<64 hex>"),
        ("hunter2:roof,hunter2:shed", "another device"),
        ("hunter2:roof,a:roof:p1", "another kind"),
        (f"hunter2:roof,sha256-{hashlib.sha256(b'hunter2').hexdigest()}:shed", "another device"),
    ],
)
def test_a_malformed_entry_is_named_by_its_number_only(text, said):
    (problem,) = problems(DEVICE_TOKENS=text)
    assert problem.startswith("DEVICE_TOKENS ")
    assert said in problem


@pytest.mark.parametrize(
    "text",
    [
        "hunter2x",
        "hunter2x:roof:p1",
        "hunter2x:roof+",
        "hunter2x:roof+unknown",
        "hunter2:roof",
        "hunter2x:roof,hunter2x:roof+meter",
    ],
)
def test_readers_read_known_devices_with_tokens_of_their_own(text):
    (problem,) = problems(DEVICE_TOKENS="hunter2:roof,a:meter:p1", READ_TOKENS=text)
    assert problem.startswith("READ_TOKENS ")
    settings = load(
        {**ENVIRON, "DEVICE_TOKENS": "a:roof,b:meter:p1", "READ_TOKENS": "c:roof+meter"}
    )
    assert settings.read_tokens == {digest(b"c"): frozenset({"roof", "meter"})}


HOUSES = "a:roof,b:shed,c:meter:p1,d:barn,e:counter:p1"


def test_one_meter_and_its_inverters_are_the_site_home():
    def sites(tokens: str) -> dict[str, Site]:
        return load({**ENVIRON, "DEVICE_TOKENS": tokens, "SITES": " "}).sites

    both = "a:roof,b:shed,b2:shed,c:meter:p1,c2:meter:p1"
    assert sites(both) == {"home": Site("home", "meter", ("roof", "shed"))}
    assert sites("c:meter:p1") == sites("a:roof") == sites("") == {}
    assert sites(HOUSES) == {}


def test_sites_name_a_meter_and_inverters_in_any_order():
    text = "villa: roof + meter+shed,farm:barn+counter"
    settings = load({**ENVIRON, "DEVICE_TOKENS": HOUSES, "SITES": text})
    assert settings.sites == {
        "villa": Site("villa", "meter", ("roof", "shed")),
        "farm": Site("farm", "counter", ("barn",)),
    }
    assert settings.sites["villa"].device_ids == ("meter", "roof", "shed")
    one = load({**ENVIRON, "DEVICE_TOKENS": "a:roof,c:meter:p1", "SITES": "villa:roof+meter"})
    assert list(one.sites) == ["villa"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hunter2", "entry 1 must read name:device_id"),
        ("villa:roof+meter,", "entry 2"),
        ("villa:roof+meter:p1", "entry 1 must read"),
        (":roof+meter", "the name"),
        ("my villa:roof+meter", "the name"),
        ("villa:roof+", "device id"),
        ("villa:hunter2+meter", "must only name devices that DEVICE_TOKENS names"),
        ("villa:meter", "one meter"),
        ("villa:roof+shed", "one meter"),
        ("villa:roof+meter+counter", "one meter"),
        ("villa:roof+roof+meter", "one site"),
        ("villa:roof+meter,farm:roof+counter", "entry 2: a device stands in one site"),
        ("villa:roof+meter,villa:barn+counter", "entry 2: an earlier entry has its name"),
    ],
)
def test_a_malformed_site_is_named_by_its_number(text, said):
    (problem,) = problems(DEVICE_TOKENS=HOUSES, SITES=text)
    assert problem.startswith("SITES entry ")
    assert said in problem


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hunter2", "entry 1 must read"),
        ("roof:9.6,hunter2:x", "entry 2: the capacity must be a number"),
        ("roof:0", "above 0"),
        ("roof:-1", "from 0 to 1000"),
        ("roof:1001", "from 0 to 1000"),
        ("roof:9.6,roof:5", "another capacity"),
        ("meter:9.6", "must only name inverters"),
        ("hunter2:9.6", "must only name inverters"),
    ],
)
def test_a_battery_is_of_an_inverter_and_has_a_capacity(text, said):
    (problem,) = problems(DEVICE_TOKENS=HOUSES, BATTERY_KWH=text)
    assert problem.startswith("BATTERY_KWH ")
    assert said in problem
    settings = load({**ENVIRON, "DEVICE_TOKENS": HOUSES, "BATTERY_KWH": "roof:9.6, barn:5"})
    assert settings.battery_kwh == {"roof": 9.6, "barn": 5}


def test_where_alerts_go_is_a_secret():
    urls = "ntfy://hunter2@ntfy.example/home  mailto://user:hunter2@example.org"
    environ = {
        **ENVIRON,
        "ALERT_URLS": urls,
        "ALERT_HEARTBEAT_URL": "https://hc.example/hunter2",
        "ALERT_REPEAT_H": "0",
    }
    settings = load(environ)
    assert settings.alert_urls == tuple(urls.split())
    assert settings.alert_heartbeat_url == "https://hc.example/hunter2"
    assert settings.alert_repeat_h == 0
    assert "hunter2" not in f"{settings.shown()} {settings!r}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALERT_URLS", "hunter2"),
        ("ALERT_URLS", "ntfy://example/x hunter2"),
        ("ALERT_HEARTBEAT_URL", "hunter2"),
        ("ALERT_HEARTBEAT_URL", "ftp://hunter2"),
        ("ALERT_INTERVAL_S", "0"),
        ("ALERT_SILENCE_S", "0"),
        ("ALERT_REPEAT_H", "-1"),
        ("ALERT_LANG", "de"),
        ("GRID_AREA", "hunter"),
        ("TARIFF_FILE", "/nowhere/prices.toml"),
        ("KEEP_SAMPLES_DAYS", "39"),
        ("KEEP_SAMPLES_DAYS", "0"),
        ("DATABASE_URL", "hunter2"),
        ("DATABASE_URL", "mysql://hunter2@localhost/x"),
        ("MIGRATE_DATABASE_URL", "host=x hunter2"),
        ("REDIS_URL", "localhost:6379"),
        ("REDIS_URL", "redis://localhost:hunter2/0"),
        ("SITE_TIMEZONE", "Mars/Olympus"),
        ("CACHE_TTL_S", "0"),
        ("MAX_SAMPLES_PER_REQUEST", "many"),
        ("MAX_REQUEST_BYTES", "-1"),
        ("MAX_REQUESTS_PER_MINUTE", "-1"),
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "https://app.example/path"),
        ("API_ROLE", "sun spool; DROP"),
        ("GRAFANA_ROLE", "sun'spool"),
    ],
)
def test_a_wrong_setting_is_named(name, value):
    (problem,) = problems(**{name: value})
    assert problem.startswith(f"{name} must ")


def test_every_problem_is_told_at_once():
    found = problems(DATABASE_URL="", REDIS_URL="hunter2", SITE_TIMEZONE="x", CACHE_TTL_S="x")
    assert [text.split()[0] for text in found] == [
        "DATABASE_URL",
        "SITE_TIMEZONE",
        "REDIS_URL",
        "CACHE_TTL_S",
    ]


@pytest.mark.parametrize("url", ["host=/run/postgresql dbname=sunspool", "postgresql:///x"])
def test_a_database_may_be_told_as_url_or_dsn(url):
    assert load({**ENVIRON, "DATABASE_URL": url}).database_url == url


def test_secrets_come_from_files_and_credentials_too(tmp_path):
    (tmp_path / "tokens").write_text("one:roof\n")
    (tmp_path / "read_tokens").write_text("two:roof\n")
    environ = {name: value for name, value in ENVIRON.items() if name != "DEVICE_TOKENS"}
    environ |= {
        "DEVICE_TOKENS_FILE": str(tmp_path / "tokens"),
        "CREDENTIALS_DIRECTORY": str(tmp_path),
    }
    settings = load(environ)
    assert settings.device_tokens == {digest(b"one"): Device("roof", "sungrow")}
    assert settings.read_tokens == {digest(b"two"): frozenset({"roof"})}


def test_the_migration_needs_a_database_only():
    settings = load_for_migration({"MIGRATE_DATABASE_URL": "dbname=x", "DEVICE_TOKENS": "broken"})
    assert settings.migrate_database_url == "dbname=x"
    assert settings.api_role == "sunspool"
    with pytest.raises(InvalidSettings, match="DATABASE_URL is required"):
        load_for_migration({})
