"""A fresh Debian, booted with its own systemd and network, for the installers to work on.

debootstrap makes the tree once and for all (in /var/cache/sunspool-test); each machine is a layer
over it that goes when the machine stops. Its network is its own: a NAT lets it reach the package
registries, configured as on this machine, and nothing that listens in it meets what listens here.
"""

import ast
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

CACHE = Path("/var/cache/sunspool-test")
MIRROR = "http://deb.debian.org/debian"
BASE = "systemd-sysv,dbus,iproute2,procps,ca-certificates"
PROGRAMS = ("debootstrap", "systemd-nspawn", "nsenter", "ip", "nft")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


def missing() -> str | None:
    """Why no machine can be booted here, or None."""
    if os.geteuid() != 0:
        return "only root can boot a Debian"
    absent = [program for program in PROGRAMS if not shutil.which(program)]
    if absent:
        return f"not here: {', '.join(absent)} (debootstrap, systemd-container, nftables)"
    return None


class Machine:
    """A Debian of one suite, named for its folder and its network."""

    def __init__(self, folder: Path, suite: str = "trixie"):
        self.folder = folder
        self.suite = suite
        self.root = folder / "root"
        self.network = Network(f"sun{suite}")
        # Of its own: two machines in one control group would kill each other's services.
        unified = Path("/sys/fs/cgroup/unified")
        self._group = (unified if unified.exists() else unified.parent) / self.network.name
        self._process: subprocess.Popen | None = None
        self._leader = 0

    def create(self) -> None:
        """Lay an empty layer over the cached tree, and connect it."""
        for name in ("root", "changes", "work"):
            (self.folder / name).mkdir(parents=True)
        layers = f"lowerdir={_tree(self.suite)},upperdir={self.folder}/changes"
        _call(
            "mount",
            "-t",
            "overlay",
            "overlay",
            self.root,
            "-o",
            f"{layers},workdir={self.folder}/work",
        )
        self.network.create()

    def boot(self) -> None:
        """Start it, and wait until its systemd has done all its jobs."""
        command = ["systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit"]
        command += [
            f"--directory={self.root}",
            "--machine=sunspool-test",
            "--resolv-conf=copy-host",
            "--system-call-filter=clock_adjtime",  # the agent asks whether the clock is set
        ]
        command += [f"--network-namespace-path=/run/netns/{self.network.name}", "--console=pipe"]
        archives = CACHE / f"{self.suite}-packages"
        (archives / "partial").mkdir(parents=True, exist_ok=True)
        command.append(f"--bind={archives}:/var/cache/apt/archives")
        self._group.mkdir(exist_ok=True)
        enter = f'echo $$ >{self._group}/cgroup.procs && exec "$@"'
        command = ["sh", "-c", enter, "sh", *command]
        with (self.folder / "console.log").open("ab") as console:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )
        self.wait_for("systemctl is-system-running | grep -E 'running|degraded'", 90)

    def shut_down(self) -> None:
        """Power it off in order."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process, self._leader = None, 0

    def reboot(self) -> None:
        """Power it off and start it again."""
        self.shut_down()
        self.boot()

    def destroy(self) -> None:
        """Take it away, with its layer and its network."""
        self.shut_down()
        self.network.destroy()
        subprocess.run(["umount", "--lazy", self.root], check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, script: str, timeout: float = 120, **options) -> subprocess.CompletedProcess:
        """Run a shell script in it as root; the result is text, not checked."""
        command = self._inside(script, "-i", f"PATH={PATH}", "HOME=/root", *_registries())
        options = {"capture_output": True, "stdin": subprocess.DEVNULL, **options}
        return subprocess.run(command, text=True, timeout=timeout, check=False, **options)

    def ask(self, script: str, timeout: float = 120) -> str:
        """What a script prints; it must succeed."""
        result = self.run(script, timeout)
        assert result.returncode == 0, f"{script}\n{result.stdout}\n{result.stderr}"
        return result.stdout.strip()

    def wait_for(self, script: str, seconds: float = 30) -> str:
        """What a script prints once it succeeds."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                result = self.run(script, timeout=max(10, seconds))
                if result.returncode == 0:
                    return result.stdout.strip()
                seen = f"{result.stdout}\n{result.stderr}"
            except (LookupError, subprocess.TimeoutExpired) as error:
                seen = str(error)
            assert time.monotonic() < deadline, f"after {seconds} s still not: {script}\n{seen}"
            time.sleep(0.3)

    def start(self, script: str, **options) -> subprocess.Popen:
        """A script that goes on beside the test; to be waited for."""
        command = self._inside(script)
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)

    def _inside(self, script: str, *environment: str) -> list[str]:
        enter = ["nsenter", "--target", str(self._find_leader()), "--mount", "--uts", "--ipc"]
        enter += ["--net", "--pid", "--root", "env", "--chdir=/", *environment]
        return [*enter, "bash", "-c", script]

    def _find_leader(self) -> int:
        """The machine's first process, as seen from here."""
        if not self._leader:
            assert self._process is not None
            assert self._process.poll() is None, (self.folder / "console.log").read_text()[-3000:]
            pid = self._process.pid
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            names = {
                int(child): Path(f"/proc/{child}/comm").read_text().strip() for child in children
            }
            leaders = [child for child, name in names.items() if name in ("systemd", "init")]
            if not leaders:
                raise LookupError("no first process yet")
            self._leader = leaders[0]
        return self._leader


