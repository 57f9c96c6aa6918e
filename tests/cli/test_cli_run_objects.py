"""`nfc run` on objects, whoever compiled them; faults."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from run_packets import INNER, STDLIB, Nfc, sid, summary, write

from nfc.bpf.isa import Instruction
from nfc.compiler import compile_file
from nfc.packet import packet


def test_an_object_without_its_source(nfc: Nfc, tmp_path: Path) -> None:
    built = tmp_path / "tag.o"
    compilation = compile_file(STDLIB / "tag.nf")
    built.write_bytes(compilation.object(compilation.functions))
    path = write(tmp_path / "in.pcap", [sid(), sid()])
    code, said, _ = nfc("run", built, "--pcap", path, "--packets", "--trace")
    assert code == 0
    assert "returned 0  sent by out" in said
    assert re.search(r"^  tag\.nf:\d+ +set srh\.tag = srh\.tag \+ 1|^  tag\.nf:4 ", said, re.M)
    assert "map tag_stats: 1 with a value" in said
    assert "    0  {rule_1_line_4=2, " in said
    found = summary(nfc("run", built, "--pcap", path, "--json")[1])
    (entry,) = found["maps"][0]["entries"]
    assert entry["value"].startswith("0200")
    assert entry["decoded"]["value"]["rule_1_line_4"] == 2
    code, _, err = nfc("run", built, "--pcap", path, "--param", "a=1")
    assert code == 2
    assert "the object has no variable 'a'" in err


C_SOURCE = """
typedef unsigned int u32; typedef unsigned char u8; typedef unsigned long long u64;
struct __sk_buff { u32 len, pkt_type, mark, a[16], data, data_end; };
struct { int (*type)[1]; int (*max_entries)[8]; u32 *key; u64 *value; } lengths
    __attribute__((section(".maps"), used));
static long (*update)(void *, void *, void *, u64) = (void *)2;

__attribute__((section("lwt_in"), used)) int measure(struct __sk_buff *skb)
{
    u32 key = skb->len;
    u64 one = 1;
    if (key > 100)
        return 2;
    update(&lengths, &key, &one, 0);
    return 0;
}

__attribute__((section("anything"), used)) int careless(struct __sk_buff *skb)
{
    u8 *data = (u8 *)(u64)skb->data;
    return data[60] ? 2 : 0;
}

static long (*tunnel)(void *, void *, u32, u64) = (void *)20;
__attribute__((section("anything/else"), used)) int asks(struct __sk_buff *skb)
{
    u8 key[64];
    return tunnel(skb, key, sizeof(key), 0) ? 2 : 0;
}

static long (*redirect)(u32, u64) = (void *)23;
static long (*change_head)(void *, u32, u64) = (void *)43;
__attribute__((section("anything/more"), used)) int returns(struct __sk_buff *skb)
{
    change_head(skb, 14, 0);
    return redirect(1, 1);
}
char _license[] __attribute__((section("license"), used)) = "GPL";
"""


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("clang") is None:
        pytest.skip("no clang here to make other people's objects with")
    folder = tmp_path_factory.mktemp("theirs")
    (folder / "theirs.c").write_text(C_SOURCE)
    command = ["clang", "-O2", "-g", "-target", "bpf", "-c", "theirs.c", "-o", "theirs.o"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "theirs.o"


def test_somebody_elses_object(nfc: Nfc, tmp_path: Path, theirs: Path) -> None:
    path = write(tmp_path / "in.pcap", [packet(*INNER), sid(), packet(*INNER)])
    given = ("run", theirs, "--function", "measure", "--pcap", path)
    code, said, _ = nfc(*given, "--trace", "--packets")
    assert code == 0
    shown = [line.strip() for line in said.splitlines()]
    assert re.search(r"^  theirs\.c:\d+ +if \(key > 100\)", said, re.M)
    assert re.search(r"^  theirs\.c:\d+ +update\(&lengths", said, re.M)
    assert "helpers: bpf_map_update_elem = 0" in shown
    assert "2 0.001000000  returned 2  dropped: program returned BPF_DROP" in shown
    assert "53  1" in shown
    code, _, err = nfc("run", theirs, "--function", "careless", "--pcap", path)
    assert code == 2
    assert "does not say for which hook 'careless' is" in err
    assert "say --hook; its section is anything" in err
    code, _, err = nfc("run", theirs, "--function", "carless", "--pcap", path)
    assert code == 2
    assert "has no program 'carless'" in err
    code, _, err = nfc("run", theirs, "--hook", "out", "--pcap", path)
    assert code == 2
    assert "measure (in), careless (out)" in err


WITH_CALLS = """
typedef unsigned int u32; typedef unsigned long long u64;
#define SEC(name) __attribute__((section(name), used))
struct __sk_buff { u32 len, pkt_type, mark, a[16], data, data_end; };
static long (*tail_call)(void *, void *, u32) = (void *)12;
static void *(*lookup)(void *, const void *) = (void *)1;
static long (*print)(const char *, u32, ...) = (void *)6;
static long (*loop)(u32, void *, void *, u64) = (void *)181;
struct inner { int (*type)[2]; int (*max_entries)[1]; u32 *key; u64 *value; }
    even SEC(".maps"), odd SEC(".maps");
