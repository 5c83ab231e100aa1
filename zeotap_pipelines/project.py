"""Load a project: its ``defs`` folder, run in this process, with everything that refers to something checked."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
from dagster.components.core.component_tree import ComponentTreeException
from pydantic import ValidationError

from . import components
from .automation.definitions import automation
from .components import documents
from .components.quickly import scanned_in_c, without_collecting
from .declared import Declared
from .jobs import jobs


def load(folder: Path) -> dg.Definitions:
    """
    Return the definitions of the project whose package lies in *folder*.

    Runs use the in-process executor: the default one starts a process per step, which
    takes ten times as long as most syncs. Raises DeclarationError, naming file and
    line, for a document that can't be used.
    """
    documents.check(folder, tuple(components.__all__))
    try:
        with without_collecting(), scanned_in_c():
            declared = dg.load_from_defs_folder(path_within_project=folder)
    except (ComponentTreeException, ValidationError) as error:
        types = {name: getattr(components, name) for name in components.__all__}
        raise documents.explained(error, types) or error from None
    tree = declared.component_tree
    assert tree is not None
    project = Declared(tree)
    beside = dg.Definitions(jobs=jobs(project), executor=dg.in_process_executor)
    return dg.Definitions.merge(declared, beside, automation(project))
