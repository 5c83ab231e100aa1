"""A notifier as a component: the sensor <name>_notifier."""

from __future__ import annotations

from typing import Annotated

import dagster as dg

from ..automation.notifier import notifier_sensor
from .automation import Enabled
from .connection import Name, secret_of
from .declaration import Declaration, catalog, refer_to
from .scaffolding import Example
from .sync import Sync


class _NotifierExample(Example):
    text = """\
        type: {type}
        attributes:
          # Letters, digits and underscores.
          name: {name}
          # The name of the environment variable that holds the webhook's address, as Slack gives it.
          webhook: SLACK_WEBHOOK_URL
          # Address of the Dagster UI, for links to runs.
          # ui: https://dagster.example.com
          # The syncs that it tells of; without this, all of them.
          # syncs: [active_members_to_kognitiv]
          # false: shown in Dagster, and stopped until somebody turns it on.
          enabled: true
        """


@dg.scaffold_with(_NotifierExample)
class Notifier(Declaration):
    """Tells a webhook when a sync begins to fail, and when it has recovered: one message each."""

    name: Name
    webhook: secret_of('It takes {"text": …}, as Slack\'s incoming webhooks do.')  # type: ignore[valid-type]
    syncs: Annotated[list[str], dg.Resolver.default(description="Names of syncs; none named: all of them")] = []
    ui: Annotated[str | None, dg.Resolver.default(description="Address of the Dagster UI, for links to runs")] = None
    every: Annotated[int, dg.Resolver.default(description="Seconds between two looks")] = 30
    enabled: Enabled = True

    def definitions(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Return the sensor."""
        catalog(context, Notifier)
        if self.every < 1:
            raise self.error("every", says=f"every {self.every} is out of range: 1 second or more")
        known = catalog(context, Sync)  # type: ignore[type-abstract]
        for place, name in enumerate(self.syncs):
            refer_to(self, ("syncs", place), "sync", name, known)
        syncs = {name: known[name].target_type.event for name in self.syncs or known}
        return dg.Definitions(sensors=[notifier_sensor(self, syncs)])
