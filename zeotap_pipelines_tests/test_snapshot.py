"""An audience is frozen whole, or not at all."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from zeotap_pipelines import snapshot as snapshots
from zeotap_pipelines.audience import Audience, History
from zeotap_pipelines.engines.duckdb import DuckDBSource, memory, rows
from zeotap_pipelines.errors import FixDeclaration, FixQuery, MakePlanAgain
from zeotap_pipelines.state import State
from zeotap_pipelines_tests.world import day

NOW = datetime(2026, 11, 21, tzinfo=UTC)


class Warehouse:
    def __init__(self, root: Path) -> None:
        self.file = root / "warehouse.duckdb"
        self.state = State(root / "state")
        with duckdb.connect(str(self.file)) as connection:
            connection.execute("CREATE TABLE members (id VARCHAR, since TIMESTAMP, spent DECIMAL(9, 2))")
            connection.execute(
                "INSERT INTO members VALUES ('1', '2026-11-01 12:00', 1.50), ('2', '2026-11-02', 2), (NULL, NULL, 3)"
            )

    def take(self, query: str, run: str = "run", number: int = 0, **audience: Any) -> snapshots.Snapshot:
        people = Audience(**{"name": "people", "query": query, "key": ("id",), **audience})
        return snapshots.take(people, day(number), DuckDBSource(self.file), self.state, run=run, now=NOW)

    def files(self) -> list[str]:
        return sorted(path.name for path in self.state.root.rglob("*") if path.is_file())


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path)


def contents(snapshot: snapshots.Snapshot) -> list[tuple[Any, ...]]:
    with memory() as connection:
        return rows(connection, f"SELECT id FROM '{snapshot.path}' ORDER BY ALL")


def test_a_query_sees_its_partitions_window(warehouse: Warehouse) -> None:
    query = "SELECT * FROM members WHERE since >= $start AND since < $end AND $partition = '2026-11-01'"
    taken = warehouse.take(query)
    assert contents(taken) == [("1",)]
    assert taken.columns == {"id": "VARCHAR", "since": "TIMESTAMP", "spent": "DECIMAL(9,2)"}


def test_two_numbers_that_no_parquet_integer_holds_stay_two_people(warehouse: Warehouse) -> None:
    """Parquet has no 128-bit integer: as floating-point numbers these two would be one."""
    large = 2**100
    query = f"SELECT unnest([{large}, {large + 1}])::HUGEINT AS id, 7::UHUGEINT AS other"
    taken = warehouse.take(query)
    assert [str(number) for (number,) in contents(taken)] == [str(large), str(large + 1)]
    assert taken.repeated_keys == 0


def test_a_number_that_cannot_be_kept_exactly_is_refused(warehouse: Warehouse) -> None:
    with pytest.raises(FixQuery, match=r"audience people.*DECIMAL"):
        warehouse.take("SELECT 170141183460469231731687303715884105727::HUGEINT AS id")
    assert warehouse.files() == []


def test_rows_without_key_and_repeated_keys_are_counted(warehouse: Warehouse) -> None:
    taken = warehouse.take("SELECT * FROM members UNION ALL SELECT * FROM members;")
    assert (taken.rows, taken.null_keys, taken.repeated_keys) == (6, 2, 2)


def test_a_retry_within_the_run_keeps_the_snapshot_and_a_new_run_replaces_it(warehouse: Warehouse) -> None:
    first = warehouse.take("SELECT '1' AS id")
    assert warehouse.take("SELECT '2' AS id").kept
    assert contents(first) == [("1",)]
    again = warehouse.take("SELECT '2' AS id", run="another")
    assert not again.kept
    assert again.digest != first.digest
    assert contents(again) == [("2",)]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT nothing FROM members", "nothing"),
        ("SELECT * FROM nowhere", "nowhere"),
        ("SELEC 1", "SELEC"),
        ("SELECT 1 AS a", "returns no column 'id', which is its key; it has a"),
        ("SELECT '1' AS id WHERE $tomorrow", r"uses \$tomorrow; it may use \$partition, \$start"),
        ("DELETE FROM members", "one SELECT statement"),
        ("SELECT '1' AS id; DROP TABLE members", "one SELECT statement"),
        ("SELECT error('boom') AS id", "boom"),
        ("", "one SELECT statement"),
    ],
)
def test_a_query_that_fails_leaves_what_was_there_and_says_so(warehouse: Warehouse, query: str, said: str) -> None:
    before = warehouse.take("SELECT '1' AS id")
    with pytest.raises(FixQuery, match=f"audience people, partition 2026-11-01: .*{said}"):
        warehouse.take(query, run="another")
    assert contents(before) == [("1",)]
    assert warehouse.files() == ["2026-11-01.parquet"]
    with duckdb.connect(str(warehouse.file)) as connection:
        assert connection.execute("SELECT count(*) FROM members").fetchone() == (3,)


def test_a_query_can_not_write_where_it_likes(warehouse: Warehouse, tmp_path: Path) -> None:
    for query in (f"COPY members TO '{tmp_path}/x.csv'", f"ATTACH '{tmp_path}/x.db'", "INSTALL httpfs"):
        with pytest.raises(FixQuery):
            warehouse.take(query)
    assert not list(tmp_path.glob("x.*"))


def test_todays_truth_is_not_given_for_the_past(warehouse: Warehouse) -> None:
    with pytest.raises(FixQuery, match="knows only today"):
        warehouse.take("SELECT '1' AS id", history=History.CURRENT)
    assert warehouse.take("SELECT '1' AS id", number=20, history=History.CURRENT).rows == 1
    assert NOW < day(20).end <= NOW + timedelta(days=1)


def test_a_source_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(FixQuery, match=r"nowhere\.duckdb does not exist"):
        snapshots.take(
            Audience("people", "SELECT 1", ("id",)),
            day(0),
            DuckDBSource(tmp_path / "nowhere.duckdb"),
            State(tmp_path / "state"),
            run="r",
            now=NOW,
        )


def test_a_snapshot_that_was_not_taken_is_asked_for(warehouse: Warehouse) -> None:
    with pytest.raises(MakePlanAgain, match="there is no snapshot of people at 2026-11-01: materialize it first"):
        snapshots.read(Audience("people", "SELECT", ("id",)), day(0), warehouse.state)


@pytest.mark.parametrize("name", ["", "../x", "a b", "a'b", "ä", "x" * 101])
def test_an_audience_is_called_by_a_name(name: str) -> None:
    with pytest.raises(FixDeclaration, match="use letters, digits and underscores"):
        Audience(name, "SELECT", ("id",))
