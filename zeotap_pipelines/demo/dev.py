"""The Dagster UI and the sandbox together."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from .place import here


def dev(port: int) -> int:
    """Serve the UI until interrupted; everything leads to a sandbox of its own."""
    place = here("dev")
    place.prepare()
    chosen = port or _free()
    with place.sandbox() as sandbox:
        print(f"Dagster: http://127.0.0.1:{chosen}    the services' sandbox: {sandbox}", flush=True)
        command = [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(chosen)]
        process = subprocess.Popen(command, env=os.environ | dict(place.environment(sandbox)))
        try:
            return process.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            process.terminate()
            process.wait(30)


def _free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number: int = server.getsockname()[1]
        return number
