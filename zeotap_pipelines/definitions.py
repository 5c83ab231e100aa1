"""What Dagster loads: this project's defs/."""

from functools import cache
from pathlib import Path

import dagster as dg

from .project import load


@dg.definitions
@cache  # Dagster asks for it at every step and for every run anew.
def defs() -> dg.Definitions:
    """Return everything that defs/ declares."""
    return load(Path(__file__).parent)
