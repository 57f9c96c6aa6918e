"""Namespaces, links and traffic on the real kernel, for tests and demonstrations.

Start at `Lab` and `chain`; `dissect` asks tshark what it makes of packets.
"""

from nfc.lab.lab import End, Lab
from nfc.lab.owner import clean
from nfc.lab.topology import Chain, Node, chain
from nfc.lab.traffic import Burst, Capture, noise

__all__ = ["Burst", "Capture", "Chain", "End", "Lab", "Node", "chain", "clean", "noise"]
