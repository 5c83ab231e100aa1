"""The project of drt's second run."""

from __future__ import annotations

from pathlib import Path

SYNC = """
name: people
description: everybody
model: "SELECT * FROM people"
destination:
  type: rest_api
  url: "{url}"
  method: POST
  headers:
    Content-Type: "application/json"
  body_template: '{{"email": "{{{{ row.email }}}}", "first_name": "{{{{ row.first_name }}}}",
    "last_name": "{{{{ row.last_name }}}}", "spend": {{{{ row.spend }}}}}}'
sync:
  mode: {mode}
  batch_size: 1000
  rate_limit:
    requests_per_second: 1000000
  on_error: fail
"""


def project(root: Path, kind: str, warehouse: Path) -> None:
    """Write a project whose sync is still to be written."""
    (root / ".drt").mkdir(parents=True)
    (root / ".drt" / "profiles.yml").write_text(f"bench:\n  type: {kind}\n  database: {warehouse}\n")
    (root / "drt_project.yml").write_text('name: bench\nversion: "0.1"\nprofile: bench\n')
    (root / "syncs").mkdir()