class Network:
    """A network namespace behind a NAT of this machine."""

    def __init__(self, name: str):
        self.name = name
        number = int.from_bytes(name.encode(), "big") % 250
        self.outside, self.inside = f"10.213.{number}.1", f"10.213.{number}.2"
        self._forwarding = Path("/proc/sys/net/ipv4/ip_forward")
        self._forwarded = self._forwarding.read_text()

    def create(self) -> None:
        """Make it; an older one of the same name goes first."""
        self.destroy()
        chain = f"type nat hook postrouting priority 100; ip saddr {self.inside} masquerade;"
        for command in (
            f"ip netns add {self.name}",
            f"ip link add {self.name}o type veth peer name host0 netns {self.name}",
            f"ip addr add {self.outside}/30 dev {self.name}o",
            f"ip link set {self.name}o up",
            f"ip -n {self.name} addr add {self.inside}/30 dev host0",
            f"ip -n {self.name} link set host0 up",
            f"ip -n {self.name} link set lo up",
            f"ip -n {self.name} route add default via {self.outside}",
            f"nft table ip {self.name} {{ chain nat {{ {chain} }}; }}",
        ):
            _call(*command.split())
        self._forwarding.write_text("1")

    def destroy(self) -> None:
        """Remove what `create` made."""
        for command in (
            f"nft delete table ip {self.name}",
            f"ip link delete {self.name}o",
            f"ip netns delete {self.name}",
        ):
            subprocess.run(command.split(), check=False, capture_output=True)
        if "table ip sun" not in subprocess.check_output(["nft", "list", "tables"], text=True):
            self._forwarding.write_text(self._forwarded)  # no other machine needs it


def _tree(suite: str) -> Path:
    """The cached tree of a suite, made if it is not there."""
    tree, draft = CACHE / suite, CACHE / f"{suite}.draft"
    if not tree.exists():
        shutil.rmtree(draft, ignore_errors=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        _call("debootstrap", "--variant=minbase", f"--include={BASE}", suite, draft, MIRROR)
        draft.rename(tree)
    (tree / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    _copy_registries(tree)
    return tree


def _copy_registries(tree: Path) -> None:
    """Let apt and pip in the tree reach what they reach on this machine."""
    settings = subprocess.check_output(["apt-config", "dump", "Acquire"], text=True)
    (tree / "etc/apt/apt.conf.d/90this-machine").write_text(settings)
    shutil.copytree("/etc/apt/auth.conf.d", tree / "etc/apt/auth.conf.d", dirs_exist_ok=True)
    shown = subprocess.check_output([sys.executable, "-m", "pip", "config", "list"], text=True)
    pairs = (line.partition("=") for line in shown.splitlines())
    lines = [
        f"{name.partition('.')[2]} = {ast.literal_eval(value)}\n"
        for name, _, value in pairs
        if name.startswith("global.") and _is_fit(ast.literal_eval(value), tree)
    ]
    (tree / "etc/pip.conf").write_text("".join(["[global]\n", *lines]))
    if Path(AUTHORITIES).exists():
        local = tree / "usr/local/share/ca-certificates"
        local.mkdir(parents=True, exist_ok=True)
        shutil.copy(AUTHORITIES, tree / AUTHORITIES[1:])


def _is_fit(setting: str, tree: Path) -> bool:
    """Whether every file that a setting of pip names is in the tree too."""
    paths = [word.removeprefix("file://") for word in setting.split()]
    return all((tree / path[1:]).exists() for path in paths if path.startswith("/"))


def _registries() -> list[str]:
    """pip's and the proxies' environment of this machine."""
    names = (
        "PIP_INDEX_URL",
        "PIP_CERT",
        "PIP_DEFAULT_TIMEOUT",
        "http_proxy",
        "https_proxy",
        "no_proxy",
    )
    return [f"{name}={os.environ[name]}" for name in names if name in os.environ]


def _call(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
