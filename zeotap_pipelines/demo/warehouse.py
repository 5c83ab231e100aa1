"""The demo's warehouse: the CDNOW purchase log as one DuckDB file."""

import os
import tempfile
from pathlib import Path

import duckdb

HEADER = "customer_id,purchased_on,cds,dollars"

_PURCHASES = """
    create table purchases as
    select
        row_number() over () + 1 as purchase_id, -- line 1 is the header
        customer_id,
        purchased_on,
        cds,
        dollars
    from read_csv(
        ?,
        header = true,
        delim = ',',
        dateformat = '%Y-%m-%d',
        columns = {
            'customer_id': 'bigint', 'purchased_on': 'date', 'cds': 'integer', 'dollars': 'decimal(10, 2)'
        },
        parallel = false -- rows keep the order of their lines
    )
"""


def purchase_log() -> Path:
    """Return the purchase log of the checkout that the package lies in; elsewhere raise FileNotFoundError."""
    csv = Path(__file__).resolve().parents[2] / "data" / "cdnow_purchases.csv"
    if not csv.is_file():
        raise FileNotFoundError(f"{csv} is missing: outside a checkout of the project, name the purchase log's path")
    return csv


def build(csv: Path, warehouse: Path) -> int:
    """Make `warehouse` from the purchase log, whole or not at all, and return the number of purchases.

    An existing warehouse is replaced; who has it open goes on reading the old one. A purchase's id is its line's number
    in the log. Raises FileNotFoundError for a log that isn't there and ValueError for one that can't be read as such.
    """
    if not csv.is_file():
        raise FileNotFoundError(f"the purchase log {csv} does not exist")
    with csv.open(encoding="utf-8") as lines:
        header = lines.readline().strip()
    if header != HEADER:
        raise ValueError(f"{csv} is not the purchase log: its first line is {header[:80]!r}, not {HEADER!r}")

    warehouse.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{warehouse.name}.", dir=warehouse.parent) as folder:
        unfinished = Path(folder) / warehouse.name
        with duckdb.connect(unfinished) as connection:
            try:
                connection.execute(_PURCHASES, [str(csv)]).fetchall()
            except (duckdb.ConversionException, duckdb.InvalidInputException) as error:
                raise ValueError(f"{csv} holds a line that is not a purchase: {error}") from error
            ((purchases,),) = connection.execute("select count(*) from purchases").fetchall()
        _sync(unfinished)
        # A write-ahead log left by a killed writer belongs to the file that goes.
        warehouse.with_name(warehouse.name + ".wal").unlink(missing_ok=True)
        unfinished.replace(warehouse)
    _sync(warehouse.parent)
    return int(purchases)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
