"""Environments of their own for contenders whose packages aren't ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def environment(packages: tuple[str, ...]) -> str:
    """
    Return the interpreter that has *packages*: ours for none, else one of an environment made for them.

    Raises CalledProcessError where they can't be installed.
    """
    if not packages:
        return sys.executable
    home = ROOT / ".venv" / "contenders" / "-".join(sorted(name.split("[")[0] for name in packages))
    python = home / "bin" / "python"
    if not (home / "made").exists():
        make = [sys.executable, "-m", "venv", "--clear", str(home)]
        fill = [str(python), "-m", "pip", "install", "--quiet", "--no-input", *packages]
        for command in (make, fill):
            subprocess.run(command, check=True, capture_output=True, text=True)
        (home / "made").touch()
    return str(python)
