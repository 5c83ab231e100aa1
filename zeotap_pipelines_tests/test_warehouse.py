import csv
import datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from zeotap_pipelines.demo import warehouse


def ask(path: Path, query: str) -> list[tuple[object, ...]]:
    with duckdb.connect(path, read_only=True) as connection:
        return connection.execute(query).fetchall()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("warehouse") / "demo.duckdb"
    assert warehouse.build(warehouse.purchase_log(), path) == 69_659
    return path


def test_the_warehouse_holds_every_purchase_of_every_customer(built: Path) -> None:
    counted = "count(*), count(distinct customer_id), min(purchased_on), max(purchased_on), sum(dollars)"
    assert ask(built, f"select {counted} from purchases") == [
        (69_659, 23_570, datetime.date(1997, 1, 1), datetime.date(1998, 6, 30), Decimal("2500315.63"))
    ]


def test_the_columns_have_their_types(built: Path) -> None:
    assert ask(built, "select column_name, data_type from information_schema.columns order by ordinal_position") == [
        ("purchase_id", "BIGINT"),
        ("customer_id", "BIGINT"),
        ("purchased_on", "DATE"),
        ("cds", "INTEGER"),
        ("dollars", "DECIMAL(10,2)"),
    ]


def test_a_purchases_id_is_its_line_in_the_log(built: Path) -> None:
    with warehouse.purchase_log().open(newline="") as lines:
        reader = csv.reader(lines)
        next(reader)
        log = [
            (number, int(customer), datetime.date.fromisoformat(day), int(cds), Decimal(dollars))
            for number, (customer, day, cds, dollars) in enumerate(reader, start=2)
        ]
    assert ask(built, "select * from purchases order by purchase_id") == log


def test_255_purchases_repeat_another_and_are_kept(built: Path) -> None:
    distinct = "select distinct customer_id, purchased_on, cds, dollars from purchases"
    assert ask(built, f"select count(*) from ({distinct})") == [(69_659 - 255,)]


def test_a_rebuilt_warehouse_has_the_same_ids(built: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.duckdb"
    warehouse.build(warehouse.purchase_log(), again)
    everything = "select * from purchases order by purchase_id"
    assert ask(again, everything) == ask(built, everything)


@pytest.mark.parametrize(
    ("log", "says"),
    [
        ("who,when\n1,1997-01-01\n", "its first line is 'who,when'"),
        (f"{warehouse.HEADER}\n1,1997-01-01,1,11.77\n2,yesterday,1,1.00\n", "holds a line that is not a purchase"),
        (f"{warehouse.HEADER}\n1,1997-01-01,1\n", "holds a line that is not a purchase"),
    ],
)
def test_a_bad_log_leaves_the_old_warehouse_untouched(log: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "demo.duckdb"
    path.write_bytes(b"the old warehouse")
    bad = tmp_path / "bad.csv"
    bad.write_text(log)
    with pytest.raises(ValueError, match=says):
        warehouse.build(bad, path)
    assert path.read_bytes() == b"the old warehouse"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["bad.csv", "demo.duckdb"]


def test_a_missing_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"the purchase log .*nowhere\.csv does not exist"):
        warehouse.build(tmp_path / "nowhere.csv", tmp_path / "demo.duckdb")


def test_a_reader_of_the_old_warehouse_is_not_disturbed_and_its_log_is_not_replayed(tmp_path: Path) -> None:
    path = tmp_path / "demo.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute("create table purchases as select 1 as purchase_id").fetchall()
    (tmp_path / "demo.duckdb.wal").write_bytes(b"left by a killed writer")
    short = tmp_path / "short.csv"
    short.write_text(f"{warehouse.HEADER}\n7,1997-01-02,3,20.76\n")
    with path.open("rb") as old:
        before = path.read_bytes()
        assert warehouse.build(short, path) == 1
        assert old.read() == before
    assert ask(path, "select purchase_id, customer_id from purchases") == [(2, 7)]
