"""What came of the tests, for a terminal, as JSON, and as JUnit XML."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as xml

from nfc.errors import NfcError
from nfc.nft.run import Result
from nfc.nft.step import Failure
from nfc.syntax.diagnostics import SourceErrors

_MARKS = {"passed": ("ok  ", "32"), "failed": ("FAIL", "31"), "skipped": ("skip", "33")}
# XML 1.0, section 2.2: characters that a document cannot hold.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Broken:
    """A file that could not be run at all."""

    file: str
    error: NfcError

    def text(self, *, color: bool = False) -> str:
        """The errors, for a terminal."""
        if isinstance(self.error, SourceErrors):
            return self.error.render(color=color)
        hint = f"\n      = {self.error.hint}" if self.error.hint else ""
        place = "" if self.file in self.error.message else f"{self.file}: "
        return f"{place}{_paint('error:', '31', color)} {self.error.message}{hint}"

    def to_json(self) -> dict[str, Any]:
        """The errors as a JSON-ready object."""
        found: dict[str, Any] = {"file": self.file, "message": self.error.message}
        if isinstance(self.error, SourceErrors):
            found["diagnostics"] = [d.to_json() for d in self.error.diagnostics]
        return found


def _paint(text: str, code: str, color: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if color else text


def printable(text: str) -> str:
    """Text that cannot move a terminal's cursor."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def result_lines(result: Result, *, color: bool = False) -> Iterator[str]:
    """A test's line, and what failed in it."""
    mark, code = _MARKS[result.status]
    name = printable(result.test)
    yield f"  {_paint(mark, code, color)}  {name} ({result.function})"
    for failure in result.failures:
        yield from failure_lines(failure, color=color)
    for one in result.skipped:
        yield f"        line {one.span.line} not tried: {one.reason}"


def failure_lines(failure: Failure, *, color: bool = False) -> Iterator[str]:
    """The place, the line of the test, and the difference."""
    span = failure.span
    yield f"      {_paint(f'{span.source.name}:{span.line}: {failure.message}', '1', color)}"
    line = printable(span.source.line(span.line).expandtabs(4).strip())
    yield f"      {span.line:>5} | {line}"
    for text in printable(failure.difference).splitlines():
        paint = text.strip().partition(" ")[0]
        code = {"expected": "32", "got": "31"}.get(paint)
        yield f"            | {_paint(text, code, color) if code else text}"


def _plural(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def summary(
    results: Sequence[Result], broken: Sequence[Broken], machine: str, seconds: float
) -> str:
    """The last lines: how many of what, and why some were not tried."""
    counts = Counter(r.status for r in results)
    files = len({r.file for r in results})
    parts = [f"{counts['passed']} passed"]
    parts += [f"{counts[kind]} {kind}" for kind in ("failed", "skipped") if counts[kind]]
    if broken:
        parts.append(f"{_plural(len(broken), 'file')} with errors")
    packets = _plural(sum(r.packets for r in results), "packet")
    tests, where = _plural(len(results), "test"), _plural(files, "file")
    lines = [f"{tests} in {where}: {', '.join(parts)} ({machine}, {packets}, {seconds:.1f} s)"]
    reasons = Counter(s.reason for r in results for s in r.skipped)
    lines += [f"not tried {_plural(n, 'time')}: {reason}" for reason, n in reasons.most_common()]
    return "\n".join(lines)


def to_json(results: Sequence[Result], broken: Sequence[Broken], machine: str) -> dict[str, Any]:
    """Everything as a JSON-ready object."""
    counts = Counter(r.status for r in results)
    return {
        "ok": not (counts["failed"] or broken),
        "machine": machine,
        "passed": counts["passed"],
        "failed": counts["failed"],
        "skipped": counts["skipped"],
        "tests": [r.to_json() for r in results],
        "errors": [b.to_json() for b in broken],
    }


def junit(results: Sequence[Result], broken: Sequence[Broken], machine: str) -> bytes:
    """JUnit XML, as CI systems read it: a suite a file, a case a test."""
    root = xml.Element("testsuites", name="nfc test")
    for file in dict.fromkeys([*(r.file for r in results), *(b.file for b in broken)]):
        mine = [r for r in results if r.file == file]
        errors = [b for b in broken if b.file == file]
        suite = xml.SubElement(
            root,
            "testsuite",
            name=_clean(file),
            tests=str(len(mine) + len(errors)),
            failures=str(sum(r.status == "failed" for r in mine)),
            errors=str(len(errors)),
            skipped=str(sum(r.status == "skipped" for r in mine)),
            time=f"{sum(r.seconds for r in mine):.6f}",
        )
        properties = xml.SubElement(suite, "properties")
        xml.SubElement(properties, "property", name="machine", value=machine)
        for result in mine:
            case = xml.SubElement(
                suite,
                "testcase",
                name=_clean(result.test),
                classname=_clean(f"{file}.{result.function}"),
                file=_clean(file),
                line=str(result.line),
                time=f"{result.seconds:.6f}",
            )
            for failure in result.failures:
                node = xml.SubElement(case, "failure", message=_clean(failure.message))
                node.text = _clean("\n".join(failure_lines(failure)))
            if result.status == "skipped":
                reasons = "; ".join(dict.fromkeys(s.reason for s in result.skipped))
                xml.SubElement(case, "skipped", message=_clean(reasons))
        for one in errors:
            case = xml.SubElement(suite, "testcase", name=_clean(file), classname=_clean(file))
            node = xml.SubElement(case, "error", message=_clean(one.error.message))
            node.text = _clean(one.text())
    xml.indent(root)
    found: bytes = xml.tostring(root, encoding="utf-8", xml_declaration=True)
    return found + b"\n"


def _clean(text: str) -> str:
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
