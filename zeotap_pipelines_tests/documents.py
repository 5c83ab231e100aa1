"""The tables of the four source documents, transcribed: what `test_coverage` holds code and pages against."""

from zeotap_pipelines import components
from zeotap_pipelines.destinations.agillic import Agillic
from zeotap_pipelines.destinations.crowdtwist import CrowdTwist
from zeotap_pipelines.destinations.kognitiv import Kognitiv
from zeotap_pipelines.destinations.moengage import MoEngage

HEADINGS = {
    "Kognitiv": (
        "Introduction, Prerequisites, Authentication, Configuration, Target Settings, Sync Modes, Audience Sync Modes, "
        "Features, Required Mapping Fields, Default Destination Fields, How It Works, Rate Limits, Best Practices, "
        "Troubleshooting"
    ),
    "MoEngage": ("Introduction, Sync Types, User Resolution, Configurations, API Endpoint, Headers, Request, Fields"),
    "CrowdTwist": (
        "Introduction, Prerequisites, Permissions, API Key Authentication, HMAC Authentication, Configuration, "
        "Target Settings, Sync Modes, Audience Sync Modes, Features, Required Mapping Fields, "
        "Default Destination Fields, User Profile Sync, Activity Credit Sync, Request Processing, Rate Limits, "
        "Best Practices, Troubleshooting"
    ),
    "Agillic": (
        "Introduction, Prerequisites, Permissions, Authentication, Configuration, Target Settings, Sync Modes, "
        "Audience Sync Modes, Features, Required Mapping Fields, Default Destination Fields, "
        "Recipient Sync (Upsert Mode), Recipient Sync (Insert Mode), Recipient Sync (Update Mode), "
        "Audience Sync (Add/Remove/Mirror), One-to-Many Table Sync, Rate Limits, Best Practices, Troubleshooting"
    ),
}

MODES = {
    # Kognitiv: "Sync Modes" all –; "Audience Sync Modes" upsert –.
    components.KognitivGroupSync: {"upsert": 0, "insert": 0, "update": 0, "add": 1, "remove": 1, "mirror": 1},
    # MoEngage has no table: two actions, and a periodic sync that keeps both in step.
    components.MoEngageCohortSync: {"upsert": 0, "insert": 0, "update": 0, "add": 1, "remove": 1, "mirror": 1},
    # CrowdTwist: "Sync Modes"; audience modes are not supported.
    components.CrowdTwistUserSync: {"upsert": 1, "insert": 1, "update": 1, "add": 0, "remove": 0, "mirror": 0},
    # Its "Activity Credit Sync" knows a POST and nothing else.
    components.CrowdTwistActivitySync: {"upsert": 0, "insert": 1, "update": 0, "add": 0, "remove": 0, "mirror": 0},
    # Agillic: "Sync Modes" of the recipients, "Audience Sync Modes" of their groups; tables have one endpoint, :upsert.
    components.AgillicRecipientSync: {"upsert": 1, "insert": 1, "update": 1, "add": 0, "remove": 0, "mirror": 0},
    components.AgillicTargetGroupSync: {"upsert": 1, "insert": 0, "update": 0, "add": 1, "remove": 1, "mirror": 1},
    components.AgillicTableSync: {"upsert": 1, "insert": 0, "update": 0, "add": 0, "remove": 0, "mirror": 0},
}

OBJECT_TYPES = {
    "Promotional Member Group": components.KognitivGroupSync,
    "User Profile": components.CrowdTwistUserSync,
    "Activity Credit": components.CrowdTwistActivitySync,
    "Recipients": components.AgillicRecipientSync,
    "One-to-Many Table": components.AgillicTableSync,
}

DEFAULT_FIELDS = {
    components.KognitivGroupSync: "member_internal_id",
    components.MoEngageCohortSync: "uid, anonymous_id",
    components.CrowdTwistUserSync: (
        "user_id, email_address, first_name, last_name, postal_code, date_of_birth, gender_id, mobile_phone_number, "
        "third_party_id, lang_pref, country_code, city_name, receive_email_updates"
    ),
    components.CrowdTwistActivitySync: "user_id, activity_id, num_points, activity_date",
    components.AgillicRecipientSync: "EMAIL, FIRSTNAME, LASTNAME, MOBILE, CUSTOMER_ID",
    components.AgillicTargetGroupSync: "EMAIL, FIRSTNAME, LASTNAME, MOBILE, CUSTOMER_ID",
    # The document lists Person Data; a table's fields are the user's own.
    components.AgillicTableSync: "",
}

