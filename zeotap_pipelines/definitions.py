"""What Dagster loads: this project's defs/."""

from pathlib import Path

import dagster as dg

from .project import load


@dg.definitions
def defs() -> dg.Definitions:
    """Return everything that defs/ declares."""
    return load(Path(__file__).parent)
