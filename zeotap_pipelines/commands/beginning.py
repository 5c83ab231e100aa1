"""The commands that begin a project of one's own around the package: init, and sandbox for it to speak to."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from textwrap import dedent
from typing import Any

from ..errors import FixSettings

FILES = {
    "pyproject.toml": """\
        [project]
        name = "{name}"
        version = "0.1.0"
        dependencies = ["zeotap_pipelines"]

        [tool.dg]
        directory_type = "project"

        [tool.dg.project]
        root_module = "{name}"
        code_location_name = "{name}"
        code_location_target_module = "{name}.definitions"
        """,
    "workspace.yaml": """\
        load_from:
          - python_module:
              module_name: {name}.definitions
              working_directory: .
              location_name: {name}
        """,
    "dagster.yaml": """\
        # One sync speaks to an account at a time; copy this into DAGSTER_HOME.
        concurrency:
          pools:
            default_limit: 1
            granularity: op
        telemetry:
          enabled: false
        """,
    ".gitignore": """\
        data/state/
        .dg/
        .env
        """,
    "{name}/__init__.py": "",
    "{name}/defs/__init__.py": "",
    "{name}/definitions.py": """\
        import dagster as dg
        from pathlib import Path
        from zeotap_pipelines.project import load


        @dg.definitions
        def defs() -> dg.Definitions:
            return load(Path(__file__).parent)
        """,
    "{name}/defs/connections/defs.yaml": """\
        type: zeotap_pipelines.DuckDBWarehouse
        attributes:
          name: warehouse
          database: warehouse.duckdb
        ---
        type: zeotap_pipelines.KognitivConnection
        attributes:
          name: kognitiv
          # What was delivered is remembered under this name for ever.
          account: main
          # The sandbox, until KOGNITIV_BASE_URL says us, ca, aus or an address.
          base_url: "{{{{ env('KOGNITIV_BASE_URL', 'http://127.0.0.1:{port}/kognitiv') }}}}"
          client_id: "{{{{ env('KOGNITIV_CLIENT_ID', 'sandbox') }}}}"
          # The name of an environment variable.
          client_secret: KOGNITIV_CLIENT_SECRET
        """,
    "{name}/defs/audiences/defs.yaml": """\
        type: zeotap_pipelines.Audience
        attributes:
          name: members
          source: warehouse
          key: [customer_id]
          # Time may be cut: daily with a start, and a query that uses $start and $end.
          partitions: none
          query: select customer_id from customers where active
        """,
    "{name}/defs/syncs/defs.yaml": """\
        type: zeotap_pipelines.KognitivGroupSync
        attributes:
          name: members_to_kognitiv
          audience: members
          connection: kognitiv
          group: ACTIVE-90D
          mode: mirror
          mapping:
            member_internal_id: customer_id
        """,
}
"""The files of a new project, by path."""

PORT = 8765
"""Where the project looks for the sandbox."""


def add(parsers: Any) -> None:
    """Add the commands."""
    says = "make a new project around the package, which runs against the sandbox at once"
    init = parsers.add_parser("init", help=says, description=says)
    init.add_argument("folder", type=Path, metavar="DIR", help="a folder that is empty, or is not there yet")
    init.set_defaults(run=_init)
    says = "the four services as they are documented, on this machine, until it is stopped"
    sandbox = parsers.add_parser("sandbox", help=says, description=says)
    sandbox.add_argument("--port", type=int, default=PORT, help=f"0 takes a free one (default: {PORT})")
    sandbox.add_argument("--state", type=Path, metavar="DIR", help="keep what the services hold (default: in memory)")
    sandbox.add_argument("--json", action="store_true", help="say the address as JSON")
    sandbox.set_defaults(run=_sandbox)


def _sandbox(chosen: argparse.Namespace) -> int:
    from ..sandbox.server import serve

    ready = '{"address": "{address}"}' if chosen.json else "the services' sandbox: {address}"
    return serve("127.0.0.1", chosen.port, ready, state=chosen.state)


def _init(chosen: argparse.Namespace) -> int:
    folder: Path = chosen.folder.resolve()
    name = re.sub(r"[^a-z0-9_]+", "_", folder.name.lower()).strip("_")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name == "zeotap_pipelines":
        raise FixSettings(f"the folder's name {folder.name!r} is to be the package's: begin it with a letter")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FixSettings(f"{folder} is not empty: name a folder that is, or that is not there yet")
    for path, text in FILES.items():
        file = folder / path.format(name=name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text).format(name=name, port=PORT), encoding="utf-8")
    _warehouse(folder / "warehouse.duckdb")
    from ..sandbox import CLIENT_SECRET

    print(f"{folder} is a project. In it, against the sandbox:\n")
    print("  zeotap sandbox &")
    print(f"  export KOGNITIV_CLIENT_SECRET={CLIENT_SECRET}")
    print("  zeotap check && zeotap plan members_to_kognitiv && zeotap sync members_to_kognitiv")
    print("  dagster dev")
    return 0


def _warehouse(path: Path) -> None:
    """Make a warehouse of ten customers, seven of whom are active."""
    from ..engines.duckdb import opened, rows

    with opened(path, read_only=False) as connection:
        rows(
            connection,
            "CREATE TABLE customers AS "
            "SELECT CAST(100 + n AS VARCHAR) AS customer_id, n % 3 <> 0 OR n = 0 AS active FROM range(10) AS of(n)",
        )
