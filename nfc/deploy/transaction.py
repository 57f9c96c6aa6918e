"""Steps that are undone, last first, unless all of them succeed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def transaction() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Yields `on_failure(undo)`: the undo steps given to it run if the block is left by an error
    or an interrupt, in reverse order; they are forgotten if it ends normally."""
    with ExitStack() as undo:

        def on_failure(step: Callable[[], object]) -> None:
            undo.callback(step)

        yield on_failure
        undo.pop_all()
