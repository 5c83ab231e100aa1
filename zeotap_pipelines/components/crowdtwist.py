"""Oracle CrowdTwist as components."""

from __future__ import annotations

from typing import Annotated, Any

import dagster as dg

from ..destinations.crowdtwist import CrowdTwist, UserProfile
from ..destinations.crowdtwist_activities import ActivityCredit
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
          base_url: https://api123.crowdtwist.com
          # api_key, with the name of the variable as api_key; or hmac, with a key pair.
          authentication: hmac
          public_key: my-public-key
          # The name of an environment variable, read when a run needs it.
          private_key: CROWDTWIST_PRIVATE_KEY
        """


CrowdTwistConnection = dg.scaffold_with(_ConnectionExample)(declared(CrowdTwist))

Stream = Annotated[
    str,
    dg.Resolver.default(
        description="A permanent name for what is written, so that two teams may write different fields"
    ),
]


class _UserExample(Example):
    text = """\
        type: {type}
        attributes:
          # A name of your own; renaming it later changes nothing at CrowdTwist.
          name: {name}
          audience: active_members
          connection: crowdtwist
          # Permanent: what was delivered is remembered under it.
          stream: profiles
          # upsert, insert or update
          mode: upsert
          mapping:
            # What identifies the user; of the connection's id_type.
            user_id: email
            email_address: email
            first_name: first_name
            last_name: last_name
            postal_code: postal_code
            # More: date_of_birth, gender_id, mobile_phone_number, third_party_id, lang_pref, country_code, city_name,
            # receive_email_updates. Any other field is a custom attribute, set up in Control Center before.
        """


class _ActivityExample(Example):
    text = """\
        type: {type}
        attributes:
          # A name of your own; renaming it later changes nothing at CrowdTwist.
          name: {name}
          audience: purchases
          connection: crowdtwist
          # Permanent: each event is credited once under it.
          stream: purchases
          mode: insert
          mapping:
            # Stable in the source, one for each credit.
            event_id: purchase_id
            user_id: email
            activity_id:
              constant: "1001"
            # Optional: num_points, activity_date, extra_data.
            activity_date: purchased_on
        """


@dg.scaffold_with(_UserExample)
class CrowdTwistUserSync(Sync):
    """Creates and updates CrowdTwist user profiles from an audience."""

    target_type = UserProfile

    stream: Stream
    mapping: mapping_of(UserProfile)  # type: ignore[valid-type]
    mode: mode_of(UserProfile) = "upsert"  # type: ignore[valid-type]

    def target(self, connection: ConnectionDeclaration) -> UserProfile:
        """Return the profiles."""
        return UserProfile(self.stream, _id_type(connection))


@dg.scaffold_with(_ActivityExample)
class CrowdTwistActivitySync(Sync):
    """Credits CrowdTwist activities from an audience of events, each at most once."""

    target_type = ActivityCredit

    stream: Stream
    mapping: mapping_of(ActivityCredit)  # type: ignore[valid-type]
    mode: mode_of(ActivityCredit) = "insert"  # type: ignore[valid-type]
    safe_statuses: Annotated[
        list[int],
        dg.Resolver.default(
            description="Statuses of which Oracle assures that nothing was done, so that the credit is asked again"
        ),
    ] = []

    def target(self, connection: ConnectionDeclaration) -> ActivityCredit:
        """Return the credits."""
        return ActivityCredit(self.stream, _id_type(connection), frozenset(self.safe_statuses))


def _id_type(connection: ConnectionDeclaration) -> str:
    settings: dict[str, Any] = connection.settings()
    return str(settings["id_type"])
