"""What ``dg scaffold defs`` writes: a complete, commented, valid document."""

from __future__ import annotations

from textwrap import dedent, indent, wrap
from typing import Any, ClassVar

import dagster as dg
import yaml

SAMPLES: dict[str, Any] = {
    "end": "2027-01-01",
    "description": "Shown in Dagster.",
    "owners": ["team:crm"],
    "guards": {
        "max_removed_percent": 30,
        "max_removed": 10_000,
        "max_added_percent": 100,
        "max_set_aside_percent": 10,
        "allow_empty": False,
        "stale_after_hours": 48,
    },
    "reassert_after_hours": 720,
    "deliver_between": {
        "hours": "08:00-20:00",
        "weekdays": ["mon", "tue", "wed", "thu", "fri"],
        "timezone": "Europe/Vienna",
    },
    "requests_per_second": 10,
    "token_url": "https://identity.example.com/connect/token",
    "scope": "api",
    "api_version": "1.0",
    "api_key": "CROWDTWIST_API_KEY",
    "data_center": "01",
    "extra_headers": {"MOE-DESTINATION-PARTNER": "zeotap"},
    "cohort_description": "Bought something in the last 90 days.",
}
"""What is written for an attribute that has no default."""


class Example(dg.Scaffolder[Any]):
    """Writes the class's example, with the name filled in, and after it, commented, whatever the example leaves out."""

    text: ClassVar[str]

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write defs.yaml into the new folder, or append a document to an existing one."""
        filled = self.filled(request.type_name, request.target_path.stem.replace("-", "_"))
        file = request.target_path if request.append else request.target_path / "defs.yaml"
        with file.open("a" if request.append else "w", encoding="utf-8") as out:
            out.write(("---\n" if request.append else "") + filled)

    @classmethod
    def filled(cls, type_name: str, name: str) -> str:
        """Return the document that declares *name*; every attribute of the type is in it."""
        from .. import components

        head = dedent(cls.text).format(type=type_name, name=name)
        component = getattr(components, type_name.rpartition(".")[2])
        rest = []
        for field, said in component.model().model_fields.items():
            if f" {field}:" not in head:
                default = component.model_fields[field].get_default(call_default_factory=True)
                rest.append(_commented(field, SAMPLES.get(field, default), said.description or ""))
        return head + indent("".join(rest), "  ")


def _commented(field: str, value: Any, description: str) -> str:
    if isinstance(value, list):  # In one line, as the examples write them.
        written = f"{field}: {yaml.safe_dump(value, default_flow_style=True)}"
    else:
        lists = isinstance(value, dict) and any(isinstance(one, list) for one in value.values())
        written = yaml.safe_dump({field: value}, sort_keys=False, default_flow_style=None if lists else False)
    return "".join(f"# {line}\n" for line in [*wrap(description, 110), *written.splitlines()])
