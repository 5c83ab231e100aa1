"""Load a project: its ``defs`` folder, run in this process, with everything that refers to something checked."""

from __future__ import annotations

from pathlib import Path

import dagster as dg


def load(folder: Path) -> dg.Definitions:
    """
    Return the definitions of the project whose package lies in *folder*.

    Runs use the in-process executor: the default one starts a process per step, which
    takes ten times as long as most syncs.
    """
    return dg.Definitions.merge(
        dg.load_from_defs_folder(path_within_project=folder),
        dg.Definitions(executor=dg.in_process_executor),
    )
