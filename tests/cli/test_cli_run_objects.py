"""`nfc run` on objects, whoever compiled them; faults."""

from __future__ import annotations

import json
import re
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
    assert "does not say what its params are" in err


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
char _license[] __attribute__((section("license"), used)) = "GPL";
"""


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from shutil import which

    if which("clang") is None:
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
    assert "has no program 'careless'" in err
    code, _, err = nfc("run", theirs, "--hook", "out", "--pcap", path)
    assert code == 2
    assert "measure (in), careless (out)" in err


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


def test_instructions_print() -> None:
    """What the fault's message is made of."""
    assert str(Instruction(0x71, 1, 2, 60, 0)) == "r1 = *(u8 *)(r2 + 60)"
