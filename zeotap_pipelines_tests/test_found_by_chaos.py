"""What `make chaos` and `make mutants` found untested or broken, each as a small law."""

from pathlib import Path

from zeotap_pipelines.destinations.agillic import Agillic
from zeotap_pipelines.destinations.agillic_recipients import AgillicRecipients
from zeotap_pipelines.model import Mode
from zeotap_pipelines.sandbox import AGILLIC_KEY, AGILLIC_SECRET, BASE_URL, Fault
from zeotap_pipelines_tests.world import Specimen, World, day, nth


def test_a_task_that_a_killed_run_left_does_not_overtake_the_next_run(tmp_path: Path) -> None:
    recipients = Specimen(
        target=AgillicRecipients("crm"),
        connection=Agillic(
            account="demo",
            base_url=f"{BASE_URL}/agillic",
            developer_key=AGILLIC_KEY,
            developer_secret=AGILLIC_SECRET,
        ),
        mode=Mode.UPSERT,
        mapping={"EMAIL": "email", "FIRSTNAME": "first"},
        person=lambda who: {"email": "ann@example.org", "first": who},
        held=lambda sandbox: sandbox.agillic.recipients()["ann@example.org"]["FIRSTNAME"],
    )
    world = World(tmp_path, recipients)
    # The first task is slow: it is done long after the second would be.
    world.sandbox.faults.add(Fault(kind="propagation_delay", path=":upsert$", nth=1, seconds=120))
    with world.dying(nth(2, "before GET")) as steps:  # The first asks for Person Data, the second after the task.
        world.deliver(["Old"], day(0))
    assert [step for step in steps if "POST" in step] == ["before POST", "after POST"] * 2  # A token, and the upsert.
    assert world.deliver(["New"], day(1)).complete
    world.clock.pass_(600)
    assert world.held == "New"
