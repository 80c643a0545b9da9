"""The page of an audit: one HTML file for people who do not run code."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version

from spanmask.data.audit.charts import histogram
from spanmask.data.audit.findings import FINDINGS
from spanmask.data.audit.report import LISTED, AuditReport, Finding, Sample, row_list
from spanmask.data.audit.style import SCRIPT, STYLE
from spanmask.preview.decode import spell_controls
from spanmask.preview.html import ESCAPES, html_row, legend

__all__ = ["page"]


def page(report: AuditReport) -> str:
    """The page as one text."""
    title = f"Audit of {report.name}"
    parts = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{safe(title)}</title><style>{STYLE}</style></head><body><main>",
        f"<h1>{safe(title)}</h1>",
        *summary(report),
        *charts(report),
        *lengths_table(report),
        *comparison(report),
        *findings(report),
        *ordinary(report),
        *about(report),
        f"</main><script>{SCRIPT}</script></body></html>\n",
    ]
    return "".join(parts)


def safe(text: object) -> str:
    """Text for the page: characters that HTML or a terminal would act on are spelled out."""
    return spell_controls(str(text)).translate(ESCAPES)


def summary(report: AuditReport) -> Iterator[str]:
    """What everybody should know: in a sentence, and as four numbers."""
    found = [one for one in report.findings.values() if one.count]
    wrong = [one for one in found if one.kind.level == "wrong"]
    look = len(found) - len(wrong)
    if wrong:
        verdict = f"{counted(len(wrong), 'thing')} should be corrected" + (f", and {look} more looked at" if look else "") + "."
    elif look:
        verdict = f"Nothing is wrong; {counted(look, 'thing')} should be looked at."
    else:
        verdict = "Nothing was found."
    share = f"{report.trained_tokens / report.tokens:.1%}" if report.tokens else "none"
    yield (
        f"<p class=lead>{verdict} A model reads all tokens of a row, and learns to write the trained ones: {share} of them in these "
        "data.</p><dl class=cards>"
    )
    cards = [
        ("rows", f"{report.row_count:,}"),
        ("tokens", f"{report.tokens:,}"),
        ("trained tokens", f"{report.trained_tokens:,}"),
        ("trained share", share),
        *((f"{role} turns", f"{count:,}") for role, count in report.turns.items() if count),
    ]
    yield from (f"<div><dt>{safe(name)}</dt><dd>{value}</dd></div>" for name, value in cards)
    yield "</dl>"
    yield from (f"<p class=note>{safe(note)}</p>" for note in report.notes)


def charts(report: AuditReport) -> Iterator[str]:
    """How long rows are, and how much of them trains."""
    yield "<h2>How the rows are</h2><div class=charts>"
    most = report.truncation.max_length if report.truncation is not None else None
    for distribution, title, unit, mark in (
        (report.lengths, "Tokens of a row", "tokens", most),
        (report.trained, "Trained tokens of a row", "trained tokens", None),
        (report.shares, "Trained share of a row", "%", None),
    ):
        if distribution is not None:
            yield histogram(distribution, title, unit, mark)
    yield "</div>"


def lengths_table(report: AuditReport) -> Iterator[str]:
    """What maximum lengths cost."""
    if not report.costs or not report.tokens:
        return
    yield "<h2>What a maximum length would cost</h2>"
    if report.truncation is not None:
        cut = report.truncation
        yield (
            f"<p>Cut to <b>{cut.max_length:,}</b> tokens, {counted(cut.rows, 'row')} would lose {counted(cut.tokens, 'token')} "
            f"({cut.tokens / report.tokens:.1%}), {cut.trained_tokens:,} of them trained. {counted(cut.answers_cut, 'answer')} would be "
            f"cut in the middle, {cut.answers_lost:,} cut off, and {counted(cut.unanswered, 'row')} would train nothing.</p>"
        )
    yield "<table><tr><th>maximum length<th>rows cut<th>tokens lost<th>rows that would train nothing</tr>"
    for cost in report.costs:
        chosen = " class=chosen" if report.truncation is not None and cost.max_length == report.truncation.max_length else ""
        yield (
            f"<tr{chosen}><td>{cost.max_length:,}<td>{cost.rows:,}<td>{cost.tokens:,} ({cost.tokens / report.tokens:.1%})"
            f"<td>{cost.unanswered:,}</tr>"
        )
    yield "</table>"


def comparison(report: AuditReport) -> Iterator[str]:
    """Two maskings."""
    both = report.comparison
    if both is None:
        return
    yield (
        f"<h2>Two maskings</h2><p>A is <code>{safe(both.first)}</code>, B is <code>{safe(both.second)}</code>. "
        f"They differ in <b>{both.different:,}</b> of {both.rows:,} rows. {counted(both.both, 'token')} train in both, "
        f"{both.only_first:,} only in A, {both.only_second:,} only in B.</p>"
    )


def findings(report: AuditReport) -> Iterator[str]:
    """Each finding with its rows; those without rows in a list."""
    found = [one for one in report.findings.values() if one.count]
    yield "<h2>What was found</h2>"
    if found:
        options = "".join(f'<option value="{one.name}">{safe(one.kind.title)} ({one.count:,})' for one in found)
        yield (
            "<div class=tools><label>Show <select id=which><option value=''>everything" + options + "</select></label>"
            "<label>Search in the samples <input id=search type=search placeholder='text or row number'></label>"
            "<span id=hits role=status></span></div>"
        )
        yield legend()
    for number, one in enumerate(found):
        yield from finding(one, report, is_open=number == 0)
    fine = [one.kind.title for one in report.findings.values() if not one.count]
    if fine:
        yield "<h3>Looked for and not found</h3><ul>" + "".join(f"<li>{safe(title)}" for title in fine) + "</ul>"
    if report.skipped:
        yield "<h3>Not looked for</h3><ul>"
        yield "".join(f"<li>{safe(FINDINGS[name].title)}: {safe(why)}" for name, why in report.skipped.items()) + "</ul>"


def finding(one: Finding, report: AuditReport, *, is_open: bool) -> Iterator[str]:
    """A finding: what it means, what to do, its rows and its samples."""
    kind = one.kind
    rows = max(report.all_rows, 1)
    opened = " open" if is_open else ""
    yield (
        f'<details class="finding {kind.level}" id="{one.name}" data-name="{one.name}"{opened}><summary><b>{safe(kind.title)}</b> '
        f"<span class=count>{counted(one.count, 'row')} ({percent(one.count / rows)})</span> <code>{one.name}</code></summary>"
        f"<p>{safe(kind.meaning)}</p><p><b>What to do:</b> {safe(kind.remedy)}</p>"
    )
    if one.reasons:
        yield "<table><tr><th>reason<th>rows</tr>"
        yield from (f"<tr><td class=text>{safe(why)}<td>{count:,}</tr>" for why, count in one.reasons.most_common())
        yield "</table>"
    yield f"<p class=rows>{safe(row_list(one.row_numbers, LISTED)).capitalize()}</p>"
    yield from (sample_html(sample) for sample in one.samples)
    yield "</details>"


def sample_html(sample: Sample) -> str:
    """One row."""
    known = "" if sample.row is not None and sample.place == f"row {sample.number}" else sample.place  # its headline says it
    says = ": ".join(text for text in (known, sample.why) if text)
    head = f"<div class=where>{safe(says)}</div>" if says else ""
    if sample.row is None:
        return f"<div class=sample>{head}<pre>{safe(sample.text)}</pre></div>"
    shown = "".join(html_row(sample.row))
    if sample.other is not None:
        other = "".join(html_row(sample.other))
        shown = f"<div class=pair><div class=mask><h4>A</h4>{shown}</div><div class=mask><h4>B</h4>{other}</div></div>"
    else:
        shown = f"<div class=mask>{shown}</div>"
    return f"<div class=sample>{head}{shown}</div>"


def ordinary(report: AuditReport) -> Iterator[str]:
    """Rows chosen at random."""
    if report.ordinary:
        yield (
            "<h2>Rows chosen at random</h2><p>The marked text should be what the model is to write, and nothing else.</p>"
            + legend()
        )
        yield from map(sample_html, report.ordinary)


def about(report: AuditReport) -> Iterator[str]:
    """How the report was made."""
    lines = [
        ("data", report.name),
        ("tokenizer", report.tokenizer),
        ("policy", report.policy or "the labels are those of the data"),
    ]
    if report.made_by:
        lines.append(("the data were made by", ", ".join(f"{name} {value}" for name, value in report.made_by.items())))
    yield "<h2>About this report</h2><dl class=about>"
    yield from (f"<dt>{safe(name)}<dd>{safe(value)}" for name, value in lines)
    yield f"<dt>made with<dd>spanmask {safe(version('spanmask'))}</dl>"


def counted(count: int, noun: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def percent(share: float) -> str:
    """A share that is not 0 does not look like 0."""
    return "under 0.1%" if 0 < share < 0.001 else f"{share:.1%}"