REQUIRED = {
    CrowdTwist: ["base_url"],
    Agillic: ["base_url", "developer_key", "developer_secret"],
    Kognitiv: ["client_id", "client_secret"],  # base_url is the vendor's address in the US, unless it is set.
    MoEngage: ["app_id", "secret_key"],
    components.KognitivGroupSync: ["group"],
    components.MoEngageCohortSync: ["cohort_id", "cohort_name"],
    components.AgillicTargetGroupSync: ["group"],
    components.AgillicTableSync: ["table"],
}
"""What the documents' tables of settings call required."""

DEFAULTS = [
    (CrowdTwist, "id_type", "email"),
    (components.AgillicRecipientSync, "recipient_id_field", "EMAIL"),
    (components.AgillicTargetGroupSync, "recipient_id_field", "EMAIL"),
    (components.AgillicTableSync, "recipient_id_field", "EMAIL"),
    # Their best practices: upsert.
    (components.AgillicRecipientSync, "mode", "upsert"),
    (components.CrowdTwistUserSync, "mode", "upsert"),
]

PLACES = [
    (Kognitiv, "client_id", "Settings > API Security Tokens > Client ID"),
    (Kognitiv, "client_secret", "Settings > API Security Tokens > Client Secret"),
    (Kognitiv, "base_url", "https://app.kognitivloyalty.com"),
    (MoEngage, "app_id", "Settings > App > General > APP ID"),
    (MoEngage, "secret_key", "Settings > App > API > Data API Key"),
    (CrowdTwist, "api_key", "Settings > API > API Key"),
    (CrowdTwist, "public_key", "Settings > API > Public Key (Key Identifier)"),
    (CrowdTwist, "private_key", "Settings > API > Private Key (Key Secret)"),
    (CrowdTwist, "base_url", "https://api123.crowdtwist.com"),
    (CrowdTwist, "id_type", "User Identifier Type"),
    (Agillic, "developer_key", "Integration > API Settings > Developer Key"),
    (Agillic, "developer_secret", "Integration > API Settings > Developer Secret"),
    (Agillic, "base_url", "https://api-eu1.agillic.net"),
]
"""Where a user finds the value of a setting."""

KOGNITIV, CROWDTWIST, AGILLIC, GROUPS = (
    f"test_documents_{name}.py::" for name in ("kognitiv", "crowdtwist", "agillic", "agillic_groups")
)

