"""The benchmarks run; what they measure is nobody's business here."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_contender_does_its_work(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--rows", "10000", "--requests", "50", "--runs", "1"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    report = json.loads((tmp_path / "artefacts" / "benchmarks.json").read_text())
    assert all(len(contenders) >= 2 for contenders in report["cpu_seconds"].values())
