from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from zeotap_pipelines.sandbox import Sandbox, running
from zeotap_pipelines_tests.project import Project, environment


@pytest.fixture
def group() -> Iterator[Sandbox]:
    """A sandbox that holds an empty group, to be served over HTTP."""
    with Sandbox() as sandbox:
        yield sandbox
        assert not sandbox.violations


@pytest.fixture
def project(group: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A project whose connection leads to `group`."""
    with running(group) as address:
        for name, value in environment(address, tmp_path / "state").items():
            monkeypatch.setenv(name, value)
        yield Project(tmp_path)
