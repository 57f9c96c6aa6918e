"""Datagrams to each of the given addresses, a thousand a second, until killed."""

import socket
import sys
import time

out = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
due = time.monotonic()
while True:
    for address in sys.argv[1:]:
        out.sendto(bytes(200), (address, 9))
    due += 0.001
    time.sleep(max(0.0, due - time.monotonic()))
