"""Agillic as components."""

from __future__ import annotations

from typing import Annotated

import dagster as dg

from ..destinations.agillic import Agillic
from ..destinations.agillic_groups import AgillicTargetGroup
from ..destinations.agillic_recipients import AgillicRecipients
from ..destinations.agillic_tables import AgillicTable
from .connection import ConnectionDeclaration, declared
from .crowdtwist import Stream
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
          # Production and staging are two accounts.
          base_url: https://api-eu1.agillic.net
          # Integration > API Settings.
          developer_key: my-developer-key
          # The name of an environment variable, read when a run needs it.
          developer_secret: AGILLIC_DEVELOPER_SECRET
          # As the contract counts them: five calls a day for each.
          unique_active_recipients: 50000
        """


AgillicConnection = dg.scaffold_with(_ConnectionExample)(declared(Agillic))

IdField = Annotated[str, dg.Resolver.default(description="The Person Data field that identifies recipients")]
DateFormat = Annotated[str, dg.Resolver.default(description="How this Agillic instance writes dates")]
Deadline = Annotated[float, dg.Resolver.default(description="Seconds to wait for an asynchronous task")]


class _RecipientExample(Example):
    text = """\
        type: {type}
        attributes:
          # A name of your own; renaming it later changes nothing at Agillic.
          name: {name}
          audience: active_members
          connection: agillic
          # Permanent: what was delivered is remembered under it.
          stream: profiles
          # upsert, insert or update
          mode: upsert
          mapping:
            EMAIL: email
            # Any Person Data field; names are case-sensitive: FIRSTNAME, LASTNAME, MOBILE, CUSTOMER_ID, …
            FIRSTNAME: first_name
            LASTNAME: last_name
        """


class _GroupExample(Example):
    text = """\
        type: {type}
        attributes:
          # A name of your own; renaming it later changes nothing at Agillic.
          name: {name}
          audience: active_members
          connection: agillic
          # The name of a static target group, as Audiences > Target Groups shows it.
          group: Active 90 days
          # add, remove, mirror or upsert
          mode: mirror
          mapping:
            EMAIL: email
            # Person Data is written first; any field may be mapped: FIRSTNAME, LASTNAME, MOBILE, CUSTOMER_ID, …
            FIRSTNAME: first_name
        """


class _TableExample(Example):
    text = """\
        type: {type}
        attributes:
          # A name of your own; renaming it later changes nothing at Agillic.
          name: {name}
          audience: purchases
          connection: agillic
          table: PURCHASES
          # The table's own field that identifies a record.
          record_id_field: PURCHASE_ID
          # Permanent: what was delivered is remembered under it.
          stream: purchases
          mode: upsert
          mapping:
            EMAIL: email
            PURCHASE_ID: purchase_id
            DOLLARS: dollars
        """


@dg.scaffold_with(_RecipientExample)
class AgillicRecipientSync(Sync):
    """Creates and updates Agillic recipients from an audience."""

    target_type = AgillicRecipients

    stream: Stream
    recipient_id_field: IdField = "EMAIL"
    date_format: DateFormat = "dd.MM.yyyy"
    task_deadline: Deadline = 900.0
    update_checks_existence: Annotated[
        bool, dg.Resolver.default(description="Update mode asks first whether the recipient exists")
    ] = True
    mapping: mapping_of(AgillicRecipients)  # type: ignore[valid-type]
    mode: mode_of(AgillicRecipients) = "upsert"  # type: ignore[valid-type]

    def target(self, connection: ConnectionDeclaration) -> AgillicRecipients:
        """Return the recipients."""
        return AgillicRecipients(
            self.stream,
            update_checks_existence=self.update_checks_existence,
            recipient_id_field=self.recipient_id_field,
            date_format=self.date_format,
            task_deadline=self.task_deadline,
        )


@dg.scaffold_with(_GroupExample)
class AgillicTargetGroupSync(Sync):
    """Keeps an Agillic static target group in step with an audience; recipients are upserted first."""

    target_type = AgillicTargetGroup

    group: Annotated[str, dg.Resolver.default(description="Name of a static target group; case-sensitive")]
    recipient_id_field: IdField = "EMAIL"
    date_format: DateFormat = "dd.MM.yyyy"
    task_deadline: Deadline = 900.0
    mapping: mapping_of(AgillicTargetGroup)  # type: ignore[valid-type]
    mode: mode_of(AgillicTargetGroup) = "mirror"  # type: ignore[valid-type]

    def target(self, connection: ConnectionDeclaration) -> AgillicTargetGroup:
        """Return the group."""
        return AgillicTargetGroup(
            self.group,
            recipient_id_field=self.recipient_id_field,
            date_format=self.date_format,
            task_deadline=self.task_deadline,
        )


@dg.scaffold_with(_TableExample)
class AgillicTableSync(Sync):
    """Upserts records of an Agillic one-to-many table, grouped by recipient."""

    target_type = AgillicTable

    table: Annotated[str, dg.Resolver.default(description="Id of the one-to-many table; case-sensitive")]
    record_id_field: Annotated[str, dg.Resolver.default(description="The table's field that identifies a record")]
    stream: Stream
    recipient_id_field: IdField = "EMAIL"
    date_format: DateFormat = "dd.MM.yyyy"
    task_deadline: Deadline = 900.0
    mapping: mapping_of(AgillicTable)  # type: ignore[valid-type]
    mode: mode_of(AgillicTable) = "upsert"  # type: ignore[valid-type]

    def target(self, connection: ConnectionDeclaration) -> AgillicTable:
        """Return the table."""
        return AgillicTable(
            self.table,
            self.record_id_field,
            self.stream,
            recipient_id_field=self.recipient_id_field,
            date_format=self.date_format,
            task_deadline=self.task_deadline,
        )