TROUBLES = [
    # The entries under "Troubleshooting", each with the remedy's words in the code and a test that runs into them.
    # MoEngage's document has none.
    (
        "Kognitiv: authentication failed: invalid client credentials",
        "client_id and client_secret",
        "test_wire.py::test_wrong_credentials_name_the_settings_to_check_before_anything_is_sent",
    ),
    (
        "Kognitiv: member not found (404)",
        "check that member_internal_id is Kognitiv's internal member id",
        f"{KOGNITIV}test_an_unknown_member_is_told_which_kind_of_id_is_wanted",
    ),
    (
        "Kognitiv: group external reference not found",
        "check the reference under the promotional member group settings",
        "destinations/test_kognitiv.py::test_the_group_is_looked_for_before_the_first_member",
    ),
    (
        "Kognitiv: token refresh failures",
        "taken earlier in this run: revoked",
        f"{KOGNITIV}test_a_renewal_that_is_refused_is_told_apart_from_wrong_credentials_and_from_a_token_service_in_trouble",
    ),
    (
        "Kognitiv: token refresh failures",
        "look at the service's status page",
        f"{KOGNITIV}test_a_renewal_that_is_refused_is_told_apart_from_wrong_credentials_and_from_a_token_service_in_trouble",
    ),
    (
        "Kognitiv: members added but not appearing",
        "some minutes to show in Kognitiv's console",
        f"{KOGNITIV}test_an_inactive_member_is_rejected_and_the_summary_speaks_of_propagation",
    ),
    (
        "Kognitiv: members added but not appearing",
        "inactive members can't be added",
        f"{KOGNITIV}test_an_inactive_member_is_rejected_and_the_summary_speaks_of_propagation",
    ),
    (
        "Kognitiv: HTTP 500",
        "give Kognitiv's support the group",
        f"{KOGNITIV}test_members_whom_kognitiv_fails_for_are_named_in_the_file_of_outcomes_and_nowhere_else",
    ),
    (
        "CrowdTwist: authentication failed: API key or key pair",
        "check public_key and private_key",
        f"{CROWDTWIST}test_refused_credentials_name_the_settings_and_the_clock",
    ),
    (
        "CrowdTwist: authentication failed: API key or key pair",
        "check api_key",
        f"{CROWDTWIST}test_refused_credentials_name_the_settings_and_the_clock",
    ),
    (
        "CrowdTwist: authentication failed: the system clock",
        "synchronize the system clock",
        f"{CROWDTWIST}test_refused_credentials_name_the_settings_and_the_clock",
    ),
    (
        'CrowdTwist: "email_address already taken"',
        "use the mode upsert or update",
        f"{CROWDTWIST}test_a_known_address_rejects_an_insert_and_says_to_upsert",
    ),
    (
        'CrowdTwist: "No custom attributes setup for client"',
        "add the custom attribute in CrowdTwist Control Center",
        f"{CROWDTWIST}test_a_custom_attribute_that_was_not_set_up_rejects_the_row_with_the_remedy",
    ),
    (
        'CrowdTwist: "Unrecognized attribute name"',
        "names are case-sensitive and must match exactly",
        f"{CROWDTWIST}test_a_custom_attribute_that_was_not_set_up_rejects_the_row_with_the_remedy",
    ),
    (
        'CrowdTwist: "US zip code or country/city combo is required"',
        "map a 5-digit postal_code for US users, country_code with city_id or city_name for others",
        f"{CROWDTWIST}test_a_user_without_a_location_is_rejected_with_the_remedy",
    ),
    (
        "CrowdTwist: user not found during update",
        "check that it is what User Identifier Type (id_type) says",
        f"{CROWDTWIST}test_an_update_of_a_user_who_is_not_found_says_to_look_at_the_identifier_type",
    ),
    (
        "CrowdTwist: activity credit not awarding points: frequency caps",
        "frequency caps of the activity",
        f"{CROWDTWIST}test_a_credit_beyond_the_activitys_cap_is_accepted_with_the_reason",
    ),
    (
        "CrowdTwist: activity credit not awarding points: a wrong activity_id",
        "check the activity_id in Control Center",
        f"{CROWDTWIST}test_an_activity_that_does_not_exist_is_named_before_anything_is_credited",
    ),
    (
        "CrowdTwist: slow sync performance",
        "plan for off-peak hours, or try some with limit first",
        f"{CROWDTWIST}test_a_plan_of_many_rows_one_by_one_warns_and_is_not_stopped",
    ),
    (
        "Agillic: authentication failed: invalid Developer Key or Secret",
        "developer_key and developer_secret; where they are revoked, create new",
        f"{AGILLIC}test_the_credentials_are_told_apart_from_the_address",
    ),
    (
        "Agillic: API endpoint not reachable: protocol",
        "write the address with its protocol, for example https://",
        f"{AGILLIC}test_an_address_without_its_protocol_is_refused",
    ),
    (
        "Agillic: API endpoint not reachable: network",
        "check base_url, and that the network lets HTTPS out",
        f"{AGILLIC}test_the_credentials_are_told_apart_from_the_address",
    ),
    (
        "Agillic: recipient not found (update mode)",
        "use mode upsert for new ones",
        f"{AGILLIC}test_an_update_of_a_missing_recipient_is_rejected_says_to_upsert_and_creates_nobody",
    ),
    (
        "Agillic: target group not found: names are case-sensitive",
        "see Audiences > Target Groups",
        f"{GROUPS}test_a_group_that_can_not_be_written_to_is_named_before_anybody_is_upserted",
    ),
    (
        "Agillic: target group not found: dynamic groups are read-only",
        "dynamic groups are read-only via the API",
        f"{GROUPS}test_a_group_that_can_not_be_written_to_is_named_before_anybody_is_upserted",
    ),
    (
        "Agillic: one-to-many table not found: ids are case-sensitive",
        "table ids are case-sensitive",
        f"{GROUPS}test_a_table_in_other_letters_is_named_before_anything_is_sent",
    ),
    (
        "Agillic: rate limit exceeded (429)",
        "has answered 429 for minutes: space out the schedules",
        f"{AGILLIC}test_calls_that_are_refused_for_minutes_say_to_space_out_the_schedules",
    ),
    (
        "Agillic: rate limit exceeded (429)",
        "calls is used up",
        f"{AGILLIC}test_the_days_calls_end_the_run_and_the_next_day_goes_on",
    ),
    (
        "Agillic: errors for specific recipients of a batch",
        "check that every required field is filled and well-formed",
        f"{AGILLIC}test_a_malformed_recipient_is_rejected_alone_with_the_remedy",
    ),
    (
        "Agillic: recipient id field mismatch",
        "stored twice: its identifiers are",
        f"{AGILLIC}test_an_id_field_that_identifies_nobody_ends_the_run_before_duplicates_are_made",
    ),
]
