"""
Looks every pinned package up in the OSV database of known vulnerabilities, in one request.

    python scripts/audit.py [--required] [--database URL] [--pins FILE]

Leaves with status 1 when a package is known to be vulnerable. Where the database can't be
asked it says so on standard error; with --required that is status 1 too.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[1]
DATABASE = "https://api.osv.dev"

ACCEPTED: dict[str, str] = {}
"""Vulnerabilities that don't concern this project, each with the reason."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python scripts/audit.py", description=__doc__)
    parser.add_argument("--required", action="store_true", help="fail where the database can't be asked")
    parser.add_argument("--database", default=DATABASE, help=f"default: {DATABASE}")
    parser.add_argument("--pins", type=Path, default=ROOT / "constraints.txt", help="default: constraints.txt")
    chosen = parser.parse_args(arguments)
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", chosen.pins.read_text(encoding="utf-8"), re.MULTILINE)
    try:
        found = known(chosen.database, pins)
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        why = f"{chosen.database} can't be asked ({type(error).__name__})"
        print(f"audit: NOT DONE, {why}: nobody looked for known vulnerabilities", file=sys.stderr)
        return 1 if chosen.required else 0
    wrong = 0
    for (name, version), vulnerabilities in zip(pins, found, strict=True):
        for one in vulnerabilities:
            accepted = ACCEPTED.get(one)
            wrong += not accepted
            print(f"audit: {name} {version}: {one}, {accepted or f'see https://osv.dev/vulnerability/{one}'}")
    print(f"audit: {len(pins)} pinned packages, {wrong} known vulnerabilities")
    return 1 if wrong else 0


def known(database: str, pins: Sequence[tuple[str, str]]) -> list[list[str]]:
    """The ids of the known vulnerabilities of each pin; raises what httpx raises, or KeyError on a strange answer."""
    queries = [{"package": {"ecosystem": "PyPI", "name": name}, "version": version} for name, version in pins]
    response = httpx.post(f"{database}/v1/querybatch", json={"queries": queries}, timeout=30)
    results = response.raise_for_status().json()["results"]
    if len(results) != len(pins):
        raise ValueError("an answer for other packages")
    return [[vulnerability["id"] for vulnerability in result.get("vulns", [])] for result in results]


if __name__ == "__main__":
    sys.exit(main())
