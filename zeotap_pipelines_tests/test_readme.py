"""The README does what it says."""

import re
from contextlib import chdir
from datetime import UTC, datetime
from pathlib import Path

from pydantic import SecretStr

from zeotap_pipelines.audience import Audience
from zeotap_pipelines.demo.warehouse import build, purchase_log
from zeotap_pipelines.destinations.kognitiv import Kognitiv, PromotionalMemberGroup
from zeotap_pipelines.engines.duckdb import DuckDBSource, opened, rows
from zeotap_pipelines.mapping import Field
from zeotap_pipelines.model import Fate, Mode, Partition
from zeotap_pipelines.pipeline import Trip, carry_out, plan
from zeotap_pipelines.sandbox import CLIENT_ID, CLIENT_SECRET, Sandbox, running
from zeotap_pipelines.snapshot import take
from zeotap_pipelines.state import State
from zeotap_pipelines.sync import Sync

README = Path(__file__).resolve().parents[1] / "README.md"
NAMES = (Audience, DuckDBSource, Field, Mode, Partition, PromotionalMemberGroup, State, Sync, Trip, UTC, carry_out)


def test_the_core_runs_from_a_plain_script_as_the_readme_shows(tmp_path: Path) -> None:
    [script] = re.findall(r"<!-- tested by .*? -->\n```python\n(.*?)```", README.read_text(), flags=re.S)
    assert script.count("\n") <= 10
    build(purchase_log(), tmp_path / "warehouse.duckdb")
    with Sandbox() as sandbox, running(sandbox) as base:
        connection = Kognitiv(
            account="main", base_url=f"{base}/kognitiv", client_id=CLIENT_ID, client_secret=SecretStr(CLIENT_SECRET)
        )
        space = {
            **{thing.__name__: thing for thing in NAMES if hasattr(thing, "__name__")},
            **{"UTC": UTC, "Path": Path, "datetime": datetime, "take": take, "plan": plan, "connection": connection},
        }
        with chdir(tmp_path):  # The script names its files without a folder.
            exec(script, space)
        query = "SELECT DISTINCT CAST(customer_id AS VARCHAR) FROM purchases WHERE purchased_on < '1997-01-03'"
        with opened(tmp_path / "warehouse.duckdb", read_only=True) as warehouse:
            buyers = {member for (member,) in rows(warehouse, query)}
        assert space["summary"].fates == {Fate.ACCEPTED: len(buyers)}
        assert sandbox.kognitiv.members("ACTIVE-90D") == buyers
        assert not sandbox.violations


def test_every_file_that_the_readme_links_to_exists() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", README.read_text())
    assert links and all((README.parent / link).exists() for link in links)
