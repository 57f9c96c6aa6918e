"""Tests of nfc.kernel: on the running kernel, in namespaces that they make themselves."""
