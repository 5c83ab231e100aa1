"""What a row becomes: the same text, key and digest on every day and release."""

import datetime as dt
import json
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zeotap_pipelines import rendering
from zeotap_pipelines.audience import Audience
from zeotap_pipelines.destinations.base import Target
from zeotap_pipelines.engines.duckdb import memory, rows
from zeotap_pipelines.errors import FixDeclaration
from zeotap_pipelines.mapping import Field, Kind, canonical, json_object, rendered
from zeotap_pipelines.model import Batch, Conversation, Mode, Receipt, Verb
from zeotap_pipelines.sync import Sync
from zeotap_pipelines_tests.world import KOGNITIV


class Profile(Target):
    """A target with attributes, for mappings only."""

    service = "test"
    kind = "profile"
    verbs: ClassVar = frozenset({Verb.UPSERT})
    identity = ("id", "email")
    email: ClassVar = frozenset({"email"})
    carries_attributes = True
    name = "profile"

    def converse(self, batch: Batch, visit: Any) -> Conversation:
        return Receipt(None)
        yield


def profile(**mapping: str | Field) -> Sync:
    fields = {name: Field.of(origin) for name, origin in mapping.items()}
    return Sync("s", Audience("a", "SELECT", ("id",)), Profile(), "account", Mode.UPSERT, fields)


def digests(sync: Sync, *given: dict[str, str | None]) -> list[int]:
    """The digest of each row of text columns."""
    found = []
    with memory() as connection:
        for row in given:
            columns = ", ".join(f'$v{n} AS "{name}"' for n, name in enumerate(row))
            texts = [
                f"{f.canonical(dict.fromkeys(row, 'VARCHAR'))} AS {rendering.field(name)}"
                for name, f in sync.mapping.items()
            ]
            query = f"SELECT {rendering.digest(sync)} FROM (SELECT {', '.join(texts)} FROM (SELECT {columns}))"
            found.append(rows(connection, query, {f"v{n}": value for n, value in enumerate(row.values())})[0][0])
    return found


CANONICAL = [
    ("1.50::DECIMAL(9,2)", "1.5"),
    ("1.5::DECIMAL(9,1)", "1.5"),
    ("1.5::DOUBLE", "1.5"),
    ("1.5::FLOAT", "1.5"),
    ("100::DECIMAL(9,2)", "100"),
    ("100::DECIMAL(9,0)", "100"),
    ("100.0::DOUBLE", "100"),
    ("100::INTEGER", "100"),
    ("100::HUGEINT", "100"),
    ("-0.0::DOUBLE", "0"),
    ("-0.50::DECIMAL(9,2)", "-0.5"),
    ("0.00::DECIMAL(9,2)", "0"),
    ("0.1::DOUBLE", "0.1"),
    ("0.1::FLOAT", "0.1"),
    ("1e14::DOUBLE", "100000000000000"),
    ("'nan'::DOUBLE", None),
    ("'infinity'::DOUBLE", None),
    ("true", "true"),
    ("' x '", " x "),
    ("''", ""),
    ("DATE '2026-11-01'", "2026-11-01"),
    ("TIMESTAMP '2026-11-01 02:03:04'", "2026-11-01T02:03:04.000000"),
    ("TIMESTAMP '2026-11-01 02:03:04.5'", "2026-11-01T02:03:04.500000"),
    ("TIMESTAMP_S '2026-11-01 02:03:04'", "2026-11-01T02:03:04.000000"),
    ("TIMESTAMP_MS '2026-11-01 02:03:04.5'", "2026-11-01T02:03:04.500000"),
    ("TIMESTAMPTZ '2026-11-01 02:03:04+02'", "2026-11-01T00:03:04.000000Z"),
    ("TIME '02:03:04'", "02:03:04"),
    ("UUID '00000000-0000-0000-0000-00000000000A'", "00000000-0000-0000-0000-00000000000a"),
    ("'a\\xFF'::BLOB", "61FF"),
    ("[1, 2]", "[1,2]"),
    ("{'a': 1, 'b': 'x'}", '{"a":1,"b":"x"}'),
    ("'a'::ENUM('a', 'b')", "a"),
    ("NULL::INTEGER", None),
    ("NULL::DECIMAL(9,2)", None),
]


@pytest.mark.parametrize(("value", "text"), CANONICAL)
def test_every_type_has_one_text(value: str, text: str | None) -> None:
    with memory() as connection:
        [(sql_type,)] = rows(connection, f"SELECT column_type FROM (DESCRIBE SELECT {value} AS v)")
        assert rows(connection, f"SELECT {canonical('v', sql_type)} FROM (SELECT {value} AS v)") == [(text,)]


@settings(deadline=None, max_examples=30)
@given(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**9), max_value=10**9))
def test_a_number_is_its_value_whatever_its_scale(number: Decimal) -> None:
    with memory() as connection:
        [(narrow, wide)] = rows(
            connection,
            f"SELECT {canonical('a', 'DECIMAL(18,4)')}, {canonical('b', 'DECIMAL(38,9)')} "
            "FROM (SELECT $n::DECIMAL(18,4) AS a, $n::DECIMAL(38,9) AS b)",
            {"n": str(number)},
        )
    assert narrow == wide
    assert Decimal(narrow) == number


GOLDEN_1 = {
    ("1", None, None): 2885175610908159338,
    ("1", "Ann@X.test", "gold"): 2693947490492547743,
    ("7", "😀'\"", ""): 6405424299730071169,
}


def test_a_digest_never_changes_from_release_to_release() -> None:
    """Another value here means that every row of every user is sent again: write a new version instead."""
    sync = profile(id="id", email="email", tier="tier")
    given = [dict(zip(("id", "email", "tier"), row, strict=True)) for row in GOLDEN_1]
    assert digests(sync, *given) == list(GOLDEN_1.values())
    assert rendering.DIGEST_VERSION == 1


