"""The parts of the demo: a house with its two devices, an agent for each, and the server."""

import secrets
import shlex
import ssl
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from tests.support.servers import (
    Api,
    CertificateAuthority,
    EdgeAgent,
    Postgres,
    Redis,
    Server,
    ServerFailed,
    Simulator,
    migrate,
)

INVERTER = "demo-inverter"
METER = "demo-meter"
ZONE = ZoneInfo("Europe/Brussels")


class House:
    """Starts everything in order when entered, and stops it in the opposite order at the end."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.read_token = secrets.token_hex(16)
        self.device_tokens = {INVERTER: secrets.token_hex(16), METER: secrets.token_hex(16)}
        self.ca = CertificateAuthority(folder / "tls")
        self.postgres = Postgres(folder / "postgres", durable=True)
        self.redis = Redis(folder / "redis")
        self.agents: dict[str, EdgeAgent] = {}
        # What stops together, in the order of stopping: nothing is cut off from what it sends to.
        self.stages: list[list[Server]] = []

    def __enter__(self) -> "House":
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self) -> None:
        self._begin("PostgreSQL", [self.postgres])
        self._begin("Redis", [self.redis])
        _say(f"PostgreSQL  127.0.0.1:{self.postgres.port}")
        _say(f"Redis       127.0.0.1:{self.redis.port}")
        self._migrate()
        self.api = Api(self.folder / "api", self._api_settings(), self.ca.issue("server"))
        self._begin("the API", [self.api])
        _say(f"API         {self.api.url}")
        certificates = str(self.folder / "meter-tls")
        self.inverter = Simulator(self.folder / "inverter", "inverter")
        self.meter = Simulator(self.folder / "meter", "meter", "--folder", certificates)
        self._begin("the simulated devices", [self.inverter, self.meter])
        _say(f"inverter    127.0.0.1:{self.inverter.told['port']}  (simulated, Modbus TCP)")
        _say(f"P1 meter    127.0.0.1:{self.meter.told['port']}  (simulated, HTTPS)")
        self.agents = {
            INVERTER: EdgeAgent(self.folder / "agent-inverter", self._inverter_settings()),
            METER: EdgeAgent(self.folder / "agent-meter", self._meter_settings()),
        }
        self.started = datetime.now(UTC)
        for device_id, agent in self.agents.items():
            self._begin(f"the agent of {device_id}", [agent])
            _say(f"agent       {device_id}, spool {self.spool_of(device_id)}")

    def _begin(self, what: str, servers: list[Server]) -> None:
        self.stages.insert(0, servers)
        for server in servers:
            try:
                server.start()
            except ServerFailed as error:
                raise ServerFailed(f"{what} did not start: {error}") from None

    def _migrate(self) -> None:
        name = "sunspool"
        known = self.postgres.query("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
        if not known:
            self.postgres.create_database(name)
        migrate(self.postgres.url(name))

    def _api_settings(self) -> dict[str, str]:
        kinds = {INVERTER: "sungrow", METER: "p1"}
        tokens = [f"{self.device_tokens[name]}:{name}:{kind}" for name, kind in kinds.items()]
        return {
            "DATABASE_URL": self.postgres.url("sunspool", "sunspool"),
            "REDIS_URL": self.redis.url,
            "DEVICE_TOKENS": ",".join(tokens),
            "READ_TOKENS": f"{self.read_token}:{INVERTER}+{METER}",
        }

    def _agent_settings(self, device_id: str) -> dict[str, str]:
        return {
            "DEVICE_ID": device_id,
            "VPS_INGEST_URL": self.api.url,
            "VPS_CA_FILE": str(self.ca.file),
            "VPS_DEVICE_TOKEN": self.device_tokens[device_id],
            "UPLOAD_INTERVAL_S": "1",  # so that each sample is seen at once
        }

    def _inverter_settings(self) -> dict[str, str]:
        port = str(self.inverter.told["port"])
        device = {"SUNGROW_HOST": "127.0.0.1", "SUNGROW_PORT": port}
        return self._agent_settings(INVERTER) | device

    def _meter_settings(self) -> dict[str, str]:
        told = self.meter.told
        return self._agent_settings(METER) | {
            "HW_P1_HOST": "127.0.0.1",
            "HW_P1_PORT": str(told["port"]),
            "HW_P1_CA_FILE": told["ca_file"],
            "HW_P1_SERIAL": told["serial"],
            "HW_P1_TOKEN": told["token"],
        }

    def spool_of(self, device_id: str) -> Path:
        """The spool of a device's agent."""
        return Path(self.agents[device_id].env["SPOOL_PATH"])

    def check(self) -> None:
        """Fail if a program has ended by itself."""
        for server in (server for stage in self.stages for server in stage):
            if not server.running:
                why = f"{server.name} ended with {server.returncode}"
                raise ServerFailed(f"{why}\n{server.last_lines()}")

    def stop(self) -> None:
        """Stop whatever runs; the agents first, so that they can send what they have."""
        while self.stages:
            stage = self.stages.pop(0)
            for server in stage:
                server.ask_to_stop()
            for server in stage:
                with suppress(ServerFailed):  # it was killed then
                    server.stop()

    @property
    def page(self) -> str:
        """The address of the page."""
        return f"{self.api.url}/ui/"

    def trusting(self) -> ssl.SSLContext:
        """For a client that trusts this demo's CA."""
        return ssl.create_default_context(cafile=str(self.ca.file))

    def curl(self, path: str, token: bool = True) -> str:
        """The command that asks for a path, for any shell on this machine."""
        words = ["curl", "--cacert", str(self.ca.file), self.api.url + path]
        if token:
            words[1:1] = ["-H", f"Authorization: Bearer {self.read_token}"]
        return shlex.join(words)


def _say(text: str) -> None:
    print(text, flush=True)
