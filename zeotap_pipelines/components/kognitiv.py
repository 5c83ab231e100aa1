"""Kognitiv as components."""

from __future__ import annotations

from typing import Annotated

import dagster as dg

from ..destinations.kognitiv import Kognitiv, PromotionalMemberGroup
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
          # us, ca, aus, or an address.
          base_url: us
          # Settings > API Security Tokens.
          client_id: my-client-id
          # The name of an environment variable, read when a run needs it.
          client_secret: KOGNITIV_CLIENT_SECRET
        """


KognitivConnection = dg.scaffold_with(_ConnectionExample)(declared(Kognitiv))


class _Example(Example):
    text = """\
        type: {type}
        attributes:
          # A name of your own; renaming it later changes nothing at Kognitiv.
          name: {name}
          audience: active_members
          connection: kognitiv
          # External reference of a manual promotional member group.
          group: ACTIVE-90D
          # add, remove or mirror
          mode: mirror
          mapping:
            # Kognitiv's internal member id, not an e-mail address.
            member_internal_id: customer_id
        """


@dg.scaffold_with(_Example)
class KognitivGroupSync(Sync):
    """Keeps a Kognitiv promotional member group in step with an audience."""

    target_type = PromotionalMemberGroup

    group: Annotated[str, dg.Resolver.default(description="External reference of the promotional member group")]
    mapping: mapping_of(PromotionalMemberGroup)  # type: ignore[valid-type]
    mode: mode_of(PromotionalMemberGroup) = "mirror"  # type: ignore[valid-type]

    def target(self, connection: ConnectionDeclaration) -> PromotionalMemberGroup:
        """Return the group."""
        return PromotionalMemberGroup(self.group)