def test_a_group_that_holds_nothing_but_members_has_one_digest() -> None:
    fields = {"member_internal_id": Field.of("id")}
    sync = Sync("s", Audience("a", "SELECT", ("id",)), KOGNITIV.target, "demo", Mode.MIRROR, fields)
    assert digests(sync, {"id": "1"}, {"id": "2"}) == [0, 0]


values = st.one_of(st.none(), st.text(st.sampled_from("a1:-,\"'\x1f\\|é"), max_size=4))


@settings(deadline=None, max_examples=50)
@given(st.tuples(values, values, values), st.tuples(values, values, values))
def test_rows_that_differ_have_different_digests(one, other) -> None:
    """However their values run together: ("a", "bc") is not ("ab", "c"), and null is not empty."""
    sync = profile(id="id", a="a", b="b", c="c")
    rows_of = [dict(id="1", **dict(zip("abc", row, strict=True))) for row in (one, other)]
    first, second = digests(sync, *rows_of)
    assert (first == second) == (one == other)


def test_a_field_that_changes_its_name_or_its_nulls_is_a_change() -> None:
    row = {"id": "1", "x": "v"}
    found = [
        digests(sync, row)[0]
        for sync in (
            profile(id="id", a="x"),
            profile(id="id", b="x"),
            profile(id="id", a=Field(column="x", send_nulls=True)),
            profile(id="id", a="x", b=Field(constant="1")),
        )
    ]
    assert len(set(found)) == 4
    assert digests(profile(a="x", id="id"), row) == found[:1], "the order of the fields is no change"


def test_identities_differ_as_the_target_compares_them() -> None:
    sync = profile(id="id", email="email")
    same = digests(sync, {"id": "1", "email": "A@x.test"}, {"id": " 1 ", "email": "a@X.test "})
    assert same[0] == same[1]
    assert digests(sync, {"id": "a", "email": None}) != digests(sync, {"id": "A", "email": None})


def text_of(field: Field, **columns: Any) -> str | None:
    with memory() as connection:
        given = ", ".join(f'${name} AS "{name}"' for name in columns)
        types = {name: sql_type for name, sql_type, *_ in rows(connection, f"DESCRIBE SELECT {given}", columns)}
        return rows(connection, f"SELECT {field.canonical(types)} FROM (SELECT {given})", columns)[0][0]


def test_templates_constants_and_steps() -> None:
    assert text_of(Field(template="{a}-{b}!"), a="x", b="y") == "x-y!"
    assert text_of(Field(template="{a}-{b}"), a="x", b=None) is None
    assert text_of(Field(template="it's {a}"), a="'; DROP TABLE x; --") == "it's '; DROP TABLE x; --"
    assert text_of(Field(constant="it's"), a="x") == "it's"
    assert text_of(Field(column="a", case="lower", hash="sha256"), a="A") == (
        "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    )
    assert text_of(Field(column="a", date_format="dd.MM.yyyy"), a=dt.date(2026, 11, 1)) == "01.11.2026"
    assert text_of(Field(column="a", date_format="dd.MM.yyyy"), a="never") is None


@pytest.mark.parametrize(
    ("text", "kind", "sent"),
    [
        ('x"y\n😀', Kind.TEXT, '"x\\"y\\n😀"'),
        ("12.0", Kind.INTEGER, "12"),
        ("12.5", Kind.INTEGER, None),
        ("x", Kind.INTEGER, None),
        ("9007199254740993", Kind.INTEGER, "9007199254740993"),
        ("1.5", Kind.NUMBER, "1.5"),
        ("x", Kind.NUMBER, None),
        ("true", Kind.FLAG, "1"),
        ("false", Kind.FLAG, "0"),
        ("2026-11-01T00:00:00.000000Z", Kind.UNIX, "1793491200"),
        ("1793491200", Kind.UNIX, "1793491200"),
        ('{"a":1}', Kind.JSON, '{"a":1}'),
    ],
)
def test_every_kind_of_field_travels_as_its_json(text: str, kind: Kind, sent: str | None) -> None:
    with memory() as connection:
        assert rows(connection, f"SELECT {rendered('v', kind)} FROM (SELECT $v AS v)", {"v": text}) == [(sent,)]


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ('{"a":1}', True),
        (' \n\t{"a" : [ ]} ', True),
        ('{"nan, ]":": inf","b":"\\",]"}', True),
        ('{"information":[true,null],"n":[]}', True),
        ("[1]", False),
        ('"{"', False),
        ("nonsense", False),
        ("", False),
        ('{"a":1,}', False),
        ('{"a":[1,\n ]}', False),
        ('{"b":"nan","a":NaN}', False),
        ('{"a":[ -inf]}', False),
        ('{"a\\\\":Infinity}', False),
    ],
)
def test_a_json_object_is_one_for_everybody(text: str, is_one: bool) -> None:
    with memory() as connection:
        assert rows(connection, f"SELECT {json_object('v')} FROM (SELECT $v AS v)", {"v": text}) == [(is_one,)]
    if is_one:
        assert json.loads(text) is not None


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({}, "exactly one of column, constant and template"),
        ({"column": "a", "constant": "b"}, "exactly one of"),
        ({"column": "a", "hash": "md5"}, "hash is sha256"),
        ({"column": "a", "case": "title"}, "case is lower or upper"),
        ({"colum": "a"}, "a mapped field has no setting 'colum'"),
    ],
)
def test_a_field_that_can_not_be_is_refused(declared: dict[str, str], said: str) -> None:
    with pytest.raises(FixDeclaration, match=said):
        Field.of(declared)
