"""The parsers' tables: made of the grammars when nfc is built, read when it runs.

Lark takes a third of a second to make them, which every command would pay. They lie inside the
package, are plain numbers and names (JSON: nothing in them is run), and say what they were made
of; where they are absent, damaged, or of another grammar or lark, they are made anew.

    python -m nfc.syntax.tables [FOLDER]
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import lark
from lark import Lark
from lark.grammar import Rule
from lark.lexer import TerminalDef

from nfc.atomic import replace_file
from nfc.resources import data_dir

FOLDER = Path(__file__).parents[1] / "_data" / "tables"
GRAMMARS = ("nfc.lark", "nft.lark")
_OPTIONS: dict[str, Any] = {
    "start": "item",
    "parser": "lalr",
    "lexer": "basic",
    "maybe_placeholders": True,
    "propagate_positions": True,
}
_SHIFT = 0  # as lark writes the action that goes on to a state
_MOST = 4 << 20  # bytes of a file; ours are of some 200,000


def parser(name: str, folder: Path = FOLDER) -> Lark:
    """Lark with a grammar of ours: LALR, one item at a time."""
    text = (data_dir("grammar") / name).read_text(encoding="utf-8")
    return _read(folder / f"{name}.json", text) or made(text)


def made(text: str) -> Lark:
    """Lark with a grammar, its tables made of it."""
    return Lark(text, **_OPTIONS)


def tables(text: str) -> str:
    """What a file holds for a grammar: a digest, and in the second line the tables."""
    body = written(made(text))
    return f"{_digest(text, body)}\n{body}\n"


def written(parser: Lark) -> str:
    """A parser's tables, the same for two parsers of one grammar."""
    data, memo = parser.memo_serialize([TerminalDef, Rule])
    data["parser"]["parser"] = _in_order(data["parser"]["parser"])
    return json.dumps({"data": data, "memo": memo}, separators=(",", ":"))


def write(folder: Path = FOLDER) -> None:
    """Put the tables of both grammars into a folder. Raises OSError, NfcError."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in GRAMMARS:
        text = (data_dir("grammar") / name).read_text(encoding="utf-8")
        replace_file(folder / f"{name}.json", tables(text))


def _digest(text: str, body: str) -> str:
    """Of all that the tables stand for, and of themselves."""
    stated = json.dumps([lark.__version__, _OPTIONS, text, body])
    return hashlib.sha256(stated.encode()).hexdigest()


def _read(file: Path, text: str) -> Lark | None:
    """Lark with the tables of a file; None where they are not those of this grammar."""
    try:
        with file.open(encoding="utf-8") as found:
            digest, body, *_ = [*found.read(_MOST).split("\n", 2), ""]
    except (OSError, UnicodeError):
        return None
    if digest != _digest(text, body):
        return None
    held = json.loads(body, object_hook=_numbered)
    load = getattr(Lark, "_load_from_dict", None)  # which is lark's own affair
    loaded: Lark | None = load(held["data"], held["memo"]) if load is not None else None
    return loaded


def _numbered(found: dict[str, Any]) -> dict[Any, Any]:
    """A mapping as lark had it: JSON has texts in the place of numbers."""
    return {int(key) if key.isdigit() else key: value for key, value in found.items()}


def _in_order(table: dict[str, Any]) -> dict[str, Any]:
    """The same table with its tokens numbered by name, and its states as they are reached. Lark
    numbers both as its sets happen to lie, each time in another way."""
    names: dict[int, str] = table["tokens"]
    token = {old: new for new, old in enumerate(sorted(names, key=names.__getitem__))}
    rows = {
        state: {token[old]: row[old] for old in sorted(row, key=token.__getitem__)}
        for state, row in table["states"].items()
    }
    reached: dict[int, int] = {}
    waiting = sorted(table["start_states"].values())
    for state in waiting:  # grows
        if state in reached:
            continue
        reached[state] = len(reached)
        waiting += [to for action, to in rows[state].values() if action == _SHIFT]
    return {
        **table,
        "tokens": {token[old]: names[old] for old in sorted(names, key=token.__getitem__)},
        "states": {
            reached[state]: {
                t: (action, reached[to] if action == _SHIFT else to)
                for t, (action, to) in rows[state].items()
            }
            for state in sorted(reached, key=reached.__getitem__)
        },
        "start_states": {item: reached[s] for item, s in table["start_states"].items()},
        "end_states": {item: reached[s] for item, s in table["end_states"].items()},
    }


if __name__ == "__main__":
    write(*map(Path, sys.argv[1:2]))
