"""`nfc`, and `python -m nfc`: ends quietly when it is interrupted, from its first import on."""

from __future__ import annotations

import sys

_INTERRUPTED = 130  # 128 + SIGINT


def main() -> None:
    """Run the command line."""
    try:
        from nfc.cli import main as run
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    run()


if __name__ == "__main__":
    main()
