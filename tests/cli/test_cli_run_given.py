"""`nfc run` with params and tables for objects: variables and maps by the names that BTF has."""

from __future__ import annotations

import json
import shutil
import subprocess
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from run_packets import INNER, Nfc, sid, summary, write

from nfc.compiler import compile_file
from nfc.packet import Packet, packet

PLAIN = ("--engine", "interpreter")  # nothing is compiled to native code


def test_params_and_tables_of_a_built_object(nfc: Nfc, tmp_path: Path) -> None:
    """The same words and the same file as for the source do the same."""
    source, built = tmp_path / "f.nf", tmp_path / "f.o"
    source.write_text(
        "param limit: u16 = 3\nparam who: ipv6 = fd00::9\nparam old: duration = 1s\n"
        "table known: prefix[8] { from: ipv6 } to { blocked: bool, since: timestamp }\n"
        "state begun: timestamp\nendpoint f {\n    when srh.tag > limit { drop }\n"
        "    when ip.src == who and now() - begun > old { drop }\n"
        "    when known has [ip.src] as k and k.blocked { drop }\n    otherwise forward\n}\n"
    )
    compilation = compile_file(source)
    built.write_bytes(compilation.object(compilation.functions))
    path = write(tmp_path / "in.pcap", [sid(tag=4), sid(tag=0)])
    table = tmp_path / "known.json"
    entry = {"key": {"from": "fd00::/16"}, "value": {"blocked": True, "since": "5s"}}
    table.write_text(json.dumps({"table": "known", "entries": [entry]}))
    source_of = str(ip_source(sid()))
    for given, sent in (
        ((), 1),
        (("--param", "limit=9"), 2),
        (("--param", "limit=9", "--param", f"who={source_of}"), 0),
        (("--param", "limit=9", "--param", f"who={source_of}", "--param", "old=9000000000s"), 2),
        (("--param", "limit=9", "--table", table), 0),
    ):
        for file in (source, built):
            code, said, err = nfc("run", file, "--pcap", path, "--json", *PLAIN, *given)
            assert (code, err) == (0, ""), said
            assert sum(summary(said)["sent"].values()) == sent, (file, given)
    again = tmp_path / "again.json"
    again.write_text(nfc("run", built, "--pcap", path, "--json", *PLAIN, "--table", table)[1])
    found = summary(nfc("run", built, "--pcap", path, "--json", *PLAIN, "--table", again)[1])
    rows = {one["map"]: one["entries"] for one in found["maps"]}
    assert rows["known_table"][0]["decoded"] == {
        "key": {"prefix_length": 16, "from": "fd00::"},
        "value": {"blocked": 1, "since": 5_000_000_000},
    }
    assert rows["f_stats"][0]["decoded"]["value"]["rule_1_line_7"] == 2


def ip_source(data: Packet) -> IPv6Address:
    return IPv6Address(bytes(data)[8:24])


GIVEN = """
typedef unsigned int u32; typedef unsigned long long u64; typedef unsigned short __be16;
#define SEC(name) __attribute__((section(name), used))
struct __sk_buff { u32 len; };
struct row { u64 packets; __be16 ports[2]; char name[4]; };
struct { int (*type)[1]; int (*max_entries)[4]; u32 *key; struct row *value; } rows SEC(".maps");
struct { int (*type)[6]; int (*max_entries)[2]; u32 *key; u64 *value; } counts SEC(".maps");
struct { int (*type)[27]; int (*max_entries)[4096]; } ring SEC(".maps");
struct { int (*type)[22]; int (*max_entries)[3]; u32 *value; } queue SEC(".maps");
static void *(*lookup)(void *, const void *) = (void *)1;
static long (*push)(void *, const void *, u64) = (void *)87;
const volatile u32 limit = 100;
int least[2] = { 1, 2 };
u32 seen;
SEC("lwt_in") int f(struct __sk_buff *skb)
{
    u32 key = skb->len;
    struct row *row = lookup(&rows, &key);
    if (row)
        row->packets += 1;
    seen += 1;
    push(&queue, &seen, 0);
    return skb->len > limit || (int)skb->len < least[1] ? 2 : 0;
}
char _license[] SEC("license") = "GPL";
"""


BARE = 'int f() __attribute__((section("lwt_in"))); int f() { return 0; }'


