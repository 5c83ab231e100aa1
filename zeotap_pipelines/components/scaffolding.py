"""What ``dg scaffold defs`` writes: a complete, commented, valid document."""

from __future__ import annotations

from textwrap import dedent
from typing import Any, ClassVar

import dagster as dg


class Example(dg.Scaffolder[Any]):
    """Writes the class's example, with the name filled in."""

    text: ClassVar[str]

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write defs.yaml into the new folder, or append a document to an existing one."""
        filled = dedent(self.text).format(type=request.type_name, name=request.target_path.stem.replace("-", "_"))
        file = request.target_path if request.append else request.target_path / "defs.yaml"
        with file.open("a" if request.append else "w", encoding="utf-8") as out:
            out.write(("---\n" if request.append else "") + filled)
