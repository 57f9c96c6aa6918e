"""nfc, the network-function compiler: SRv6 packet functions from source to kernel route."""

__version__ = "0.1.0"
