"""The running Linux kernel: bpf(2), maps, pins, ring buffer, namespaces, and IPv6 routes.

Knows nothing of nfc source. Everything here raises `nfc.errors.KernelError` (with the kernel's
errno and its own words) or `PrivilegeError` (with the capability that is missing), and nothing
else, for whatever the kernel or the operator's input does.

Only `nfc.kernel.netlink` imports pyroute2, and only when a route is read or written.
"""
