"""Routes with programs: put in one message, kept as they were where not told, put back exactly."""

from __future__ import annotations

import contextlib
import errno
import json
import re
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel import asm
from kernel.conftest import GONE, Line, sh
from nfc.bpf.object import MapDef, Object, Program, Relocation, RelocationKind
from nfc.errors import KernelError, PrivilegeError, UsageError
from nfc.kernel import maps, programs, rtattr, tables
from nfc.kernel.encap import InstalledProgram, RouteProgram
from nfc.kernel.loader import LoadedProgram, load
from nfc.kernel.maps import index_key
from nfc.kernel.route import Route
from nfc.kernel.routes import (
    delete_route,
    get_routes,
    installed_program,
    put_route,
    replace_route,
    routes_with_programs,
    seg6_disabled,
)

COUNTER = MapDef("counter", maps.ARRAY, 4, 8, 1)


def counting(hook: str, result: int = 0) -> LoadedProgram:
    place = Relocation(asm.LOOKUP_MAP_AT, RelocationKind.MAP, "counter")
    code = asm.count_in_entry_0(result)
    return load(
        Object((Program("count", "s", code, (place,)),), (COUNTER,), license="GPL"),
        "count",
        hook=hook,
    )


@contextlib.contextmanager
def counting_at_sid(line: Line) -> Iterator[LoadedProgram]:
    """A program on a SID of the router, over which the left sends to the right."""
    with counting("endpoint") as loaded:
        program = [RouteProgram("endpoint", loaded.fd, "sid")]
        replace_route("fc00:5::1", program, netns=line.router, dev="dr")
        over = "encap seg6 mode inline segs fc00:5::1 dev d0 via fc00:1::2"
        line.at("left", f"ip -6 route add fc00:2::1 {over}")
        yield loaded


def count(loaded: LoadedProgram) -> int:
    raw = loaded.maps["counter"].lookup(index_key(0))
    assert raw is not None
    return int(struct.unpack("=Q", raw)[0])


@pytest.fixture
def endpoint() -> Iterator[LoadedProgram]:
    with counting("endpoint") as loaded:
        yield loaded


@pytest.fixture
def transit() -> Iterator[LoadedProgram]:
    with counting("in") as loaded:
        yield loaded


def shown(netns: str, prefix: str, table: str = "main") -> str:
    """What iproute2 says, which decodes without our help."""
    lines = sh(f"ip -n {netns} -6 route show {prefix} table {table}")
    return " ".join(lines.split())


