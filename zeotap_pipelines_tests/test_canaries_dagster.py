"""The canaries of `test_canaries`, with everything that Dagster writes down and shows besides."""

import logging
import os
import re
from pathlib import Path

import dagster as dg
import pytest

from zeotap_pipelines import sandbox as stand_ins
from zeotap_pipelines.cli import main
from zeotap_pipelines.sandbox import Fault, Sandbox
from zeotap_pipelines_tests.project import CONNECTION, Project
from zeotap_pipelines_tests.searching import SECRET, TOKENS, kept, logged

SETTINGS = {
    "Kognitiv": f"client_id: {stand_ins.CLIENT_ID}\n  client_secret: KOGNITIV_SECRET",
    "MoEngage": f"app_id: {stand_ins.MOENGAGE_APP_ID}\n  secret_key: MOENGAGE_SECRET",
    "CrowdTwist": (
        f"authentication: hmac\n  public_key: {stand_ins.CROWDTWIST_PUBLIC_KEY}\n  private_key: CROWDTWIST_PRIVATE_KEY"
    ),
    "Agillic": f"developer_key: {stand_ins.AGILLIC_KEY}\n  developer_secret: AGILLIC_SECRET",
}
SECRETS = {
    "KOGNITIV_SECRET": stand_ins.CLIENT_SECRET,
    "MOENGAGE_SECRET": stand_ins.MOENGAGE_SECRET,
    "CROWDTWIST_PRIVATE_KEY": stand_ins.CROWDTWIST_PRIVATE_KEY,
    "AGILLIC_SECRET": stand_ins.AGILLIC_SECRET,
}
SYNCS = {
    "KognitivGroupSync": "group: ACTIVE-90D\n  mode: mirror\n  mapping: {member_internal_id: person}",
    "MoEngageCohortSync": "cohort_id: c\n  cohort_name: C\n  mode: mirror\n  mapping: {uid: person}",
    "CrowdTwistUserSync": (
        "stream: profiles\n  mapping: {user_id: mail, email_address: mail, first_name: said, last_name: said, "
        'postal_code: {constant: "10001"}}'
    ),
    "CrowdTwistActivitySync": (
        'stream: visits\n  mapping: {event_id: person, user_id: mail, activity_id: {constant: "1001"}}'
    ),
    "AgillicRecipientSync": "stream: profiles\n  mapping: {EMAIL: mail, FIRSTNAME: said}",
    "AgillicTargetGroupSync": "group: Active 90 days\n  mode: mirror\n  mapping: {EMAIL: mail, LASTNAME: said}",
    "AgillicTableSync": (
        "table: PURCHASES\n  record_id_field: PURCHASE_ID\n  stream: web\n  mapping: {EMAIL: mail, PURCHASE_ID: person}"
    ),
}
CHANGES = "/(members|cohortsync|v2/users|recipients)"
TROUBLE = [
    *(Fault(kind="echo", status=status, path=CHANGES) for status in (400, 401)),
    Fault(kind="echo", status=400, path=TOKENS),
    Fault(kind="echo", status=403, method="GET"),
    Fault(kind="reset_after", path=CHANGES),
]


@pytest.fixture
def everything(project: Project, group: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Project:
    """A project that tells one audience to every kind of target, with an instance that keeps whatever is logged."""
    address = os.environ["PROJECT_KOGNITIV"].removesuffix("/kognitiv")
    for service, settings in SETTINGS.items():
        name = service.casefold()
        text = CONNECTION.split("  base_url")[0].replace("kognitiv", name).replace("Kognitiv", service)
        text = text.replace("zeotap_pipelines.kognitiv", f"zeotap_pipelines.{service}")
        project.declare(name, f"{text}  base_url: {address}/{name}\n  {settings}\n  retries: 0\n  timeout: 1\n")
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    project.change(
        "people",
        ("distinct person from", "distinct person, person || '@example.com' as mail, 'says ' || person as said from"),
    )
    for kind, settings in SYNCS.items():
        service = next(one for one in SETTINGS if kind.startswith(one)).casefold()
        name = "people_to_group" if service == "kognitiv" else kind.casefold()
        head = (
            f"type: zeotap_pipelines.{kind}\nattributes:\n  name: {name}\n  audience: people\n  connection: {service}\n"
        )
        if service == "agillic":  # What was never heard of holds up the next sync for so many seconds.
            head += "  task_deadline: 1\n"
        project.declare(name, f"{head}  {settings}\n  guards: {{max_removed_percent: 100}}\n")
    home = tmp_path / "home"
    home.mkdir()
    python_logs = "python_logs:\n  managed_python_loggers: [root]\n  python_log_level: DEBUG\n"
    (home / "dagster.yaml").write_text(f"telemetry:\n  enabled: false\n{python_logs}")
    project.instance = dg.DagsterInstance.from_config(str(home))
    return project


@pytest.mark.slow
def test_nothing_that_dagster_keeps_or_shows_holds_a_secret_or_a_person(
    everything: Project, group: Sandbox, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for library in ("httpx", "httpcore"):  # As if nobody had ever asked for anything.
        logging.getLogger(library).setLevel(logging.NOTSET)
    days = [f"2026-01-{number:02}" for number in range(1, len(TROUBLE) + 1)]
    everything.seen({day: [f"canary{day[-2:]}", f"c/n@ry {day[-2:]}"] for day in days})
    assets = [tuple(key.path) for key in everything.load().resolve_all_asset_keys()]
    failures = 0
    for day, fault in zip(days, TROUBLE, strict=True):
        group.faults.clear()
        group.faults.add(fault)
        failures += len(everything.attempt(*assets, day=day).again().failed)
    assert failures
    for command in (["test"], ["status"], ["doubts", "crowdtwistactivitysync"]):
        main([*command, "--project", str(everything.root)])
    out, err = capfd.readouterr()
    assert "canary" in "".join(text for kind, text in kept(tmp_path / "state") if kind == "rows")
    private = [text for _, text in kept(tmp_path / "state")]
    public = [
        *logged(tmp_path / "home"),
        out,
        err,
        *(text for kind, text in kept(tmp_path / "state") if kind == "words"),
    ]
    assert any("promotional_member_group" in text for text in public), "a search that finds nothing proves nothing"
    for text in (*private, *public):
        assert SECRET not in text
        assert not re.search(r"(Bearer|Basic|CTApiKey|CTApiV2Auth) (?!…|\\u2026)\S", text)
    for text in public:
        assert not re.search(r"canary\d\d|c/n@ry \d\d|c%2Fn%40ry", text)
