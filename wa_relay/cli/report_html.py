"""The report as one self-contained page: no script, no other files, light and dark, ready to print."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import tzinfo
from html import escape

from wa_relay.basics import Moment
from wa_relay.channel.errors_es import meaning_in_spanish
from wa_relay.cli.report_labels import LABELS, REASONS_ES, Labels
from wa_relay.cli.report_text import duration, percent
from wa_relay.cli.times import local_minute
from wa_relay.moments import stamp
from wa_relay.reports.awaiting_operator import Standing
from wa_relay.reports.charts import CHART_CSS, Bar, Column, columns, rows
from wa_relay.reports.figures import Figures, Group, Loss, Statistics
from wa_relay.reports.funnel import funnel_of
from wa_relay.text.escaping import one_line

MOST_GROUPS = 200
"""Rows of the table of groups: with more, the page would be too large to send by mail."""

CSP = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

CSS = """
:root { color-scheme: light dark; --ink: #17211d; --soft: #5d6b65; --page: #f6f8f7; --card: #fff; --line: #dfe6e2;
  --chart-2: #128c5e; --chart-track: #e8eeeb; --warn: #8a4b00; --warn-page: #fff4e0; --bad: #b3261e; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e7efeb; --soft: #9aaaa3; --page: #111815; --card: #1a2420;
  --line: #2b3833; --chart-2: #2fbf87; --chart-3: #8fe3c0; --chart-track: #26322d;
  --warn: #ffcf8a; --warn-page: #3a2b10; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1rem 3rem; }
h1 { font-size: 1.6rem; margin: 0; letter-spacing: -.01em; }
h2 { font-size: 1.05rem; margin: 0 0 .8rem; }
p.span { margin: .2rem 0 1.5rem; color: var(--soft); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 1.2rem 1.3rem;
  margin: 0 0 1rem; break-inside: avoid; }
.alert { background: var(--warn-page); color: var(--warn); border: 0; padding: .8rem 1.3rem; font-weight: 600; }
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
@media print { :root { --page: #fff; --card: #fff; --ink: #000; --soft: #444; --line: #bbb; --chart-track: #eee;
    --chart-2: #128c5e; --chart-3: #0b6b53; }
  main { max-width: none; padding: 0; }
  .alert { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""


@dataclass(frozen=True, slots=True)
class Page:
    """The content of the page: the report, and its days and groups for the charts."""

    report: Statistics
    days: Statistics
    groups: Statistics
    timezone: tzinfo
    language: str


def as_html(page: Page, standing: Standing, now: Moment) -> str:
    """Returns the page. Names are escaped; `now` is the time shown in its footer."""
    labels = LABELS[page.language]
    figures, before = page.report.total, page.report.previous
    span = _text(_span(page, labels))
    parts = [f'<section class="alert" role="alert">{_text(line)}</section>' for line in _alerts(standing, labels)]
    parts.append(_section(labels["funnel"], rows(_funnel(figures, labels))))
    parts.append(_facts(figures, before.total if before else None, labels))
    parts.append(_section(labels["days"], _days(page.days, labels)))
    parts.append(_section(labels[f"by_{page.groups.by}"], _shares(page.groups, labels)))
    parts += [_losses(figures, labels, page.language), _failures(figures, labels, page.language)]
    if page.report.groups:
        parts.append(_groups(page.report, labels))
    return f"""<!doctype html>
<html lang="{page.language}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{CSP}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{_text(labels["title"])}: {span}</title>
<style>{CSS}{CHART_CSS}</style>
</head>
<body>
<main>
<h1>{_text(labels["title"])}</h1>
<p class="span">{span}</p>
{chr(10).join(filter(None, parts))}
<footer>{_text(labels["footer"].format(at=stamp(now)))}</footer>
</main>
</body>
</html>
"""


def _span(page: Page, labels: Labels) -> str:
    report, zone = page.report, page.timezone
    parts = []
    if report.since is not None:
        parts.append(labels["from"].format(at=local_minute(report.since, zone)))
    if report.until is not None:
        parts.append(labels["until"].format(at=local_minute(report.until, zone)))
    return f"{' '.join(parts) or labels['everything']} ({zone})"


def _alerts(standing: Standing, labels: Labels) -> list[str]:
    found = [
        (standing.account_fault, labels["alert_account"].format(fault=standing.account_fault)),
        (standing.paused_by_operator, labels["alert_paused"]),
        (standing.paused_by_burst, labels["alert_burst"]),
        (standing.uncertain, labels["alert_uncertain"].format(n=standing.uncertain)),
    ]
    lines = [line for shown, line in found if shown]
    return lines + [
        labels["alert_template"].format(sid=each.content_sid, code=each.code) for each in standing.templates
    ]


def _funnel(figures: Figures, labels: Labels) -> list[Bar]:
    return [
        Bar(
            labels[step.name],
            step.share,
            f"{step.count:,}",
            "" if step.part is None else f"{percent(step.part)} {labels[f'of_{step.whole}']}",
            series=step.series,
        )
        for step in funnel_of(figures)
    ]


def _facts(figures: Figures, before: Figures | None, labels: Labels) -> str:
    now, old = _pairs(figures, labels), _pairs(before, labels) if before else []
    earlier = [value for _, value in old] or [""] * len(now)
    items = "\n".join(
        f"<div><dt>{_text(name)}</dt><dd>{_text(value)}"
        + (f" <small>({_text(labels['before'].format(value=then))})</small>" if then else "")
        + "</dd></div>"
        for (name, value), then in zip(now, earlier, strict=True)
    )
    return f"<section>\n<h2>{_text(labels['figures'])}</h2>\n<dl>\n{items}\n</dl>\n</section>"


def _pairs(figures: Figures, labels: Labels) -> list[tuple[str, str]]:
    openings, medians = figures.openings, figures.median_seconds
    return [
        (labels["calls"], f"{figures.calls:,}"),
        (labels["reply_rate"], percent(figures.reply_rate)),
        (labels["waiting"], f"{openings.queued:,}"),
        (labels["failed"], f"{openings.failed:,}"),
        (labels["uncertain"], f"{openings.uncertain:,}"),
        (labels["cancelled"], f"{openings.cancelled:,}"),
        (labels["to_sent"], duration(medians.get("sent"))),
        (labels["to_read"], duration(medians.get("read"))),
        (labels["first_reply"], duration(figures.median_first_reply_seconds)),
        (labels["messages"], labels["in_out"].format(inbound=f"{figures.inbound:,}", outbound=f"{figures.outbound:,}")),
        (labels["turns"], labels["answered_failed"].format(a=f"{figures.answered:,}", f=f"{figures.failed_turns:,}")),
        (labels["turn_time"], duration(figures.median_turn_seconds)),
        (labels["opted_out"], f"{figures.opted_out:,}"),
    ]


def _days(days: Statistics, labels: Labels) -> str:
    points = [
        Column(group.key, (group.figures.calls, group.figures.openings.sent, group.figures.replied))
        for group in days.groups
        if group.key is not None
    ]
    return columns(labels["days"], [labels["calls"], labels["sent"], labels["replied"]], points)


def _shares(groups: Statistics, labels: Labels) -> str:
    rated = [group for group in groups.groups if group.figures.openings.sent][:12]
    return (
        rows(
            [
                Bar(
                    _group(group.key, groups.by, labels),
                    group.figures.reply_rate or 0.0,
                    percent(group.figures.reply_rate),
                    labels["of"].format(n=f"{group.figures.replied:,}", of=f"{group.figures.openings.sent:,}"),
                    series=3,
                )
                for group in rated
            ]
        )
        if rated
        else ""
    )


def _losses(figures: Figures, labels: Labels, language: str) -> str:
    if not figures.losses:
        return ""
    lines = "\n".join(_loss(loss, labels, language) for loss in figures.losses)
    heads = (labels["stage"], labels["reason"], labels["count"], labels["meaning"])
    head = "".join(f"<th>{_text(each)}</th>" for each in heads)
    return _table(labels["losses"], f"<tr>{head}</tr>", lines)


def _failures(figures: Figures, labels: Labels, language: str) -> str:
    """All messages that failed, replies and notices included."""
    if not figures.failures:
        return ""
    lines = "\n".join(
        f'<tr><td class="code">{_text(each.code)}</td><td class="num">{each.count:,}</td>'
        f"<td>{_text(_meaning('', each.code, each.meaning, language))}</td></tr>"
        for each in figures.failures
    )
    head = "".join(f"<th>{_text(labels[name])}</th>" for name in ("reason", "count", "meaning"))
    return _table(labels["all_failures"], f"<tr>{head}</tr>", lines)


def _meaning(stage: str, reason: str, known: str, language: str) -> str:
    if language != "es":
        return known
    return REASONS_ES.get(f"{stage}:{reason}") or REASONS_ES.get(reason) or meaning_in_spanish(reason)


def _loss(loss: Loss, labels: Labels, language: str) -> str:
    meaning = _meaning(loss.stage, loss.reason, loss.meaning, language)
    return (
        f"<tr><td>{_text(labels[f'loss_{loss.stage}'])}</td>"
        f'<td class="code">{_text(loss.reason)}</td><td class="num">{loss.count:,}</td><td>{_text(meaning)}</td></tr>'
    )


def _groups(report: Statistics, labels: Labels) -> str:
    names = [labels[name] for name in ("calls", "sent", "delivered", "read", "replied", "reply_rate", "failures")]
    numbers = "".join(f'<th class="num">{_text(name)}</th>' for name in (*names, labels["turn_time"]))
    lines = "\n".join(_row(group, report.by, labels) for group in report.groups[:MOST_GROUPS])
    if len(report.groups) > MOST_GROUPS:
        more = labels["more"].format(n=f"{len(report.groups) - MOST_GROUPS:,}")
        lines += f'<tr><td class="key" colspan="9">{_text(more)}</td></tr>'
    return _table(labels[f"by_{report.by}"], f"<tr><th></th>{numbers}</tr>", lines)


def _row(group: Group, by: str | None, labels: Labels) -> str:
    figures, openings = group.figures, group.figures.openings
    cells = (
        *(f"{each:,}" for each in (figures.calls, openings.sent, openings.delivered, openings.read, figures.replied)),
        percent(figures.reply_rate),
        f"{sum(failure.count for failure in figures.failures):,}",
        duration(figures.median_turn_seconds),
    )
    numbers = "".join(f'<td class="num">{_text(cell)}</td>' for cell in cells)
    return f'<tr><td class="key">{_text(_group(group.key, by, labels))}</td>{numbers}</tr>'


def _group(key: str | None, by: str | None, labels: Labels) -> str:
    return key if key is not None else labels[f"no_{by}"]


def _section(title: str, content: str) -> str:
    return f"<section>\n<h2>{_text(title)}</h2>\n{content}\n</section>" if content else ""


def _table(title: str, head: str, lines: str) -> str:
    return _section(
        title, f'<div class="wide"><table>\n<thead>{head}</thead>\n<tbody>\n{lines}\n</tbody>\n</table></div>'
    )


def _text(text: str) -> str:
    return escape(one_line(text))
