"""
Mutants: the code is broken in ways that matter, one at a time, in a copy of the tree; some test must fail each time.

    python -m benchmarks.mutants [--only WORD]

Leaves with status 1 when a mutant survives, or when the text that it replaces is no longer there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.judging import Ask, in_turn

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("zeotap_pipelines", "zeotap_pipelines_tests", "benchmarks", "pyproject.toml")
TOO_LONG = 600.0
"""Seconds after which a mutant that makes the tests hang counts as caught."""


@dataclass(frozen=True)
class Mutant:
    """
    One way to break the code.

    In *file* of the package the text *old*, which is there exactly once, becomes
    *new*; *tests* are the modules that may catch it, without ``test_`` and ``.py``.
    """

    name: str
    file: str
    old: str
    new: str
    tests: str


MUTANTS = (
    Mutant(
        "asks before it writes down that it does",
        "delivery/conversing.py",
        "self._journal.asked(self._plan.id, rows, max(batch.at for batch in batches).isoformat())",
        "pass",
        "owed crashes",
    ),
    Mutant(
        "an event is asked again after a lost answer",
        "wire/calling.py",
        "(trial.event and not unsent)",
        "False",
        "wire",
    ),
    Mutant(
        "an event is asked again after a 500",
        "wire/calling.py",
        "if trial.event or trial.failures > self._connection.retries:\n            return False",
        "if trial.failures > self._connection.retries:\n            return False",
        "wire",
    ),
    Mutant(
        "a 500 leaves no doubt about an event",
        "destinations/base.py",
        "status >= 500:\n        return Outcome(Fate.IN_DOUBT if event else Fate.DEFERRED, reason, status)",
        "status >= 500:\n        return Outcome(Fate.DEFERRED, reason, status)",
        "wire destinations/test_crowdtwist_activities",
    ),
    Mutant(
        "Retry-After is ignored",
        "wire/calling.py",
        "    return min(max(0.0, seconds), LONGEST_PAUSE)",
        "    return None",
        "wire",
    ),
    Mutant(
        "a 429 uses up retries",
        "wire/calling.py",
        "trial.refusals += 1\n",
        "trial.refusals += 1\n"
        "            trial.failures += 1\n"
        "            if trial.failures > self._connection.retries:\n"
        "                return False\n",
        "wire",
    ),
    Mutant("a redirect is an answer", "wire/calling.py", "if 300 <= status < 400:", "if False:", "wire"),
    Mutant(
        "a failure to fetch a token is one of the call",
        "wire/calling.py",
        "trial.sent = request is call",
        "trial.sent = True",
        "wire",
    ),
    Mutant(
        "every refused request renews the token",
        "destinations/auth.py",
        "        async with self._lock:\n            if self._token is used:",
        "        if True:\n            if True:",
        "wire",
    ),
    Mutant(
        "an identity is not encoded in a path",
        "naming.py",
        'quote(text, safe="")',
        'quote(text, safe="/+@")',
        "ledger destinations/test_kognitiv",
    ),
    Mutant(
        "guards are skipped",
        "delivery/delivery.py",
        "if owed and plan.stopped and approval is None:",
        "if False:",
        "guards",
    ),
    Mutant(
        "removals are not withheld",
        "delivery/conversing.py",
        "if removals and self._plan.withheld and not self._approved:",
        "if False:",
        "guards",
    ),
    Mutant(
        "removals do not wait for a replacement's adds",
        "delivery/conversing.py",
        "elif removals and self._plan.replacement and failed:",
        "elif False:",
        "guards",
    ),
    Mutant(
        "an approval is good for any plan",
        "delivery/delivery.py",
        "if approval is not None and approval.plan != plan.id:",
        "if False:",
        "guards",
    ),
    Mutant(
        "a digest ignores a field",
        "rendering.py",
        "    texts = [normalised(sync.target, n, field(n)) if n in sync.target.identity else field(n) for n in names]",
        "    texts = [field(n) for n in names[1:] or names]",
        "mapping owed",
    ),
    Mutant(
        "a digest runs values together",
        "rendering.py",
        "coalesce(strlen({text}) || ':' || {text}, '-')",
        "coalesce({text}, '')",
        "mapping",
    ),
    Mutant(
        "the account's lock is not held",
        "ledger/lock.py",
        "        fcntl.flock(descriptor, how | fcntl.LOCK_NB)\n",
        "        pass\n",
        "processes",
    ),
    Mutant(
        "what a crash left unanswered counts as deferred, for an event too",
        "ledger/words.py",
        "unanswered = Fate.IN_DOUBT if target.event else Fate.DEFERRED",
        "unanswered = Fate.DEFERRED",
        "events chaos",
    ),
    Mutant(
        "what was asked and not answered is settled",
        "ledger/fold.py",
        "WHEN fate = 'deferred' AND NOT untouched THEN true",
        "WHEN fate = 'deferred' AND NOT untouched THEN false",
        "owed crashes",
    ),
    Mutant(
        "a refusal after a lost answer is believed",
        "ledger/fold.py",
        "WHEN unsure THEN true",
        "WHEN unsure THEN false",
        "owed",
    ),
    Mutant(
        "folds what was folded",
        "ledger/fold.py",
        "    if rows(connection, \"SELECT 1 FROM meta WHERE key = 'journal' AND value = ?\", [journal_id]):",
        "    if False:",
        "ledger",
    ),
    Mutant(
        "an event that is told is asked for because a plan says so",
        "delivery/delivery.py",
        """settled = "t.state = 'in'\"""",
        "pass",
        "events",
    ),
    Mutant(
        "a plan that was made in the middle of a delivery fits when it has ended",
        "ledger/ledger.py",
        "fold.set_meta(connection, generation=str(before))",
        "pass",
        "ledger",
    ),
    Mutant(
        "the journal starts anew before it is folded",
        "ledger/ledger.py",
        "        journal.flush()\n        try:\n            if self.stamps_file",
        "        journal.restart()\n        try:\n            if self.stamps_file",
        "owed crashes",
    ),
    Mutant(
        "a half-written line is left in the journal",
        "ledger/journal.py",
        "            file.truncate(size - (len(tail) - whole))\n",
        "",
        "ledger",
    ),
    Mutant(
        "removals go first",
        "delivery/conversing.py",
        "for removing in (False, True):",
        "for removing in (True, False):",
        "owed guards",
    ),
    Mutant(
        "time runs backwards",
        "delivery/delivery.py",
        "if plan_window.end < standing.mark:",
        "if False:",
        "owed history",
    ),
    Mutant(
        "who adds and who removes at one address may cut time differently",
        "components/sync.py",
        'if its.cut != audience.cut or "none" in (its.partitions, audience.partitions):',
        "if False:",
        "declarations",
    ),
    Mutant(
        "who is in both audiences is added by the one sync and removed by the other",
        "diff/comparison.py",
        'unopposed = " ANTI JOIN opposed USING (key)" if sync.opposite else ""',
        'unopposed = ""',
        "opposed",
    ),
    Mutant(
        "a plan is sent though the other audience is another by now",
        "pipeline.py",
        'and found.opposing == (theirs.digest if theirs else "")',
        "and True",
        "opposed",
    ),
    Mutant(
        "what was delivered is not compared again when the other audience is another",
        "diff/in_step.py",
        'if plan.opposing != (compared.opposing.digest if compared.opposing else ""):',
        "if False:",
        "opposed",
    ),
    Mutant(
        "who shares an identifier with somebody in the other audience is not one of both",
        "diff/opposed.py",
        "if not several(sync):",
        "if True:",
        "opposed",
    ),
    Mutant(
        "a chain leaves the other's snapshot out",
        "automation/chain.py",
        'return [*self._up_to(self.syncs), *(dg.AssetKey(["snapshots", name]) for name in self.opposing)]',
        "return self._up_to(self.syncs)",
        "pairs",
    ),
    Mutant(
        "a removal on request is of the partition that the target stands at",
        "delivery/conversing.py",
        "    if not plan.snapshot:  #",
        "    if False:  #",
        "identities",
    ),
    Mutant(
        "a removal on request fills a one-time cohort",
        "delivery/delivery.py",
        "sync.target.once and plan.audience and",
        "sync.target.once and",
        "identities",
    ),
    Mutant(
        "where time is not cut, who was refused once is refused for ever",
        "model.py",
        " if self.key == UNPARTITIONED else self.key",
        ' if self.key == "" else self.key',
        "owed",
    ),
    Mutant(
        "where time is not cut, a plan fits the next snapshot of the same rows",
        "pipeline.py",
        "            and found.window == partition\n",
        "",
        "owed",
    ),
    Mutant(
        "where time is not cut, a snapshot supersedes a later one",
        "delivery/delivery.py",
        " or restore or plan_window.key == UNPARTITIONED:",
        " or restore:",
        "owed",
    ),
    Mutant(
        "where time is not cut, the mark stays where a clock was ahead",
        "ledger/fold.py",
        "end > mark or name == UNPARTITIONED:",
        "end > mark:",
        "owed",
    ),
    Mutant(
        "two ids that differ by case are one where somebody is removed on request",
        "upkeep/removal.py",
        'form = rendering.same_form(sync.target, "x")',
        'form = "lower(trim(x))"',
        "forget",
    ),
    Mutant(
        "whom nobody was asked about counts as removed",
        "commands/forgetting.py",
        "if rest := held(sync, found.keys[sync.address], state):",
        "if (rest := held(sync, found.keys[sync.address], state)) and False:",
        "commands",
    ),
    Mutant(
        "a record that is refused alone speaks for all that wait",
        "destinations/agillic_tables.py",
        "if fate not in (Fate.ACCEPTED, Fate.REJECTED):",
        "if fate is not Fate.ACCEPTED:",
        "destinations/test_agillic",
    ),
    Mutant(
        "a query runs by the clock of UTC",
        "engines/duckdb.py",
        'rows(connection, f"SET SESSION TimeZone = {literal(zone)}")',
        "pass",
        "time_zones",
    ),
    Mutant(
        "the hour that comes twice is one",
        "snapshot.py",
        "shown.replace(fold=0).utcoffset() != shown.replace(fold=1).utcoffset()",
        "False",
        "time_zones",
    ),
    Mutant(
        "two spellings of a number are two members",
        "rendering.py",
        "    if name in target.numbers:\n        return _number(text)\n",
        "",
        "numbers",
    ),
    Mutant(
        "one account has two names",
        "components/connection.py",
        "            if shared:\n",
        "            if False:\n",
        "declarations",
    ),
    Mutant(
        "a journal without its ledger is a first run",
        "ledger/ledger.py",
        "if follows(journal) and not file.exists():",
        "if False:",
        "ledger",
    ),
    Mutant(
        "a plan that no longer fits is sent",
        "pipeline.py",
        "            and found.snapshot == taken.digest\n",
        "",
        "owed guards history",
    ),
    Mutant(
        "a plan that another overtook is sent",
        "delivery/delivery.py",
        "    if others := standing.moved_since(plan.generation) - {plan.id}:",
        "    if others := set():",
        "owed guards ledger processes",
    ),
    Mutant(
        "what an interrupted delivery came to is asked again",
        "delivery/delivery.py",
        "            so_far = _so_far(connection, sync.target, plan, trip.state, standing)",
        "            so_far = _SoFar()",
        "crashes owed processes",
    ),
    Mutant(
        "credits of one user are in flight together",
        "delivery/conversing.py",
        "        name = self._target.apart(batch.operations[0])",
        "        name = None",
        "events",
    ),
    Mutant(
        "an earlier task is not waited for",
        "delivery/conversing.py",
        "for task in self._tasks.open():",
        "for task in []:",
        "found_by_chaos",
    ),
    Mutant(
        "a task is not remembered",
        "delivery/conversing.py",
        "begun=begun)",
        "begun=None)",
        "found_by_chaos",
    ),
    Mutant(
        "an upload whose answer was never heard is not waited for",
        "delivery/conversing.py",
        "await self._trip.clock.sleep(max(0.0, left))",
        "pass",
        "tasks",
    ),
    Mutant(
        "the unheard attempt of an upload is forgotten",
        "wire/wire.py",
        "alone=not repeated)",
        "alone=True)",
        "tasks",
    ),
    Mutant(
        "moments repeat",
        "delivery/conversing.py",
        "now = max(now, self._last_at + timedelta(milliseconds=1))",
        "pass",
        "ledger",
    ),
    Mutant(
        "secrets and rows stand in reasons",
        "delivery/conversing.py",
        "if (receipt := discreet(held.receipt, batch, self._secrets)) is not held.receipt:",
        "if (receipt := held.receipt) is not held.receipt:",
        "wire canaries",
    ),
    Mutant(
        "what ends a run quotes a row",
        "delivery/conversing.py",
        "            hush(held.halt, batch, self._secrets)\n",
        "            pass\n",
        "canaries",
    ),
    Mutant(
        "an echoed token is written down",
        "wire/discretion.py",
        "(*secret, *_signed_with(response.request))",
        "secret",
        "canaries",
    ),
    Mutant(
        "httpx logs whom it asks for",
        "wire/discretion.py",
        "        logging.getLogger(library).setLevel(logging.WARNING)\n",
        "        pass\n",
        "notices",
    ),
    Mutant(
        "whoever was refused is asked again and again",
        "diff/comparison.py",
        "THEN 'refused before' ELSE why END",
        "THEN why ELSE why END",
        "owed",
    ),
    Mutant(
        "a row without a stamp counts as told",
        "diff/comparison.py",
        "l.stamp IS NOT DISTINCT FROM w.stamp",
        "coalesce(l.stamp = w.stamp, true)",
        "comparison",
    ),
    Mutant(
        "a second row of somebody who was told is not looked for",
        "diff/comparison.py",
        "    if once:\n",
        "    if once or True:\n",
        "comparison",
    ),
    Mutant(
        "rows of which some were refused are not compared again",
        "diff/in_step.py",
        "if plan is None or other or accepted != plan.operations",
        "if plan is None",
        "comparison",
    ),
    Mutant(
        "what is unsettled hides behind a delivery",
        "diff/in_step.py",
        "WHERE unsettled OR refused_verb IS NOT NULL",
        "WHERE false",
        "comparison",
    ),
    Mutant(
        "another mapping hides behind a delivery",
        "diff/in_step.py",
        "return plan if made == now and",
        "return plan if",
        "comparison",
    ),
    Mutant(
        "what is unsettled is not owed",
        "diff/comparison.py",
        "            CASE WHEN l.unsettled THEN 'unsettled' WHEN l.state = 'in' AND {again} THEN 'asserted again'",
        "            CASE WHEN l.state = 'in' AND {again} THEN 'asserted again'",
        "owed",
    ),
    Mutant(
        "an unheard addition is not taken back",
        "diff/comparison.py",
        "CASE WHEN l.unsettled THEN 'left, unsettled' WHEN l.state = 'in' THEN 'left' END",
        "CASE WHEN l.state = 'in' THEN 'left' END",
        "owed",
    ),
    Mutant(
        "rows that contradict each other are sent",
        "diff/comparison.py",
        "(s.unfit IS NOT NULL OR s.conflicting OR judged.src <> s.src)",
        "(s.unfit IS NOT NULL OR judged.src <> s.src)",
        "owed ledger",
    ),
    Mutant(
        "a removal takes out whom the plan wants in",
        "diff/protection.py",
        "list(x) FILTER (identifier NOT IN (SELECT identifier FROM carried))",
        "list(x)",
        "identities",
    ),
    Mutant(
        "events that an earlier plan left are forgotten",
        "ledger/events.py",
        'rows(connection, "SELECT plan, run FROM open_plans ORDER BY opened DESC")',
        "[]",
        "events",
    ),
    Mutant(
        "a refusal of a first attempt counts as a credit",
        "destinations/crowdtwist_activities.py",
        'if operation.repeated or response.extensions.get("repeated"):',
        "if True:",
        "destinations/test_crowdtwist_activities",
    ),
    Mutant(
        "the day's budget is new in every run",
        "wire/limits.py",
        "used = max(self._days.get(day, 0) for day in today) + later",
        "used = 0",
        "limits",
    ),
    Mutant(
        "a pause is forgotten when the run ends",
        "wire/limits.py",
        "            self._paused_until = until\n            self._write()\n",
        "            self._paused_until = until\n",
        "limits wire",
    ),
    Mutant(
        "a retry takes the snapshot anew",
        "snapshot.py",
        "if written_by == run:",
        "if False:",
        "snapshot",
    ),
    Mutant(
        "a file is written in its place",
        "state.py",
        '    draft = folder(path.parent) / f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp"',
        "    draft = folder(path.parent) / path.name",
        "snapshot ledger owed",
    ),
    Mutant(
        "credentials travel over http",
        "destinations/base.py",
        'if parts.scheme == "http" and not loopback(parts.hostname):',
        "if False:",
        "wire",
    ),
    Mutant(
        "a status alone is MoEngage's word",
        "destinations/moengage.py",
        "judge(response) if confirmed(response) else",
        "judge(response) if response.is_success else",
        "destinations/test_moengage",
    ),
    Mutant(
        "another device of somebody wanted takes him out",
        "diff/protection.py",
        "WHERE key IN (SELECT key FROM touched) AND identifier IN (SELECT key FROM mapped)",
        "WHERE key IN (SELECT key FROM touched) AND key IN (SELECT key FROM mapped)",
        "identities",
    ),
    Mutant(
        "128-bit integers are rounded",
        "engines/duckdb.py",
        "    if not wide:",
        "    if True:",
        "snapshot",
    ),
    Mutant(
        "a long query hears no signal",
        "engines/duckdb.py",
        "    return attended(run, connection.interrupt)",
        "    return run()",
        "stopping",
    ),
    Mutant(
        "a cancelled run goes on with other targets",
        "assets/assets.py",
        "class Stopped(dg.DagsterError, dg.DagsterExecutionInterruptedError):",
        "class Stopped(dg.Failure):",
        "stopping",
    ),
    Mutant(
        "a cancelled run begins again",
        "assets/assets.py",
        "    except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt) as stopped:",
        "    except ZeroDivisionError as stopped:",
        "stopping",
    ),
    Mutant(
        "still failing is told again",
        "automation/notices.py",
        "return now, None if failing else says",
        "return now, says",
        "notices",
    ),
    Mutant(
        "an older partition counts as recovered",
        "automation/notices.py",
        "ended.green and max(ended.green) >= max(left)",
        "ended.green",
        "notices",
    ),
    Mutant(
        "a message repeats what the service said",
        "automation/notices.py",
        'return "the run says why"',
        "return said",
        "notices",
    ),
    Mutant(
        "a touched file is a change of content", "engines/watching.py", "name != STAT and before", "before", "watching"
    ),
    Mutant(
        "a restore is forgotten for the partition that it went back from",
        "delivery/debts.py",
        "self.end > end or (self.back_from is not None and self.back_from >= end)",
        "self.end > end",
        "debts",
    ),
    Mutant(
        "a superseded run takes out a restore of its partition",
        "delivery/debts.py",
        "        if superseded:\n",
        "        if False:\n",
        "debts",
    ),
    Mutant(
        "what goes on does so where the target stood before another sync moved it",
        "automation/going_on.py",
        "    if sync.name in declared.opposites:\n",
        "    if False:\n",
        "pairs",
    ),
    Mutant(
        "who is not wanted any more is said to be asked still",
        "assets/observability.py",
        "deferred = deferred if asked is None else asked",
        "del asked",
        "plan_page",
    ),
    Mutant(
        "a sync follows a plan that a guard stopped",
        "automation/following.py",
        "dg.AutomationCondition.eager() & dg.AutomationCondition.all_deps_blocking_checks_passed()",
        "dg.AutomationCondition.eager()",
        "following",
    ),
    Mutant(
        "a full disk counts as a failed query",
        "engines/duckdb.py",
        "            for number in FULL:  # Neither the query nor the data is at fault.",
        "            for number in ():",
        "hostile_processes",
    ),
    Mutant(
        "a plan whose operations were exchanged is sent",
        "diff/plan.py",
        "return found == self.content or not self.content",
        "return True",
        "hostile",
    ),
    Mutant(
        "an error with a good status is a success",
        "destinations/base.py",
        "    if response.is_success and (instead := _in_place_of_an_answer(response)):",
        '    if instead := "":',
        "hostile destinations/test_kognitiv",
    ),
    Mutant(
        "a clock that was years ahead uses up the budget of years",
        "wire/limits.py",
        "if today[-1] < day <= self._horizon())",
        "if today[-1] < day)",
        "hostile",
    ),
    Mutant(
        "a signal before the work has begun is not heard",
        "stopping.py",
        "            if not given_up.is_set():\n                result.set_result(work())",
        "            result.set_result(work())",
        "attended",
    ),
    Mutant(
        "a trial sends rows that nobody chose",
        "delivery/owed.py",
        "            some = run if self.only is None else ",
        "            some = run if True else ",
        "trials",
    ),
    Mutant(
        "a trial ends a replacement",
        "delivery/conversing.py",
        "        elif self._plan.replacement and self._unasked_additions():",
        "        elif False:",
        "trials",
    ),
    Mutant(
        "the next window is taken for the one that was over",
        "hours.py",
        "            if begin > last:\n",
        "            if begin > last and last > now:\n",
        "pauses",
    ),
    Mutant(
        "nobody looks again at pauses and hours once the account is held",
        "pipeline.py",
        "        if shut := closed(sync, state, trip.hours, trip.clock.now()):",
        "        if shut := None:",
        "pauses",
    ),
    Mutant(
        "what nobody approved of a plan that was tried is sent with the next",
        "ledger/events.py",
        '"l.state IS NOT NULL" if run is None else "true"',
        '"true"',
        "events",
    ),
    Mutant(
        "a trial is begun again by Dagster's own retries",
        "assets/assets.py",
        "    if context.retry_number:",
        "    if False:",
        "trials",
    ),
    Mutant(
        "a trial that failed is sent again by its step's retries",
        "assets/delivering.py",
        "        retryable = not config.trial and (",
        "        retryable = (",
        "trials",
    ),
    Mutant(
        "a trial that waited for the account in vain is begun again",
        "assets/delivering.py",
        "failing(context, declared, again=not config.trial), noting(debt):",
        "failing(context, declared), noting(debt):",
        "trials",
    ),
    Mutant(
        "a trial is begun again by the instance's run retries",
        "assets/assets.py",
        'RUN_RETRIES: "false", MAX_RETRIES: "0"}',
        'RUN_RETRIES: "false"}',
        "trials",
    ),
    Mutant(
        "a tick that was cut off and is made again requests the same run twice",
        "automation/chain.py",
        "{newest}:{at.isoformat()}",
        "{newest}:{datetime.now(UTC).isoformat()}",
        "skipped",
    ),
    Mutant(
        "a newer partition of credits makes up for an older one that failed",
        "automation/notices.py",
        "    if event:\n",
        "    if False:\n",
        "notices",
    ),
    Mutant(
        "what a person stopped between two tries is gone on with",
        "automation/going_on.py",
        "    if run is not None and run.status is dg.DagsterRunStatus.CANCELED:",
        "    if False:",
        "going_on",
    ),
    Mutant(
        "an address that is mapped a second time keeps its spaces",
        "rendering.py",
        " or name in sync.target.aliases:",
        ":",
        "documents_crowdtwist",
    ),
    Mutant(
        "a trial pins a one-time segment to its partition",
        "ledger/fold.py",
        'if kind == "begin" and plan in asked and not part]',
        'if kind == "begin" and plan in asked]',
        "identities",
    ),
    Mutant(
        "a half filled segment is taken for a filled one",
        "assets/delivering.py",
        "                if isinstance(summary, HalfFilled):",
        "                if False:",
        "one_time",
    ),
    Mutant(
        "a delivery goes on beyond its window",
        "delivery/conversing.py",
        "        if self._halt is None and hours is not None and now >= self._closes:",
        "        if False:",
        "conversing pauses",
    ),
    Mutant(
        "credits that are still owed are forgotten when others were given",
        "delivery/debts.py",
        "            if key not in done and (self._sync.target.event or not others or one.outlasts(last))",
        "            if key not in done and one.outlasts(last)",
        "debts",
    ),
    Mutant(
        "a forgotten event happens again",
        "ledger/events.py",
        '    rows(connection, f"DELETE FROM judged WHERE {happened}", hashes)\n',
        "",
        "forget",
    ),
    Mutant(
        "a forgotten event that an earlier plan has happens again",
        "ledger/events.py",
        'f"DELETE FROM judged WHERE {happened}"',
        "f\"DELETE FROM judged WHERE {happened} AND why <> 'left by an earlier plan'\"",
        "forget",
    ),
    Mutant(
        "a plan is open as long as it has a forgotten event",
        "ledger/events.py",
        'WHERE NOT {happened}"\n',
        'WHERE true OR NOT {happened}"\n',
        "forget",
    ),
    Mutant(
        "whoever forgets somebody shuffles a migrated ledger",
        "upkeep/forget.py",
        "INSERT INTO {table} BY NAME SELECT",
        "INSERT INTO {table} SELECT",
        "forget",
    ),
    Mutant(
        "a ledger from a backup goes with a journal that follows on another",
        "ledger/ledger.py",
        "        if folded not in (journal.id, journal.follows) or lacking:\n",
        "        if False:\n",
        "ledger",
    ),
    Mutant(
        "an event that comes back under another id is not recognised by fields that hold the id",
        "diff/come_back.py",
        "    if holders:\n",
        "    if False:\n",
        "events",
    ),
    Mutant(
        "an event that was refused once is refused for ever",
        "ledger/fold.py",
        "WHEN refused THEN verb WHEN heard THEN NULL ELSE refused_verb",
        "WHEN refused THEN verb WHEN settled THEN NULL ELSE refused_verb",
        "events",
    ),
    Mutant(
        "an event is asked again as it was asked first",
        "ledger/fold.py",
        "WHEN heard OR o_name IS NULL THEN {plan}",
        "WHEN settled OR o_name IS NULL THEN {plan}",
        "events",
    ),
    Mutant(
        "a refusal of before a row was in doubt outlives the decision to ask again",
        "upkeep/doubts.py",
        "    rows(connection, forgive, [row])\n",
        "",
        "events",
    ),
    Mutant(
        "a credit that JSON can't say holds up all others",
        "destinations/crowdtwist_activities.py",
        "except (ValueError, RecursionError):  # Whatever it holds,",
        "except ZeroDivisionError:  # Whatever it holds,",
        "events",
    ),
    Mutant(
        "whatever the engine takes for JSON is planned",
        "mapping.py",
        "THEN {strict} ELSE true END",
        "THEN true ELSE true END",
        "mapping events",
    ),
    Mutant(
        "a plan is made of two snapshots",
        "diff/diff.py",
        "        compared.refuse_another()\n    if draft:",
        "    if draft:",
        "comparison opposed",
    ),
    Mutant(
        "a snapshot that is taken anew counts as a wrong mapping",
        "diff/diff.py",
        "            compared.refuse_another()\n            raise FixDeclaration",
        "            raise FixDeclaration",
        "comparison",
    ),
    Mutant(
        "whoever may log in reads the state",
        "state.py",
        "            draft.chmod(0o600)\n",
        "            draft.chmod(0o644)\n",
        "ledger",
    ),
    Mutant(
        "what was written down ahead and never sent stays in doubt",
        "delivery/feed.py",
        "return list(self._pending.values())",
        "return []",
        "events",
    ),
    Mutant(
        "the next window is not written down",
        "delivery/feed.py",
        "            await self._write(batches)\n",
        "",
        "events crashes",
    ),
    Mutant(
        "a window has no end",
        "delivery/feed.py",
        "self._window - len(self._ready)",
        "100 * self._window",
        "events",
    ),
    Mutant(
        "what is being asked counts as never sent",
        "delivery/feed.py",
        "del self._pending[batch.rows[0]]",
        "pass",
        "events owed",
    ),
    Mutant(
        "a decision about all rows takes in what came into doubt while it waited",
        "upkeep/by_hand.py",
        "else looked_up & there",
        "else there",
        "doubts",
    ),
    Mutant(
        "a job about all rows takes in what came into doubt while it was queued",
        "upkeep/by_hand.py",
        "if by is None or datetime.fromisoformat(one.since) <= by}",
        "if True}",
        "doubts",
    ),
    Mutant(
        "what a run is asking at the moment is shown as in doubt",
        "ledger/asking.py",
        "if not may_speak(account, run) and read_id(journal) == read:",
        "if True:",
        "doubts",
    ),
    Mutant(
        "what a dead run asked waits for nobody while another sync speaks",
        "ledger/lock.py",
        'and _said(path).get("run", run) == run',
        "and True",
        "doubts",
    ),
    Mutant(
        "whom a service may hold because of a credit in doubt is forgotten without a word",
        "upkeep/forget.py",
        "count(*) FILTER (state IN {events.CLOSED} OR unsettled),",
        "count(*) FILTER (state = 'in' OR unsettled),",
        "forget",
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutants", description=__doc__)
    parser.add_argument("--only", default="", help="only mutants whose name or file holds this")
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1, help="mutants tested at the same time")
    given = parser.parse_args(arguments)
    chosen = [mutant for mutant in MUTANTS if given.only in mutant.name or given.only in mutant.file]
    caught = in_turn(chosen, _caught_by, given.at_once)
    print(f"{len(list(filter(None, caught)))} of {len(chosen)} mutants caught")
    return 0 if all(caught) else 1


