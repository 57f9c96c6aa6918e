"""What only the whole compiler knows, asked when a file is saved: `nfc check` and `nfc explain`, in
processes of their own, so that the server goes on answering. Stack, size, what the kernel would
refuse, what each rule costs."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nfc.explain.cost import Loop, RuleCost
from nfc.lsp.document import Document
from nfc.syntax.diagnostics import Diagnostic
from nfc.syntax.source import Source, Span

LIMIT_S = 60  # for a check; a program that takes longer is checked on the command line


@dataclass(frozen=True)
class Cost:
    """What a function takes on a kernel: instructions, those followed on all paths, bytes of stack,
    helpers by name."""

    kernel: str
    instructions: int
    followed: int
    stack: int
    helpers: tuple[str, ...]

    def __str__(self) -> str:
        """A sentence."""
        return (
            f"For kernel {self.kernel}, when it was last saved: {self.instructions} instructions "
            f"({self.followed} followed on all paths), {self.stack} bytes of stack, helpers: "
            f"{', '.join(self.helpers) or 'none'}."
        )


@dataclass(frozen=True)
class Saved:
    """What `nfc check` said of a text: what the text alone does not show, and costs by function."""

    text: str
    found: tuple[Diagnostic, ...] = ()
    costs: tuple[tuple[str, Cost], ...] = ()
    rules: tuple[tuple[str, tuple[str, ...]], ...] = ()  # by function: each rule, in Markdown

    def of_function(self, name: str, text: str) -> str:
        """What a function costs; nothing if its text is another than when it was saved."""
        return str(dict(self.costs).get(name, "")) if text in self.text else ""

    def of_rule(self, name: str, text: str, number: int) -> str:
        """What a rule of a function does and costs; `text` is the function's."""
        rules = dict(self.rules).get(name, ())
        return rules[number] if text in self.text and number < len(rules) else ""


async def ask(document: Document, kernel: str) -> Saved | None:
    """What `nfc check` and `nfc explain` say of a document's file; None if they cannot be asked
    or take too long."""
    said = await _run("check", "--no-load", "--kernel", kernel, "--json", str(document.path))
    if said is None:
        return None
    saved = read(document, said)
    if said.get("functions"):
        more = await _run("explain", "--kernel", kernel, "--json", str(document.path))
        saved = replace(saved, rules=tuple(_rules(more or {})))
    return saved


async def _run(*command: str) -> dict[str, Any] | None:
    """What a command of nfc's prints as JSON."""
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "nfc", *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
    except OSError:
        return None
    try:
        out, _ = await asyncio.wait_for(process.communicate(), LIMIT_S)
        said = json.loads(out)
        return said if isinstance(said, dict) else None
    except (TimeoutError, ValueError):
        return None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def read(document: Document, said: dict[str, Any]) -> Saved:
    """What `nfc check --json` wrote, as diagnostics and costs."""
    source = Source(document.path.name, document.text.text)
    found = [
        Diagnostic(d["severity"], _span(source, d), d["message"], d["hint"])
        for d in said.get("diagnostics", ())
        if Path(d["file"]).name == document.path.name
    ]
    costs = []
    for report in said.get("functions", ()):
        cost = Cost(
            report["kernel"],
            report["instructions"],
            report["processed"],
            report["stack"],
            tuple(report["helpers"]),
        )
        costs.append((report["function"], cost))
        for violation in report["violations"]:
            file, _, line = violation["place"].rpartition(":")
            number = int(line) if line.isdigit() and file == document.path.name else 1
            text = f"kernel {report['kernel']} refuses {report['function']}: {violation['message']}"
            found.append(
                Diagnostic("error", _line(source, number), text, violation["advice"] or None)
            )
    return Saved(source.text, tuple(found), tuple(costs))


def _rules(said: dict[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What `nfc explain --json` says of the rules of each function."""
    for function in said.get("functions", ()):
        texts = []
        for rule in function["rules"]:
            cost = rule["cost"]
            taken = " and ".join(rule["when"]) or "it takes what is left"
            does = "".join(f"\n- {one}" for one in (*rule["edits"], rule["verdict"]))
            costs = "nothing: no packet can take it"
            if cost is not None:
                loops = tuple(Loop(x["instructions"], x["rounds"]) for x in cost["loops"])
                calls = tuple(cost["calls"])
                costs = str(
                    RuleCost(rule["line"], cost["instructions"], loops, calls, cost["stack"])
                )
            texts.append(f"Where {taken}:\n{does}\n\nCosts {costs}.")
        yield function["function"], tuple(texts)


def _span(source: Source, found: dict[str, Any]) -> Span:
    start = _line(source, found["line"]).start + found["column"] - 1
    end = _line(source, found["end_line"]).start + found["end_column"] - 1
    size = len(source.text)
    return Span(source, min(start, size), min(max(start, end), size))


def _line(source: Source, number: int) -> Span:
    """A line of the text, counted from 1."""
    lines = source.text.split("\n")
    index = min(max(number, 1), len(lines)) - 1
    start = sum(len(line) + 1 for line in lines[:index])
    return Span(source, start, start + len(lines[index]))
