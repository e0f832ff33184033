"""Makes a plugin of Apprise of a URL, loading as few of its plugins as it can.

Apprise knows a hundred and fifty services, and loads all of them to find the one of a URL: that
takes 10 MB and half a second, for as long as the process lives.
"""

import re
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import apprise
from apprise.manager_plugins import NotificationManager

_SCHEMES = re.compile(r"^\s+(?:secure_)?protocol\b[^=\n]*=\s*(\([^)]*\)|\S+)", re.MULTILINE)


def make(url: str, asset: apprise.AppriseAsset) -> apprise.NotifyBase | None:
    """The plugin for a URL; None if Apprise does not know it."""
    _load_some(url.partition("://")[0].lower())
    plugin = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    if plugin is None:  # it may be a service's own address, which any plugin may know
        NotificationManager().load_modules()
        plugin = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    return plugin


def _load_some(scheme: str) -> None:
    """Load the plugins that name this scheme as theirs."""
    manager = NotificationManager()
    with suppress(OSError), TemporaryDirectory() as folder:
        # Apprise goes by the names in a folder, and imports what is called so.
        for file in Path(manager.module_path).iterdir():
            if _names(file, scheme):
                (Path(folder) / file.name).touch()
        manager.load_modules(path=folder)


def _names(file: Path, scheme: str) -> bool:
    sources = file.rglob("*.py") if file.is_dir() else [file] if file.suffix == ".py" else []
    found = (one for source in sources for one in _SCHEMES.findall(source.read_text("utf-8")))
    return any(re.search(rf"[\"']{re.escape(scheme)}[\"']", one) for one in found)