def given_object(folder: Path, *options: str, source: str = GIVEN) -> Path:
    if shutil.which("clang") is None:
        pytest.skip("no clang here to make other people's objects with")
    (folder / "given.c").write_text(source)
    command = ["clang", "-O2", *options, "-target", "bpf", "-c", "given.c", "-o", "given.o"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "given.o"


def test_variables_and_maps_of_somebody_elses_object(nfc: Nfc, tmp_path: Path) -> None:
    built = given_object(tmp_path, "-g")
    path = write(tmp_path / "in.pcap", [packet(*INNER)] * 2)
    size = len(bytes(packet(*INNER)))
    table = tmp_path / "rows.json"
    row = {"packets": 40, "ports": [1, 258], "name": "abc"}
    entries = [{"key": size, "value": row}, {"key": "01000000", "value": "00" * 16}]
    counts = [{"key": {"index": 1}, "value": "7"}]
    table.write_text(
        json.dumps([{"map": "rows", "entries": entries}, {"table": "counts", "entries": counts}])
    )
    words = ("--param", "limit=9999", "--param", f"least=[0, {size}]", "--param", "seen=0x10")
    code, said, err = nfc("run", built, "--pcap", path, "--json", "--table", table, *words)
    assert (code, err) == (0, ""), said
    found = summary(said)
    assert found["sent"] == {"out": 2}
    rows = {one["map"]: [e["decoded"] for e in one["entries"]] for one in found["maps"]}
    assert rows["rows"][0] == {"key": size, "value": row | {"packets": 42, "ports": [256, 513]}}
    assert rows["counts"] == [{"key": 1, "value": 7}]
    assert rows[".bss"][0]["value"] == {"seen": 18}
    assert rows["queue"] == [{"key": "", "value": 17}, {"key": "", "value": 18}]
    again = tmp_path / "again.json"
    again.write_text(said.splitlines()[-1])
    found = summary(nfc("run", built, "--pcap", path, "--json", "--table", again)[1])
    rows = {one["map"]: [e["decoded"] for e in one["entries"]] for one in found["maps"]}
    assert rows["rows"][0]["value"]["packets"] == 44
    assert rows[".rodata"][0]["value"] == {"limit": 9999}
    assert rows[".bss"][0]["value"] == {"seen": 20}
    assert [row["value"] for row in rows["queue"]] == [17, 18, 19]  # there is room for three


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--param", "limt=1"), 2, "the object has no variable 'limt'"),
        (("--param", "limit=-1"), 2, "limit: -1 is not between 0 and 4294967295"),
        (("--param", "least=[1"), 2, "least: is not JSON"),
        ([{"map": "row", "entries": []}], 1, "the object has no map 'row'"),
        ([{"map": "ring", "entries": [{"key": 1, "value": 1}]}], 1, "cannot be put into map ring"),
        ([{"map": "rows", "entries": [{"key": "x", "value": "00"}]}], 1, "entry 1: 'x' is not a"),
        ([{"map": "rows", "entries": [{"key": 1, "value": {"no": 1}}]}], 1, "there is no field no"),
        ([{"map": "rows", "entries": [7]}], 1, "entry 1: this is not of the form"),
        (
            [{"map": "counts", "entries": [{"key": 9, "value": 1}]}],
            1,
            "entry 1: cannot update map counts: E2BIG",
        ),
    ],
)
def test_variables_and_maps_that_do_not_fit(
    nfc: Nfc, tmp_path: Path, words: object, code: int, message: str
) -> None:
    built = given_object(tmp_path, "-g")
    path = write(tmp_path / "in.pcap", [packet(*INNER)])
    if isinstance(words, list):
        (tmp_path / "t.json").write_text(json.dumps(words))
        words = ("--table", tmp_path / "t.json")
    assert isinstance(words, tuple)
    got, said, err = nfc("run", built, "--pcap", path, *words)
    assert (got, said) == (code, "")
    assert message in err


def test_variables_of_an_object_without_btf(nfc: Nfc, tmp_path: Path) -> None:
    built = given_object(tmp_path, source=BARE)
    path = write(tmp_path / "in.pcap", [packet(*INNER)])
    code, _, err = nfc("run", built, "--pcap", path, "--param", "a=1")
    assert code == 2
    assert "does not say what its params are" in err


def test_data_without_names_is_not_shown_at_length(nfc: Nfc, tmp_path: Path) -> None:
    """A constant of the compiler's, of which BTF says nothing, and variables without BTF."""
    source = (
        'static char text[1000] = "x"; int f(void *c) __attribute__((section("lwt_in")));'
        "int f(void *c) { return ((volatile char *)text)[7]; }"
    )
    path = write(tmp_path / "in.pcap", [packet(*INNER)])
    for options in ((), ("-g",)):
        built = given_object(tmp_path, *options, source=source)
        code, said, _ = nfc("run", built, "--pcap", path)
        assert code == 0
        lines = said.splitlines()
        shown = lines[lines.index("  map .data: 1 with a value") + 1]
        assert len(shown) < 400
        assert shown.endswith("… (1000 bytes)" if not options else "{text=x}")