@pytest.mark.kernel
@pytest.mark.usefixtures("no_leak")
class TestReplace:
    def test_iproute2_reads_what_was_put(
        self, netns: str, endpoint: LoadedProgram, transit: LoadedProgram
    ) -> None:
        replace_route(
            "fc00:a::1", [RouteProgram("endpoint", endpoint.fd, "e g1")], netns=netns, dev="v0"
        )
        assert shown(netns, "fc00:a::1").startswith(
            "fc00:a::1 encap seg6local action End.BPF endpoint e g1 dev v0 proto static metric 1024"
        )
        with counting("xmit") as xmit:
            both = [RouteProgram("in", transit.fd, "i"), RouteProgram("xmit", xmit.fd, "x")]
            replace_route("fc00:b::/64", both, netns=netns, gateway="fc00:9::2", metric=7)
        assert shown(netns, "fc00:b::/64").startswith(
            "fc00:b::/64 encap bpf in i xmit x via fc00:9::2 dev v0 proto static metric 7"
        )

    def test_the_kernel_tells_hook_tag_and_id(
        self, netns: str, endpoint: LoadedProgram, transit: LoadedProgram
    ) -> None:
        longest = "é" * 127 + "x"  # 255 bytes
        replace_route(
            "fc00:a::1", [RouteProgram("endpoint", endpoint.fd, longest)], netns=netns, dev="v0"
        )
        replace_route(
            "fc00:b::/64", [RouteProgram("in", transit.fd, longest)], netns=netns, dev="v0"
        )
        [route] = get_routes("fc00:a::1", netns=netns)
        assert installed_program(route) == (
            InstalledProgram("endpoint", longest, endpoint.info().id),
        )
        [route] = get_routes("fc00:b::/64", netns=netns)
        assert installed_program(route) == (InstalledProgram("in", longest, None),)

    def test_headroom_is_taken_and_never_told(self, netns: str) -> None:
        with counting("xmit") as loaded:
            wanted = [RouteProgram("xmit", loaded.fd, "t")]
            replace_route("fc00:b::/64", wanted, netns=netns, dev="v0")
            [plain] = get_routes("fc00:b::/64", netns=netns)
            replace_route("fc00:b::/64", wanted, netns=netns, headroom=256)
            assert get_routes("fc00:b::/64", netns=netns) == (plain,)
            with pytest.raises(UsageError, match="headroom"):
                replace_route("fc00:b::/64", wanted, netns=netns, headroom=257)

    def test_what_is_not_told_stays(self, netns: str, transit: LoadedProgram) -> None:
        sh(
            f"ip -n {netns} -6 route add fc00:b::/64 via fc00:9::2 dev v0 metric 77 proto bird"
            " mtu 1300 src fc00:9::1 pref high"
        )
        before = shown(netns, "fc00:b::/64")
        old = replace_route("fc00:b::/64", [RouteProgram("in", transit.fd, "t")], netns=netns)
        after = shown(netns, "fc00:b::/64")
        assert after.replace("encap bpf in t ", "") == before
        assert old is not None
        assert old.programs == ()
        put_route(old, netns=netns)
        assert shown(netns, "fc00:b::/64") == before

    def test_all_next_hops_of_a_multipath_route_run_it(
        self, netns: str, transit: LoadedProgram
    ) -> None:
        sh(
            f"ip -n {netns} -6 route add fc00:b::/64 nexthop via fc00:9::2 dev v0 weight 3"
            " nexthop via fc00:9::3 dev v0 weight 1"
        )
        before = shown(netns, "fc00:b::/64")
        old = replace_route("fc00:b::/64", [RouteProgram("in", transit.fd, "t")], netns=netns)
        after = shown(netns, "fc00:b::/64")
        assert after.count("encap bpf in t") == 2
        assert after.replace("encap bpf in t ", "") == before
        [route] = get_routes("fc00:b::/64", netns=netns)
        assert [hop.hops for hop in route.nexthops] == [2, 0]
        assert route.programs == (InstalledProgram("in", "t", None),)
        assert old is not None
        put_route(old, netns=netns)
        assert shown(netns, "fc00:b::/64") == before

    def test_a_next_hop_object_is_kept_by_what_it_says_and_put_back_by_id(
        self, netns: str, transit: LoadedProgram
    ) -> None:
        sh(f"ip -n {netns} nexthop add id 9 via fc00:9::2 dev v0")
        sh(f"ip -n {netns} -6 route add fc00:b::/64 nhid 9")
        before = shown(netns, "fc00:b::/64")
        old = replace_route("fc00:b::/64", [RouteProgram("in", transit.fd, "t")], netns=netns)
        assert "encap bpf in t via fc00:9::2 dev v0" in shown(netns, "fc00:b::/64")
        assert old is not None
        put_route(old, netns=netns)
        assert shown(netns, "fc00:b::/64") == before

    def test_of_several_metrics_one_changes(self, netns: str, transit: LoadedProgram) -> None:
        for metric in (50, 40, 60):
            sh(f"ip -n {netns} -6 route add fc00:b::/64 dev v0 metric {metric}")
        program = [RouteProgram("in", transit.fd, "t")]

        def with_program() -> list[tuple[int, bool]]:
            return [(r.metric, bool(r.programs)) for r in get_routes("fc00:b::/64", netns=netns)]

        replace_route("fc00:b::/64", program, netns=netns)
        assert with_program() == [(40, True), (50, False), (60, False)]
        replace_route("fc00:b::/64", program, netns=netns, metric=60)
        assert with_program() == [(40, True), (50, False), (60, True)]
        assert replace_route("fc00:b::/64", program, netns=netns, metric=70) is None
        assert with_program() == [(40, True), (50, False), (60, True), (70, True)]

    def test_an_unreachable_route_gives_way_when_a_device_is_told(
        self, netns: str, endpoint: LoadedProgram
    ) -> None:
        sh(f"ip -n {netns} -6 route add unreachable fc00:a::/64 metric 5")
        before = shown(netns, "fc00:a::/64")
        program = [RouteProgram("endpoint", endpoint.fd, "t")]
        with pytest.raises(UsageError, match="no route"):
            replace_route("fc00:a::/64", program, netns=netns)
        old = replace_route("fc00:a::/64", program, netns=netns, dev="v0")
        assert shown(netns, "fc00:a::/64").startswith("fc00:a::/64 encap seg6local")
        assert old is not None
        put_route(old, netns=netns)
        assert shown(netns, "fc00:a::/64") == before

    def test_the_default_route_and_tables_by_name_and_number(
        self, netns: str, transit: LoadedProgram
    ) -> None:
        program = [RouteProgram("in", transit.fd, "t")]
        for table in ("local", 4711, "12"):
            replace_route("default", program, netns=netns, table=table, dev="v0")
            [route] = get_routes("::/0", netns=netns, table=table)
            assert route.table == tables.table_id(table)
        found = routes_with_programs(netns)
        assert sorted(route.table for route in found) == [12, 255, 4711]
        assert all(route.devices == ("v0",) for route in found)
        assert all(delete_route(route, netns=netns) for route in found)
        assert routes_with_programs(netns) == ()

    def test_it_is_one_message_and_never_a_gap(self, netns: str, transit: LoadedProgram) -> None:
        sh(f"ip -n {netns} -6 route add fc00:b::/64 dev v0")
        watch = subprocess.Popen(
            ["ip", "-n", netns, "-6", "-o", "monitor", "route"], stdout=subprocess.PIPE, text=True
        )
        assert watch.stdout is not None
        try:
            # The monitor says nothing when it is ready; so until it speaks, change another route.
            while not (ready := get_routes("fc00:ffff::/64", netns=netns)) or not _readable(watch):
                if ready:
                    delete_route(ready[0], netns=netns)
                sh(f"ip -n {netns} -6 route add fc00:ffff::/64 dev v0")
            replace_route("fc00:b::/64", [RouteProgram("in", transit.fd, "once")], netns=netns)
            sh(f"ip -n {netns} -6 route del fc00:ffff::/64 dev v0")
            lines = []
            for line in watch.stdout:
                lines.append(line)
                if "Deleted" in line and any("once" in known for known in lines):
                    break
        finally:
            watch.kill()
            watch.communicate()
        about = [line for line in lines if "fc00:b::/64" in line]
        assert len(about) == 1, about
        assert "Deleted" not in about[0]
        assert "encap bpf in once" in about[0]