struct { int (*type)[12]; int (*max_entries)[2]; u32 *key; struct inner *values[]; } by_length
    SEC(".maps") = { .values = { &even, &odd } };
SEC("lwt_in/second") int second(struct __sk_buff *skb);
struct { int (*type)[3]; int (*max_entries)[4]; u32 *key; int (*values[])(struct __sk_buff *); }
    calls SEC(".maps") = { .values = { [2] = second } };
static long sum(u32 i, u64 *total) { *total += i; return i == 3; }

SEC("lwt_in/first") int first(struct __sk_buff *skb)
{
    u64 total = 0;
    static const char text[] = "%d bytes";
    loop(100, sum, &total, 0);
    print(text, sizeof(text), skb->len);
    if (total == 6)
        tail_call(skb, &calls, 2);
    return 2;
}

SEC("lwt_in/second") int second(struct __sk_buff *skb)
{
    u32 key = skb->len & 1, zero = 0;
    void *counts = lookup(&by_length, &key);
    u64 *count = counts ? lookup(counts, &zero) : 0;
    if (!count)
        return 2;
    *count += 1;
    return 0;
}
char _license[] SEC("license") = "GPL";
"""


@pytest.mark.parametrize("engine", ["jit", "interpreter"])
def test_what_a_loader_puts_into_maps(nfc: Nfc, tmp_path: Path, engine: str) -> None:
    """Programs and maps that an object lists in its maps are there, as libbpf has it; a trace shows
    what is printed, and what a helper gave that called the program's own function."""
    if shutil.which("clang") is None:
        pytest.skip("no clang here to make other people's objects with")
    (tmp_path / "calls.c").write_text(WITH_CALLS)
    command = ["clang", "-O2", "-g", "-target", "bpf", "-c", "calls.c", "-o", "calls.o"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    one, other = packet(*INNER), packet(*INNER[:-1], b"four")
    path = write(tmp_path / "in.pcap", [one, one, other] + [one] * 60)
    given = ("run", tmp_path / "calls.o", "--function", "first", "--pcap", path)
    code, said, _ = nfc(*given, "--engine", engine)
    assert code == 0
    lines = [line.strip() for line in said.splitlines()]
    assert lines[1] == "sent                63  by out"
    assert lines[lines.index("map even: 1 with a value") + 1] == "0  1"
    assert lines[lines.index("map odd: 1 with a value") + 1] == "0  62"
    code, said, _ = nfc(*given, "--trace")
    assert code == 0
    lines = [line.strip() for line in said.splitlines()]
    lookups = "bpf_map_lookup_elem, bpf_map_lookup_elem"
    assert f"helpers: bpf_loop = 4, bpf_trace_printk = 8, bpf_tail_call, {lookups}" in lines
    assert "tail calls led to second" in lines
    assert "(no line)" not in said
    ran = [line for line in lines if line.startswith("calls.c:")]
    places = [next(n for n, one in enumerate(ran) if text in one) for text in ("tail_", "*count")]
    assert places == sorted(places)
    assert "printed: '53 bytes'" in lines
    assert json.loads(nfc(*given, "--trace", "--json")[1].splitlines()[0])["trace"]["printed"] == [
        "53 bytes"
    ]


OF_IPROUTE2 = """
typedef unsigned int u32; typedef unsigned long long u64;
#define SEC(name) __attribute__((section(name), used))
struct __sk_buff { u32 len; };
struct bpf_elf_map { u32 type, key, value, entries, flags, id, pinning; };
static long (*tail_call)(void *, void *, u32) = (void *)12;
static void *(*lookup)(void *, const void *) = (void *)1;
struct bpf_elf_map SEC("maps") calls = { 3, 4, 4, 2, 0, 7 };
struct bpf_elf_map SEC("maps") seen = { 2, 4, 8, 1, 0, 8, 2 };
SEC("7/0") int even(struct __sk_buff *skb) { return 0; }
SEC("7/1") int odd(struct __sk_buff *skb)
{
    u32 zero = 0;
    u64 *count = lookup(&seen, &zero);
    if (count)
        *count += 1;
    return 2;
}
SEC("lwt_in") int begin(struct __sk_buff *skb) { tail_call(skb, &calls, skb->len & 1); return 0; }
char _license[] SEC("license") = "GPL";
"""


def test_maps_and_tail_calls_of_iproute2(nfc: Nfc, tmp_path: Path) -> None:
    if shutil.which("clang") is None:
        pytest.skip("no clang here to make other people's objects with")
    (tmp_path / "calls.c").write_text(OF_IPROUTE2)
    command = ["clang", "-O2", "-target", "bpf", "-c", "calls.c", "-o", "calls.o"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    one, other = packet(*INNER), packet(*INNER[:-1], b"four")
    path = write(tmp_path / "in.pcap", [one, other, other])
    code, said, _ = nfc("run", tmp_path / "calls.o", "--pcap", path)
    assert code == 0
    lines = [line.strip() for line in said.splitlines()]
    assert lines[0].startswith("begin (in) on")
    assert lines[1:3] == [
        "sent                 2  by out",
        "dropped              1  program returned BPF_DROP",
    ]
    assert lines[-2:] == ["map seen: 1 with a value", "00000000  0100000000000000"]


def test_a_fault_behind_a_tail_call(nfc: Nfc, tmp_path: Path) -> None:
    """The instruction and its line are those of the program that the call led to."""
    if shutil.which("clang") is None:
        pytest.skip("no clang here to make other people's objects with")
    source = WITH_CALLS.replace("counts ? lookup", "1 ? lookup")
    (tmp_path / "calls.c").write_text(source.replace("{ &even, &odd }", "{ &even }"))
    command = ["clang", "-O2", "-g", "-target", "bpf", "-c", "calls.c", "-o", "calls.o"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    path = write(tmp_path / "in.pcap", [packet(*INNER)])
    code, _, err = nfc("run", tmp_path / "calls.o", "--function", "first", "--pcap", path)
    assert code == 1
    assert re.search(r"makes first fault: .*calls\.c:\d+: instruction \d+ gives 0x0 as a map", err)
    assert re.search(r"^ +\d+ \| u64 \*count = 1 \? lookup", err, re.M)
    assert re.search(r"^ +\d+: call bpf_map_lookup_elem", err, re.M)


def test_a_map_with_more_values_than_places(nfc: Nfc, tmp_path: Path) -> None:
    if shutil.which("clang") is None:
        pytest.skip("no clang here to make other people's objects with")
    source = WITH_CALLS.replace("(*max_entries)[4]", "(*max_entries)[2]")
    (tmp_path / "calls.c").write_text(source)
    command = ["clang", "-O2", "-g", "-target", "bpf", "-c", "calls.c", "-o", "calls.o"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    path = write(tmp_path / "in.pcap", [packet(*INNER)])
    code, _, err = nfc("run", tmp_path / "calls.o", "--function", "first", "--pcap", path)
    assert code == 1
    assert "map calls, value 2: there are 2 places" in err


@pytest.mark.parametrize("command", ["explain", "test", "build", "fmt"])
def test_an_object_where_a_source_is_wanted(nfc: Nfc, theirs: Path, command: str) -> None:
    code, said, err = nfc(command, theirs)
    assert code in (1, 2)
    assert "theirs.o is an object, not a source" in said + err


def test_a_fault(nfc: Nfc, tmp_path: Path, theirs: Path) -> None:
    path = write(tmp_path / "in.pcap", [sid(), packet(*INNER), sid()])
    given = ("run", theirs, "--function", "careless", "--hook", "out", "--pcap", path)
    code, said, err = nfc(*given)
    assert code == 1
    assert "2 packets" in said.splitlines()[0]
    assert "  faults               1" in said
    assert re.search(r"packet 2 makes careless fault: .*theirs\.c:21: instruction \d+ ", err)
    assert "in packet of 53 bytes" in err
    assert "return data[60] ? 2 : 0;" in err
    assert re.search(r"^ +\d+: r\d+ = \*\(u8 \*\)\(r\d+ \+ 60\)$", err, re.M)
    assert re.search(r"with .*r\d+ = packet\+0", err)
    code, said, err = nfc(*given, "--json")
    assert (code, err) == (1, "")
    first, second = said.splitlines()
    assert summary(first)["faults"] == 1
    assert "packet 2 makes careless fault" in json.loads(second)["error"]


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (
            "asks",
            r"instruction \d+ calls bpf_skb_get_tunnel_key, which the simulator does not have",
        ),
        ("returns", "fault: it hands the packet to the router .*, which is not modelled"),
    ],
)
def test_what_is_not_modelled(
    nfc: Nfc, tmp_path: Path, theirs: Path, function: str, why: str
) -> None:
    """It ends in a fault, but is no fault of the program's."""
    path = write(tmp_path / "in.pcap", [packet(*INNER)])
    code, _, err = nfc("run", theirs, "--function", function, "--hook", "xmit", "--pcap", path)
    assert code == 1
    assert re.search(why, err)
    assert "a limit of the simulator, not of a kernel" in err


def test_instructions_print() -> None:
    """What the fault's message is made of."""
    assert str(Instruction(0x71, 1, 2, 60, 0)) == "r1 = *(u8 *)(r2 + 60)"
