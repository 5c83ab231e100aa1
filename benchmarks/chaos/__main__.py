"""`python -m benchmarks.chaos`: play chaos, print what came of it, and leave with status 1 on any defect."""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.chaos import report
from benchmarks.chaos.play import Play
from benchmarks.chaos.scenes import SCENES, Scene


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="default: a random one, which is printed")
    parser.add_argument("--kills", type=int, help="end after so many kills in all (default: 1000); 0: nobody is killed")
    parser.add_argument("--seconds", type=float, help="end after so many seconds")
    parser.add_argument("--target", action="append", choices=SCENES, help="only this one (may be repeated)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what came of it into this file")
    parser.add_argument(
        "--document", type=Path, nargs="+", metavar="FILE", help="play nothing; let docs/chaos.md show these files"
    )
    chosen = parser.parse_args(arguments)
    if chosen.document:
        report.document(chosen.document)
        return 0
    if chosen.kills == 0 and not chosen.seconds:
        parser.error("without kills say --seconds")
    kills = 1000 if chosen.kills is None and chosen.seconds is None else chosen.kills
    seed = chosen.seed if chosen.seed is not None else random.randrange(10**6)
    scenes = [SCENES[name] for name in chosen.target or SCENES]
    print(f"seed {seed}", flush=True)
    started = time.monotonic()
    root = Path(tempfile.mkdtemp(prefix="chaos-"))
    plays = perform(scenes, seed, root, kills, chosen.seconds)
    found = report.report(plays, seed, time.monotonic() - started)
    print(f"{report.plain(found)}\n{report.said(found)}")
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    broken = [play for play in plays if play.defects]
    for play in broken:
        print("\n".join(["", *(f"DEFECT {what}" for what in play.defects), *play.trace]))
    if broken:
        print(f"\ndefects, seed {seed}; the state is left in {root}")
        return 1
    shutil.rmtree(root)
    return 0


def perform(
    scenes: Sequence[Scene], seed: int, root: Path, kills: int | None = None, seconds: float | None = None
) -> list[Play]:
    """Play all *scenes*, each service's in a thread, until *kills* in all or *seconds*, and return the plays."""
    services = sorted({scene.service for scene in scenes})
    plays = [
        Play([scene for scene in scenes if scene.service == service], seed, root, kill=kills != 0)
        for service in services
    ]
    ends = time.monotonic() + seconds if seconds else None

    def more() -> bool:
        enough = bool(kills) and sum(play.kills for play in plays) >= kills
        return not (enough or (ends is not None and time.monotonic() >= ends) or any(play.defects for play in plays))

    threads = [threading.Thread(target=play.run, args=(more,), name=play.service) for play in plays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return plays


if __name__ == "__main__":
    sys.exit(main())
