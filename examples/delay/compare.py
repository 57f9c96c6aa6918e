"""Compares the collector's medians with what the wires of the links say that they did.

Ends with 1 where a median is more than 0.2 ms off, or there are too few delays to tell.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from nfc.delay.keep import load

LINKS = {1: "near", 5: "middle", 20: "far"}
MOST_MS = 0.2

status = json.loads(
    subprocess.run(
        ["nfc", "lab", "status", os.environ["LAB"], "--json"], capture_output=True, check=True
    ).stdout
)
wrong = 0
print("link     delays    set    wire did   median  off by    p99")
for path in sorted(load(Path(os.environ["LAB_DIR"], "delay.json")), key=lambda p: p.key.session):
    name = LINKS[path.key.session]
    wire = status["links"][name]["there"]
    asked = wire["shape"]["delay"] / 1e6
    did = asked + wire["median_late_us"] / 1e3  # when it really sent
    median, p99 = path.delays.quantile(0.5) / 1e6, path.delays.quantile(0.99) / 1e6
    bad = abs(median - did) > MOST_MS or path.delays.count < 100
    wrong += bad
    print(
        f"{name:7} {path.delays.count:7} {asked:4.0f} ms {did:8.3f} ms {median:8.3f}"
        f" {median - did:+7.3f} {p99:6.3f}{'   !' if bad else ''}"
    )
sys.exit(wrong > 0)
