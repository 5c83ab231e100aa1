"""
A Postgres server of one's own, for contenders that need one; nothing but the standard library.

Postgres refuses to run as root: then it runs as `postgres`, or as nobody, in a folder that it owns.
"""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

TUNED = {
    "shared_buffers": "1GB",
    "work_mem": "256MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "8GB",
    "effective_cache_size": "4GB",
    "jit": "off",
    "autovacuum": "off",
}
"""What Postgres's chapter on resources advises for large joins and bulk loads; nothing is made less durable."""


class Postgres:
    """A server on a loopback port of its own that keeps what it holds in *home*. Ends with this process."""

    def __init__(self, home: Path) -> None:
        self._programs = _programs()
        self._as = _unprivileged()
        self.home = home
        home.mkdir(exist_ok=True)
        if self._as:
            home.parent.chmod(0o711)  # It is let through, and sees nothing on its way.
            shutil.chown(home, self._as["user"], self._as["group"])
        if not (self.home / "data").exists():
            self._run(
                "initdb", "-D", str(self.home / "data"), "-U", "bench", "--auth=trust", "-E", "UTF8", "--locale=C"
            )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        settings = [part for name, value in TUNED.items() for part in ("-c", f"{name}={value}")]
        at = ["-D", str(self.home / "data"), "-h", "127.0.0.1", "-p", str(self.port), "-k", ""]
        self._process = subprocess.Popen(
            [str(self._programs / "postgres"), *at, *settings],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.home,
            start_new_session=True,
            **self._as,
        )
        atexit.register(self.end)
        for _ in range(300):
            if subprocess.run([*self._ask(), "SELECT 1"], capture_output=True).returncode == 0:
                return
            time.sleep(0.1)
        raise RuntimeError("Postgres did not start")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd=self.home, **self._as)

    def _ask(self) -> list[str]:
        return ["psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "bench", "-d", "postgres", "-tAc"]

    def cpu(self) -> float:
        """Return the CPU seconds of the server and of all its processes, those that have ended too."""
        ticks = 0
        for process in Path("/proc").glob("[0-9]*"):
            try:
                fields = (process / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if self._process.pid in (int(fields[1]), int(process.name)):
                ticks += sum(map(int, fields[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        """Stop the server; what it holds stays where it is."""
        if self._process.poll() is None:
            self._process.send_signal(2)  # A fast shutdown.
            self._process.wait(60)


def _programs() -> Path:
    places = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    if found := shutil.which("initdb"):
        places.insert(0, Path(found).parent)
    for place in places:
        if (place / "initdb").exists() and (place / "postgres").exists() and shutil.which("psql"):
            return place
    raise SystemExit("missing: Postgres is not installed")


def _unprivileged() -> dict[str, Any]:
    """Return as whom the server runs: as we do, but not as root."""
    if os.getuid():
        return {}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise SystemExit("missing: Postgres does not run as root, and there is nobody else")
