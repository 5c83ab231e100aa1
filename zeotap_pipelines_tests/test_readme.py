"""The README does what it says."""

import re
from contextlib import chdir
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from zeotap_pipelines.demo.warehouse import build, purchase_log
from zeotap_pipelines.destinations.kognitiv import Kognitiv
from zeotap_pipelines.engines.duckdb import opened, rows
from zeotap_pipelines.model import Fate
from zeotap_pipelines.sandbox import CLIENT_ID, CLIENT_SECRET, Sandbox, running

README = Path(__file__).resolve().parents[1] / "README.md"


def test_the_core_runs_from_a_plain_script_as_the_readme_shows(tmp_path: Path) -> None:
    [imports] = re.findall(r"```python\n(from datetime .*?)```", README.read_text(), flags=re.S)
    [script] = re.findall(r"<!-- tested by .*? -->\n```python\n(.*?)```", README.read_text(), flags=re.S)
    assert script.count("\n") <= 10
    build(purchase_log(), tmp_path / "warehouse.duckdb")
    with Sandbox() as sandbox, running(sandbox) as base:
        connection = Kognitiv(
            account="main", base_url=f"{base}/kognitiv", client_id=CLIENT_ID, client_secret=SecretStr(CLIENT_SECRET)
        )
        space: dict[str, Any] = {"connection": connection}
        with chdir(tmp_path):  # The script names its files without a folder.
            exec(imports + script, space)
        query = "SELECT DISTINCT CAST(customer_id AS VARCHAR) FROM purchases WHERE purchased_on < '1997-01-03'"
        with opened(tmp_path / "warehouse.duckdb", read_only=True) as warehouse:
            buyers = {member for (member,) in rows(warehouse, query)}
        assert space["summary"].fates == {Fate.ACCEPTED: len(buyers)}
        assert sandbox.kognitiv.members("ACTIVE-90D") == buyers
        assert not sandbox.violations


def test_every_file_that_the_readme_links_to_exists() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", README.read_text())
    assert links and all((README.parent / link).exists() for link in links)
