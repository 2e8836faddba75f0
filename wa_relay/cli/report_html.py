"""The report as one self-contained page: no script, nothing from elsewhere, light and dark, fit to print."""

from __future__ import annotations

from datetime import tzinfo
from html import escape

from wa_relay.cli.report_text import alerts, duration, facts, funnel, group_name, percent, span_text
from wa_relay.model import Moment
from wa_relay.moments import stamp
from wa_relay.reports import Figures, Group, Standing, Statistics
from wa_relay.text.safe import one_line

CSP = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

CSS = """
:root { color-scheme: light dark; --ink: #17211d; --soft: #5d6b65; --page: #f6f8f7; --card: #fff; --line: #dfe6e2;
  --bar: #128c5e; --track: #e8eeeb; --warn: #8a4b00; --warn-page: #fff4e0; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7efeb; --soft: #9aaaa3; --page: #111815; --card: #1a2420;
  --line: #2b3833; --bar: #2fbf87; --track: #26322d; --warn: #ffcf8a; --warn-page: #3a2b10; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1rem 3rem; }
h1 { font-size: 1.6rem; margin: 0; letter-spacing: -.01em; }
h2 { font-size: 1.05rem; margin: 0 0 .8rem; }
p.span { margin: .2rem 0 1.5rem; color: var(--soft); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 1.2rem 1.3rem;
  margin: 0 0 1rem; break-inside: avoid; }
.alert { background: var(--warn-page); color: var(--warn); border: 0; padding: .8rem 1.3rem; font-weight: 600; }
.funnel { display: grid; grid-template-columns: auto auto 1fr auto; gap: .55rem .9rem; align-items: center; }
.step { display: contents; } .funnel b { font-weight: 600; }
.funnel .n { text-align: right; font-variant-numeric: tabular-nums; font-size: 1.15rem; }
.track { background: var(--track); border-radius: 6px; height: 1.1rem; overflow: hidden; }
.fill { display: block; background: var(--bar); height: 100%; border-radius: 6px; }
.part { color: var(--soft); font-size: .9rem; text-align: right; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: .9rem 1.5rem; margin: 0; }
dt { color: var(--soft); font-size: .85rem; } dd { margin: 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .95rem; }
th, td { text-align: left; padding: .45rem .7rem .45rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:last-child td { border-bottom: 0; }
th { color: var(--soft); font-weight: 500; font-size: .85rem; }
td.key { overflow-wrap: anywhere; min-width: 9rem; }
.num { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.code { color: var(--bad); font-variant-numeric: tabular-nums; }
footer { color: var(--soft); font-size: .85rem; }
@media (max-width: 34rem) { .funnel { display: block; }
  .step { display: grid; grid-template-columns: 6rem 1fr auto; gap: .2rem .9rem; margin-bottom: .7rem; }
  .step .n { text-align: left; } .step .track { grid-column: 1 / -1; order: 1; } }
@media print { :root { --page: #fff; --card: #fff; --ink: #000; --soft: #444; --line: #bbb; --track: #eee;
    --bar: #128c5e; }
  main { max-width: none; padding: 0; }
  .track, .fill, .alert { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""


def as_html(report: Statistics, standing: Standing, timezone: tzinfo, now: Moment) -> str:
    """Returns the page. Names are escaped; `now` is the time shown in its footer."""
    span = _text(span_text(report, timezone))
    parts = [f'<section class="alert" role="alert">{_text(line)}</section>' for line in alerts(standing)]
    parts += [_funnel(report.total), _facts(report.total)]
    if report.total.failures:
        parts.append(_failures(report.total))
    if report.groups:
        parts.append(_groups(report))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{CSP}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>WhatsApp after the call: {span}</title>
<style>{CSS}</style>
</head>
<body>
<main>
<h1>WhatsApp after the call</h1>
<p class="span">{span}</p>
{chr(10).join(parts)}
<footer>Made by wa-relay, {stamp(now)}. Calls count when they ended; messages, turns, opt-outs and failures by
their own time.</footer>
</main>
</body>
</html>
"""


def _funnel(figures: Figures) -> str:
    rows = "\n".join(
        f'<div class="step"><b>{_text(step.name)}</b><span class="n">{step.count:,}</span>'
        f'<span class="track"><span class="fill" style="width:{_width(step.share, step.count)}%"></span></span>'
        f'<span class="part">{_text(step.part)}</span></div>'
        for step in funnel(figures)
    )
    return f'<section>\n<h2>From call to answer</h2>\n<div class="funnel">\n{rows}\n</div>\n</section>'


def _facts(figures: Figures) -> str:
    pairs = "\n".join(f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in facts(figures))
    return f"<section>\n<h2>Figures</h2>\n<dl>\n{pairs}\n</dl>\n</section>"


def _failures(figures: Figures) -> str:
    rows = "\n".join(
        f'<tr><td class="code">{_text(failure.code)}</td><td class="num">{failure.count:,}</td>'
        f"<td>{_text(failure.meaning)}</td></tr>"
        for failure in figures.failures
    )
    head = '<tr><th>code</th><th class="num">messages</th><th>what it means, what to do</th></tr>'
    return _table("Failures", head, rows)


def _groups(report: Statistics) -> str:
    names = ("calls", "opened", "delivered", "read", "replied", "reply rate", "failures", "answer after")
    numbers = "".join(f'<th class="num">{name}</th>' for name in names)
    rows = "\n".join(_row(group, report.by) for group in report.groups)
    return _table(f"By {report.by}", f"<tr><th>{_text(report.by or '')}</th>{numbers}</tr>", rows)


def _row(group: Group, by: str | None) -> str:
    figures, openings = group.figures, group.figures.openings
    cells = (
        *(f"{each:,}" for each in (figures.calls, openings.sent, openings.delivered, openings.read, figures.replied)),
        percent(figures.reply_rate),
        f"{sum(failure.count for failure in figures.failures):,}",
        duration(figures.median_turn_seconds),
    )
    numbers = "".join(f'<td class="num">{_text(cell)}</td>' for cell in cells)
    return f'<tr><td class="key">{_text(group_name(group.key, by))}</td>{numbers}</tr>'


def _table(title: str, head: str, rows: str) -> str:
    return (
        f'<section>\n<h2>{_text(title)}</h2>\n<div class="wide"><table>\n<thead>{head}</thead>\n'
        f"<tbody>\n{rows}\n</tbody>\n</table></div>\n</section>"
    )


def _width(share: float, count: int) -> str:
    # What is there is seen, however small a part it is.
    return f"{max(share * 100.0, 0.5 if count else 0.0):.1f}"


def _text(text: str) -> str:
    return escape(one_line(text))