def copied(tree: Path) -> Path:
    """Copy what tests need to *tree*, and return it."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)
    return tree


def _caught_by(mutant: Mutant, ask: Ask) -> str:
    """The test that fails in a copy of the tree that is broken in this one way, or nothing."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        tree = copied(Path(folder) / "tree")
        path = tree / "zeotap_pipelines" / mutant.file
        text = path.read_text(encoding="utf-8")
        if text.count(mutant.old) != 1:
            print(f"STALE     {mutant.name}: the text is {text.count(mutant.old)} times in {mutant.file}", flush=True)
            return ""
        if missing := [module for module in _modules(mutant) if not (tree / module).is_file()]:
            print(f"STALE     {mutant.name}: there is no {missing[0]}", flush=True)
            return ""
        path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
        # The modules one by one: the quick ones, which are named first, catch most.
        said = next(filter(None, (ask(tree, [module], TOO_LONG) for module in _modules(mutant))), "")
    print(f"{'caught' if said else 'SURVIVED':<9} {mutant.name}{said and ': ' + said}", flush=True)
    return said


def _modules(mutant: Mutant) -> list[str]:
    """The test modules of *mutant*, as paths in the tree."""
    names = (name if "/" in name else f"test_{name}" for name in mutant.tests.split())
    return [f"zeotap_pipelines_tests/{name}.py" for name in names]


if __name__ == "__main__":
    sys.exit(main())
