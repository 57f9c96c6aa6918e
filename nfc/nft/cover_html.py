"""The source with its coverage painted, as one page that needs nothing else.

Colours are blue and orange of Okabe and Ito's palette, which people tell apart whatever their
eyes; a sign stands beside every colour.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from nfc.nft.cover import Function, Rule, Test, counts
from nfc.syntax.source import Source, Span

_STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1a1a1a; --dim: #5a5a5a; --line: #d8d8d8;
  --yes: #d9ecf9; --yes-edge: #0072b2; --no: #fbe3d2; --no-edge: #c04a00; --some: #fdf3c8;
  --some-edge: #8a6d00; }
@media (prefers-color-scheme: dark) { :root { --back: #16181c; --text: #e6e6e6; --dim: #a0a4ab;
  --line: #363a42; --yes: #12324a; --yes-edge: #56b4e9; --no: #4a2410; --no-edge: #f0803c;
  --some: #403713; --some-edge: #f0e442; } }
body { background: var(--back); color: var(--text); font: 16px/1.5 system-ui, sans-serif;
  margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
table { border-collapse: collapse; } th, td { text-align: right; padding: .2rem .9rem;
  border-bottom: 1px solid var(--line); } th:first-child, td:first-child { text-align: left; }
a { color: var(--yes-edge); } p { color: var(--dim); max-width: 50rem; }
pre { font: 14px/1.55 ui-monospace, monospace; overflow-x: auto; border: 1px solid var(--line);
  border-radius: 6px; padding: .5rem 0; } pre div { white-space: pre; padding-right: 1rem;
  border-left: 5px solid transparent; }
pre .count { display: inline-block; width: 22ch; color: var(--dim); text-align: right;
  padding-right: 1rem; user-select: none; }
.yes { background: var(--yes); } pre .yes { border-left-color: var(--yes-edge); }
.no { background: var(--no); } pre .no { border-left-color: var(--no-edge); }
.some { background: var(--some); } pre .some { border-left-color: var(--some-edge); }
span.test { border-bottom: 2px solid var(--yes-edge); cursor: help; }
span.test.some, span.test.no { border-bottom: 3px double var(--no-edge); background: var(--some); }
.key span { padding: .1rem .6rem; margin-right: 1rem; border-radius: 3px; color: var(--text); }
"""
_SIGN = {"yes": "●", "some": "◐", "no": "○", "": " "}


def page(functions: Sequence[Function]) -> str:
    """The whole page."""
    sources = list({f.source.name: f.source for f in functions}.values())
    rows = "".join(_row(f"#{_anchor(f.source)}", f) for f in functions)
    total = "".join(f"<td>{escape(c)}</td>" for c in counts(list(functions)))
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><title>Coverage of packet tests</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{_STYLE}</style></head><body><main>",
        "<h1>Coverage of packet tests</h1>",
        "<table><thead><tr><th>function</th><th>rules</th><th>conditions</th>"
        f"<th>instructions</th></tr></thead><tbody>{rows}<tr><th>all</th>{total}</tr></tbody></table>",
        "<p>Rules were counted by the functions themselves, as packets took them. Conditions are "
        "those that the reference semantics finds for the same packets. Instructions are those "
        "that the simulator has executed.</p>",
        '<p class="key"><span class="yes">● covered</span><span class="some">◐ in part</span>'
        '<span class="no">○ never</span> A test that is underlined twice was not seen both ways; '
        "point at it for the numbers.</p>",
    ]
    for source in sources:
        parts.append(_source(source, [f for f in functions if f.source.name == source.name]))
    return "\n".join([*parts, "</main></body></html>"]) + "\n"


def _anchor(source: Source) -> str:
    return "f-" + "".join(c if c.isalnum() else "-" for c in source.name)


def _row(link: str, function: Function) -> str:
    cells = "".join(f"<td>{escape(c)}</td>" for c in counts([function]))
    name = f"{function.source.name} {function.name}"
    return f'<tr><td><a href="{escape(link)}">{escape(name)}</a></td>{cells}</tr>'


def _state(rule: Rule) -> str:
    if not rule.packets:
        return "no"
    return "yes" if all(t.covered for t in rule.tests) else "some"


def _source(source: Source, functions: Sequence[Function]) -> str:
    """A source below its name. No line ends between lines: each is a block of its own, and in a
    `pre` a line end would be one more."""
    lines = "".join(_lines(source, functions))
    return f'<h2 id="{_anchor(source)}">{escape(source.name)}</h2><pre>{lines}</pre>'


def _lines(source: Source, functions: Sequence[Function]) -> Iterator[str]:
    rules = [r for f in functions for r in f.rules if r.span.source.name == source.name]
    tests = [t for r in rules for t in r.tests if t.span.source.name == source.name]
    for number in range(1, source.line_count + 1):
        rule = next((r for r in rules if _first(r.span) <= number <= _last(r.span)), None)
        state = _state(rule) if rule else ""
        count = ""
        if rule is not None and number == _first(rule.span):
            count = f"{rule.packets} packet{'s' * (rule.packets != 1)}"
        line = source.line(number)
        text = _line(line, [t for t in tests if t.span.line == number])
        gutter = f'<span class="count">{count} {_SIGN[state]} {number:>4}</span>'
        yield f'<div class="{state}">{gutter}{text}</div>'


def _first(span: Span) -> int:
    return span.line


def _last(span: Span) -> int:
    return span.source.position(max(span.start, span.end - 1))[0]


def _line(text: str, tests: Sequence[Test]) -> str:
    """A line with the tests that begin in it marked."""
    found, at = "", 0
    for test in sorted(tests, key=lambda t: t.span.start):
        start = test.span.column - 1
        end = min(start + test.span.end - test.span.start, len(text))
        if start < at:
            continue
        state = "yes" if test.covered else "some" if test.true + test.false + test.absent else "no"
        title = f"true {test.true}, false {test.false}, nothing to read {test.absent}"
        found += escape(text[at:start])
        shown = escape(text[start:end])
        found += f'<span class="test {state}" title="{title}">{shown}</span>'
        at = end
    return found + escape(text[at:])
