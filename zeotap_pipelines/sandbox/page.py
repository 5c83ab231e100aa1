"""The page that shows what each service holds and the latest requests; keys are masked."""

from datetime import UTC, datetime
from html import escape

from zeotap_pipelines.sandbox.core import Sandbox
from zeotap_pipelines.sandbox.service import Service
from zeotap_pipelines.sandbox.store import Entry

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --soft: #667085; --line: #e4e7ec; --paper: #f7f8fa; --card: #fff;
  --good: #12805c; --bad: #b42318; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaf0; --soft: #98a2b3; --line: #2b3240; --paper: #12151c;
  --card: #1a1f29; --good: #4cc79b; --bad: #f97066; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 2.5rem 1.5rem; }
h1 { font-size: 1.5rem; margin: 0; letter-spacing: -.01em; }
h2 { font-size: 1.05rem; margin: 0; text-transform: capitalize; }
p { color: var(--soft); margin: .25rem 0 0; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 1.25rem 1.5rem;
  margin-top: 1.25rem; overflow-x: auto; }
table { width: 100%; border-collapse: collapse; margin-top: .75rem; }
th { text-align: left; color: var(--soft); font-weight: 500; font-size: .8rem; }
th, td { padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
tr:last-child td { border-bottom: 0; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
code { font: .85em ui-monospace, monospace; }
.soft { color: var(--soft); }
.good { color: var(--good); }
.bad { color: var(--bad); }
"""


def mask(key: str) -> str:
    """A key that can be recognised by somebody who knows it and read by nobody else."""
    return "•" * len(key) if len(key) < 4 else f"{key[0]}{'•' * min(len(key) - 2, 6)}{key[-1]}"


def page(sandbox: Sandbox) -> str:
    """The page as HTML, complete in itself."""
    violations = len(sandbox.violations)
    verdict = (
        f'<span class="bad">{violations} undocumented requests</span>'
        if violations
        else '<span class="good">no undocumented requests</span>'
    )
    stats = sandbox.stats()
    services = "".join(
        _service(service, stats[name]["requests"], stats[name]["most_in_flight"])
        for name, service in sandbox.services.items()
    )
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Sandbox</title>'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        f"<style>{_STYLE}</style></head><body><main><h1>Sandbox</h1>"
        f"<p>Local stand-ins of the services. {len(sandbox.faults)} faults in force, {verdict}.</p>"
        f"{services}<section><h2>Latest requests</h2>{_requests(sandbox.latest(25))}</section></main></body></html>"
    )


def _service(service: Service, requests: int, most_in_flight: int) -> str:
    rows = "".join(
        f'<tr><td>{escape(holding.name)}</td><td class="number">{holding.count:,}</td>'
        f'<td class="soft"><code>{escape("  ".join(map(mask, holding.first)))}</code></td></tr>'
        for holding in service.holdings()
    )
    return (
        f"<section><h2>{escape(service.name)}</h2><p>{requests:,} requests, at most {most_in_flight} at once</p>"
        '<table><tr><th>holds</th><th class="number">count</th><th>first</th></tr>'
        f"{rows}</table></section>"
    )


def _requests(entries: list[Entry]) -> str:
    if not entries:
        return "<p>None yet.</p>"
    rows = "".join(_request(entry) for entry in reversed(entries))
    head = "<tr><th>time (UTC)</th><th>service</th><th>request</th><th>status</th><th>note</th></tr>"
    return f"<table>{head}{rows}</table>"


def _request(entry: Entry) -> str:
    at = datetime.fromtimestamp(entry.at, UTC).strftime("%H:%M:%S")
    good = entry.status is not None and entry.status < 400
    # The documented path, never the one that was sent: it holds keys.
    request = f"{entry.method} {entry.route or '(undocumented path)'}"
    return (
        f'<tr><td class="soft">{at}</td><td>{escape(entry.service)}</td><td><code>{escape(request)}</code></td>'
        f'<td class="{"good" if good else "bad"}">{entry.status or "none"}</td>'
        f'<td class="soft">{escape(entry.violation or entry.note)}</td></tr>'
    )
