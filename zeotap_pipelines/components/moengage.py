"""MoEngage as components."""

from __future__ import annotations

from typing import Annotated

import dagster as dg

from ..destinations.moengage import Cohort, MoEngage
from .connection import ConnectionDeclaration, declared
from .scaffolding import Example
from .sync import Sync, mapping_of, mode_of


class _ConnectionExample(Example):
    text = """\
        type: {type}
        attributes:
          # Letters, digits and underscores; syncs name it as their connection.
          name: {name}
          # What was delivered is remembered under this name for ever, whatever the address and the keys.
          account: main
          # The data center is in the address.
          base_url: https://api-01.moengage.com
          app_id: MYAPPID
          # The name of an environment variable, read when a run needs it.
          secret_key: MOENGAGE_SECRET_KEY
        """


MoEngageConnection = dg.scaffold_with(_ConnectionExample)(declared(MoEngage))

SYNC_TYPES = ["periodic", "one_time"]


class _Example(Example):
    text = """\
        type: {type}
        attributes:
          # A name of your own; renaming it later changes nothing at MoEngage.
          name: {name}
          audience: active_members
          connection: moengage
          # The id is for ever; the name is that of the custom segment in the dashboard.
          cohort_id: active-90d
          cohort_name: Active 90 days
          # periodic keeps the segment in step; one_time fills it once.
          sync_type: periodic
          # add, remove or mirror
          mode: mirror
          mapping:
            # At least one of uid and anonymous_id; uid wins where both are there.
            uid: customer_id
        """


@dg.scaffold_with(_Example)
class MoEngageCohortSync(Sync):
    """Keeps a MoEngage cohort (a custom segment) in step with an audience."""

    target_type = Cohort

    cohort_id: Annotated[str, dg.Resolver.default(description="The cohort's permanent id")]
    cohort_name: Annotated[str, dg.Resolver.default(description="The custom segment's name in the dashboard")]
    cohort_description: str | None = None
    partner: Annotated[str, dg.Resolver.default(description="The partner's name, as agreed with MoEngage")] = "zeotap"
    sync_type: Annotated[
        str,
        dg.Resolver.default(
            description="periodic: kept in step; one_time: filled once, then left alone",
            json_schema_extra={"enum": SYNC_TYPES},
        ),
    ] = "periodic"
    mapping: mapping_of(Cohort)  # type: ignore[valid-type]
    mode: mode_of(Cohort) = "mirror"  # type: ignore[valid-type]

    def target(self, connection: ConnectionDeclaration) -> Cohort:
        """Return the cohort."""
        return Cohort(self.cohort_id, self.cohort_name, self.cohort_description, self.partner, self.sync_type)