def _readable(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return bool(select.select([process.stdout], [], [], 0.1)[0])


@pytest.mark.kernel
@pytest.mark.usefixtures("no_leak")
class TestPutBack:
    def test_through_json_and_back_it_is_the_same(
        self, netns: str, endpoint: LoadedProgram
    ) -> None:
        replace_route(
            "fc00:a::1", [RouteProgram("endpoint", endpoint.fd, "g1")], netns=netns, dev="v0"
        )
        [route] = get_routes("fc00:a::1", netns=netns)
        again = Route.from_json(json.loads(json.dumps(route.to_json())))
        assert again == route
        assert delete_route(again, netns=netns)
        assert not delete_route(again, netns=netns)
        put_route(again, netns=netns)  # the program is still loaded: found by its id
        assert get_routes("fc00:a::1", netns=netns) == (route,)

    def test_an_endpoint_whose_program_is_gone_is_an_error(self, netns: str) -> None:
        with counting("endpoint") as loaded:
            program = [RouteProgram("endpoint", loaded.fd, "g1")]
            replace_route("fc00:a::1", program, netns=netns, dev="v0")
            [route] = get_routes("fc00:a::1", netns=netns)
            delete_route(route, netns=netns)
        # Programs are freed a grace period after their last user.
        for _ in range(3000):
            try:
                programs.info_by_id(route.programs[0].prog_id or 0)
            except KernelError:
                break
            time.sleep(0.02)
        with pytest.raises(KernelError) as gone:
            put_route(route, netns=netns)
        assert gone.value.errno == errno.ENOENT
        assert get_routes("fc00:a::1", netns=netns) == ()
        with counting("endpoint") as loaded:
            put_route(route, [RouteProgram("endpoint", loaded.fd, "ignored")], netns=netns)
            [back] = get_routes("fc00:a::1", netns=netns)
            assert [p.tag for p in back.programs] == ["g1"]

    def test_a_transit_program_is_needed_again(self, netns: str, transit: LoadedProgram) -> None:
        program = [RouteProgram("in", transit.fd, "g1")]
        replace_route("fc00:b::/64", program, netns=netns, dev="v0")
        [route] = get_routes("fc00:b::/64", netns=netns)
        delete_route(route, netns=netns)
        with pytest.raises(KernelError, match="'g1'"):
            put_route(route, netns=netns)
        put_route(route, program, netns=netns)
        assert get_routes("fc00:b::/64", netns=netns) == (route,)

    def test_other_encapsulations_come_back(self, netns: str, endpoint: LoadedProgram) -> None:
        sh(
            f"ip -n {netns} -6 route add fc00:a::1 encap seg6 mode encap segs fc00:c::1,fc00:d::1"
            " dev v0"
        )
        before = shown(netns, "fc00:a::1")
        program = [RouteProgram("endpoint", endpoint.fd, "t")]
        old = replace_route("fc00:a::1", program, netns=netns)
        assert "End.BPF" in shown(netns, "fc00:a::1")
        assert old is not None
        put_route(old, netns=netns)
        assert shown(netns, "fc00:a::1") == before

    def test_a_lifetime_goes_on(self, netns: str, transit: LoadedProgram) -> None:
        sh(f"ip -n {netns} -6 route add fc00:b::/64 dev v0 expires 500")
        old = replace_route("fc00:b::/64", [RouteProgram("in", transit.fd, "t")], netns=netns)
        assert re.search(r"expires (49\d|500)sec", shown(netns, "fc00:b::/64"))
        assert old is not None
        put_route(old, netns=netns)
        assert re.search(r"expires (49\d|500)sec", shown(netns, "fc00:b::/64"))

    def test_delete_takes_the_one_that_was_read(self, netns: str) -> None:
        for metric in (10, 20):
            sh(f"ip -n {netns} -6 route add fc00:b::/64 dev v0 metric {metric}")
        low, high = get_routes("fc00:b::/64", netns=netns)
        assert delete_route(high, netns=netns)
        assert get_routes("fc00:b::/64", netns=netns) == (low,)


@pytest.mark.kernel
@pytest.mark.usefixtures("no_leak")
class TestRefused:
    def test_a_failed_replace_leaves_the_old_route(
        self, netns: str, endpoint: LoadedProgram, transit: LoadedProgram
    ) -> None:
        sh(f"ip -n {netns} -6 route add fc00:b::/64 dev v0 metric 5")
        replace_route("fc00:b::/64", [RouteProgram("in", transit.fd, "g1")], netns=netns)
        before = get_routes("fc00:b::/64", netns=netns)
        wrong_type = [RouteProgram("in", endpoint.fd, "g2")]
        no_program = [RouteProgram("in", transit.maps["counter"].fd, "g2")]
        fine = [RouteProgram("in", transit.fd, "g2")]
        with pytest.raises(KernelError, match="fc00:b::/64"):
            replace_route("fc00:b::/64", wrong_type, netns=netns)
        with pytest.raises(KernelError):
            replace_route("fc00:b::/64", no_program, netns=netns)
        with pytest.raises(KernelError) as unreachable:
            replace_route("fc00:b::/64", fine, netns=netns, gateway="fc00:77::1")
        assert "gateway" in (unreachable.value.hint or "")
        assert get_routes("fc00:b::/64", netns=netns) == before

    def test_the_kernels_own_words_are_passed_on(self, netns: str, transit: LoadedProgram) -> None:
        sh(f"ip -n {netns} link set v1 down")
        with pytest.raises(KernelError) as refused:
            replace_route(
                "fc00:b::/64", [RouteProgram("in", transit.fd, "t")], netns=netns, gateway="::1"
            )
        assert refused.value.log not in ("", "Invalid argument")
        assert refused.value.log in refused.value.message

    @pytest.mark.parametrize("prefix", ["fc00::1/64", "fc00::/129", "10.0.0.0/8", "x", ""])
    def test_prefixes_that_are_none(self, prefix: str) -> None:
        with pytest.raises(UsageError, match="not an IPv6 prefix"):
            get_routes(prefix)

    def test_devices_namespaces_and_tables_that_are_not_there(
        self, netns: str, transit: LoadedProgram
    ) -> None:
        program = [RouteProgram("in", transit.fd, "t")]
        with pytest.raises(KernelError, match="no such device: 'nodev'; there are: lo, v1, v0"):
            replace_route("fc00:b::/64", program, netns=netns, dev="nodev")
        with pytest.raises(KernelError, match="no network namespace 'nosuch'"):
            replace_route("fc00:b::/64", program, netns="nosuch", dev="v0")
        with pytest.raises(UsageError, match="no routing table 'blue'"):
            get_routes("fc00:b::/64", table="blue", netns=netns)
        assert get_routes("fc00:b::/64", table=31337, netns=netns) == ()

    @pytest.mark.parametrize("tag", ["", "x" * 256, "a\0b"])
    def test_tags_that_the_kernel_cannot_hold(
        self, netns: str, transit: LoadedProgram, tag: str
    ) -> None:
        with pytest.raises(UsageError, match="tag"):
            replace_route(
                "fc00:b::/64", [RouteProgram("in", transit.fd, tag)], netns=netns, dev="v0"
            )

    def test_endpoint_and_transit_do_not_mix(
        self, netns: str, endpoint: LoadedProgram, transit: LoadedProgram
    ) -> None:
        a, b = RouteProgram("endpoint", endpoint.fd, "a"), RouteProgram("in", transit.fd, "b")
        for wanted in ([a, b], [b, b], []):
            with pytest.raises(UsageError, match="a route takes"):
                replace_route("fc00:b::/64", wanted, netns=netns, dev="v0")

    def test_without_the_capability_it_is_named(self, netns: str) -> None:
        script = (
            "import os, sys; from nfc.errors import *\n"
            "from nfc.kernel import netlink, netns, routes, route  # while it may read them\n"
            "def inside():\n"
            "    os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)\n"
            "    new = route.new_route(route.parse_prefix('fc00:b::/64'), 254)\n"
            "    try: routes.put_route(new)\n"
            "    except PrivilegeError as e: print(e.message)\n"
            "netns.run_in(sys.argv[1], inside)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, netns], capture_output=True, text=True, check=True
        )
        assert "lacks CAP_NET_ADMIN" in done.stdout
        assert issubclass(PrivilegeError, KernelError)

    def test_seg6_that_is_off_is_named(self, netns: str) -> None:
        sh(f"ip netns exec {netns} sysctl -qw net.ipv6.conf.v0.seg6_enabled=1")
        assert seg6_disabled(["v0", "v1"], netns=netns) == (
            "net.ipv6.conf.all.seg6_enabled",
            "net.ipv6.conf.v1.seg6_enabled",
        )
        with pytest.raises(KernelError, match="nodev"):
            seg6_disabled(["nodev"], netns=netns)


@pytest.mark.kernel
@pytest.mark.usefixtures("no_leak")
class TestPackets:
    def test_forwarded_packets_run_the_program_and_its_answer_counts(self, line: Line) -> None:
        assert line.send() == 3
        with counting("in") as passing, counting("in", result=2) as dropping:
            replace_route("fc00:2::/64", [RouteProgram("in", passing.fd, "g1")], netns=line.router)
            assert line.send() == 3
            assert count(passing) == 3
            old = replace_route(
                "fc00:2::/64", [RouteProgram("in", dropping.fd, "g2")], netns=line.router
            )
            assert line.send(wait=GONE) == 0
            assert count(passing) == 3
            assert count(dropping) == 3
            assert old is not None
            put_route(old, [RouteProgram("in", passing.fd, "")], netns=line.router)
            assert line.send() == 3
            assert count(passing) == 6

    def test_no_packet_is_lost_while_generations_change(self, line: Line) -> None:
        with counting("in") as one, counting("in") as two:
            replace_route("fc00:2::/64", [RouteProgram("in", one.fd, "g0")], netns=line.router)
            arrived: list[int] = []
            traffic = threading.Thread(target=lambda: arrived.append(line.send(400, gap=0.002)))
            traffic.start()
            changes = 0
            while traffic.is_alive():
                program = (one, two)[changes % 2]
                wanted = [RouteProgram("in", program.fd, f"g{changes}")]
                replace_route("fc00:2::/64", wanted, netns=line.router)
                changes += 1
            traffic.join()
            assert arrived == [400]
            assert count(one) + count(two) == 400
            assert changes > 20
            assert min(count(one), count(two)) > 20

    def test_an_endpoint_runs_on_packets_with_segments_left(self, line: Line) -> None:
        with counting_at_sid(line) as loaded:
            assert line.send() == 3
            assert count(loaded) == 3

    def test_an_endpoint_runs_without_seg6_enabled(self, line: Line) -> None:
        # It is asked for where packets go up to the host, which a seg6local route is not.
        with counting_at_sid(line) as loaded:
            for device in ("all", "dl"):
                line.at("router", f"sysctl -qw net.ipv6.conf.{device}.seg6_enabled=0")
            assert len(seg6_disabled(["dl"], netns=line.router)) == 2
            assert line.send() == 3
            assert count(loaded) == 3

    def test_a_route_keeps_its_program_after_everything_is_closed(self, line: Line) -> None:
        with counting("in", result=2) as loaded:
            wanted = [RouteProgram("in", loaded.fd, "t")]
            old = replace_route("fc00:2::/64", wanted, netns=line.router)
        assert line.send(wait=GONE) == 0
        assert old is not None
        put_route(old, netns=line.router)
        assert line.send() == 3


class TestValues:
    @given(st.lists(st.tuples(st.integers(1, 0x3FFF), st.binary(max_size=40)), max_size=8))
    def test_for_every_list_of_attributes_unpack_takes_back_what_pack_gave(
        self, attributes: list[tuple[int, bytes]]
    ) -> None:
        assert list(rtattr.unpack(rtattr.pack(attributes))) == attributes

    @given(st.binary(max_size=80))
    def test_for_every_byte_string_unpack_ends_or_raises_a_kernel_error(self, data: bytes) -> None:
        for unpack in (rtattr.unpack, rtattr.unpack_nexthops):
            try:
                assert len(list(unpack(data))) <= len(data) // 4
            except KernelError:
                continue

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["header", "attributes", "devices"]), inner, max_size=3
                )
            ),
            max_leaves=8,
        )
    )
    def test_for_every_json_value_there_is_a_route_or_a_usage_error(self, data: object) -> None:
        with pytest.raises(UsageError):
            Route.from_json(data)

    def test_tables_are_read_as_ip_reads_them(self) -> None:
        content = "# c\n254 main\n0x10\tblue # x\nbad\n1 2 3\nx y\n"
        assert tables.parse_tables(content) == {"main": 254, "blue": 16}
        assert tables.table_id("main") == 254
        for wrong in (0, -1, 1 << 32):
            with pytest.raises(UsageError):
                tables.table_id(wrong)

    def test_importing_the_package_does_not_import_pyroute2(self) -> None:
        script = (
            "import sys, nfc.kernel, nfc.kernel.routes, nfc.kernel.loader, nfc.kernel.pins\n"
            "sys.exit('pyroute2' in sys.modules)"
        )
        subprocess.run([sys.executable, "-c", script], check=True)
