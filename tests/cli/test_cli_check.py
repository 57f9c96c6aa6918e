"""`nfc check` on sources, on objects of any compiler, and on what is neither."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nfc.compiler import compile_file
from nfc.errors import NfcError
from nfc.resources import data_dir
from nfc.syntax.diagnostics import SourceErrors
from nfc.verify.checks import check_path

Nfc = Callable[..., tuple[int, str, str]]

STDLIB = data_dir("stdlib")
BUILT = compile_file(STDLIB / "tag.nf")
OBJECT = BUILT.object(BUILT.functions)
IN_C = """
#define SEC(name) __attribute__((section(name), used))
struct __sk_buff { unsigned len; };
static long (*const redirect)(unsigned, unsigned long) = (void *)23;
static long (*const nobody_has_this)(void) = (void *)99999;
SEC("lwt_in") int fine(struct __sk_buff *skb) { return skb->len > 100 ? 2 : 0; }
SEC("lwt_out") int wrong_helper(struct __sk_buff *skb) { return redirect(1, 0); }
SEC("lwt_xmit") int right_helper(struct __sk_buff *skb) { return redirect(1, 0); }
SEC("lwt_seg6local") int no_helper(struct __sk_buff *skb) { return nobody_has_this(); }
char licence[] SEC("license") = "GPL";
"""
# As for `ip route … encap bpf in obj F section classify`, and for bcc: any section, any hook.
NO_HOOK = """
#define SEC(name) __attribute__((section(name), used))
struct __sk_buff { unsigned len; };
static long (*const redirect)(unsigned, unsigned long) = (void *)23;
struct bpf_elf_map { unsigned type, key, value, entries, flags, id, pinning, inner, at; };
struct bpf_elf_map SEC("maps") seen = { 2, 4, 8, 1, 0, 3, 2 };
static void *(*const lookup)(void *, const void *) = (void *)1;
__attribute__((noinline)) static unsigned more(unsigned n) { return n * 3; }
SEC("classify") int mark(struct __sk_buff *skb) {
    unsigned key = 0;
    unsigned long long *n = lookup(&seen, &key);
    if (n) *n += more(skb->len);
    return redirect(1, 0);
}
char licence[] SEC("license") = "GPL";
"""


@pytest.fixture(scope="module")
def made_by_clang(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clang(tmp_path_factory.mktemp("c"), IN_C, "-g")


@pytest.fixture(scope="module")
def without_hook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clang(tmp_path_factory.mktemp("no_hook"), NO_HOOK)


def clang(folder: Path, source: str, *options: str) -> Path:
    if shutil.which("clang") is None:
        pytest.skip("no clang")
    (folder / "p.c").write_text(source)
    command = ["clang", "-O2", *options, "-target", "bpf", "-c", "p.c", "-o", "p.o"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "p.o"


@pytest.mark.parametrize("source", sorted(STDLIB.glob("*.nf")), ids=lambda p: p.stem)
def test_the_standard_library(nfc: Nfc, source: Path) -> None:
    code, out, err = nfc("check", source, "--no-load")
    assert (code, err) == (0, "")
    assert "refused" not in out
    code, out, err = nfc("check", source, "--no-load", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["ok"] is True
    assert all(f["ok"] and f["instructions"] > 0 for f in found["functions"])


def test_our_object_says_what_its_source_says(nfc: Nfc, tmp_path: Path) -> None:
    path = tmp_path / "tag.o"
    path.write_bytes(OBJECT)
    source = json.loads(nfc("check", STDLIB / "tag.nf", "--no-load", "--json")[1])
    ours = json.loads(nfc("check", path, "--no-load", "--json", "--kernel", "6.1")[1])
    assert ours == source


def test_an_object_of_clang(nfc: Nfc, made_by_clang: Path) -> None:
    code, out, err = nfc("check", made_by_clang, "--no-load", "--json")
    assert (code, err) == (1, "")
    found = {f["function"]: f for f in json.loads(out)["functions"]}
    assert {name: f["ok"] for name, f in found.items()} == {
        "fine": True, "wrong_helper": False, "right_helper": True, "no_helper": False,
    }  # fmt: skip
    (violation,) = found["wrong_helper"]["violations"]
    assert "not offered at out, only at xmit" in violation["message"]
    assert violation["place"].endswith("p.c:7")
    assert "redirect(1, 0)" in violation["source"]
    code, out, _ = nfc("check", made_by_clang, "--no-load")
    assert code == 1
    assert "p.c:7: bpf_redirect is not offered at out" in out
    for name, expected in (("fine", 0), ("no_helper", 1)):
        assert nfc("check", made_by_clang, "--no-load", "--function", name)[0] == expected
    code, out, err = nfc("check", made_by_clang, "--no-load", "--function", "fin")
    assert (code, out) == (2, "")
    assert "'fine'" in err


@pytest.mark.kernel
def test_the_running_kernel_is_asked(nfc: Nfc, made_by_clang: Path) -> None:
    """And its verifier agrees with every word that was said without it."""
    code, out, _ = nfc("check", made_by_clang, "--json")
    assert code == 1
    for found in json.loads(out)["functions"]:
        assert found["running_kernel"]["accepted"] is (not found["violations"])
    code, out, _ = nfc("check", STDLIB / "delay.nf")
    assert code == 0
    assert out.count("accepted") == 2


def test_old_kernels(nfc: Nfc, tmp_path: Path) -> None:
    path = tmp_path / "tag.o"
    path.write_bytes(OBJECT)
    code, out, _ = nfc("check", path, "--no-load", "--kernel", "4.14")
    assert code == 1
    assert "came with kernel 4.18" in out
    assert "tag (endpoint): refused for kernel 4.14\n" in out  # later ones may take it
    code, out, _ = nfc("check", path, "--no-load", "--kernel", "6.1")
    assert "tag (endpoint): ok for kernel 6.1 and later\n" in out


def test_several_kernels_are_a_table(nfc: Nfc, tmp_path: Path) -> None:
    """A source is compiled for each; an object is what it is."""
    code, out, _ = nfc("check", STDLIB / "delay.nf", "--no-load", "--kernel", "all")
    assert code == 1
    head, first, second, *why = out.splitlines()
    assert head.split() == ["5.10", "6.1", "6.12", "6.18"]
    assert first.split() == ["mark_delay", "(in)", "refused", "ok", "ok", "ok"]
    assert second.split() == ["end_dm", "(endpoint)", "refused", "ok", "ok", "ok"]
    assert "delay.nf:18:67: kernel 5.10 has no clock that routers can share" in "\n".join(why)
    assert out.count("delay.nf:18:67") == 1
    path = tmp_path / "tag.o"
    path.write_bytes(OBJECT)
    code, out, _ = nfc("check", path, "--no-load", "--kernel", "4.14,6.1", "--kernel", "6.1")
    assert code == 1
    assert out.splitlines()[0].split() == ["4.14", "6.1"]
    assert [line.split()[-2:] for line in out.splitlines()[1:2]] == [["refused", "ok"]]
    found = json.loads(nfc("check", path, "--no-load", "--json", "--kernel", "all")[1])
    assert [f["kernel"] for f in found["functions"]] == ["5.10", "6.1", "6.12", "6.18"]


def test_a_function_does_not_answer_for_another_of_its_file(nfc: Nfc, tmp_path: Path) -> None:
    """What a kernel does not have is an error in the functions that ask for it alone."""
    path = tmp_path / "two.nf"
    path.write_text(
        "state seen_at: timestamp\n"
        "transit timed at in { otherwise { set packet.mark = 1 drop } }\n"
        "endpoint late { when now() - seen_at > 1s { drop } otherwise forward }\n"
    )
    code, out, _ = nfc("check", path, "--no-load", "--kernel", "5.10,6.1")
    assert code == 1
    cells = [line.split() for line in out.splitlines()[1:3]]
    assert cells == [["timed", "(in)", "ok", "ok"], ["late", "(endpoint)", "refused", "ok"]]
    for command in (["check", "--no-load"], ["build", "-o", tmp_path / "x.o"], ["explain"]):
        name, *options = command
        asked = (name, path, *options, "--kernel", "5.10", "--function")
        assert nfc(*asked, "timed")[0] == 0
        code, _, err = nfc(*asked, "late")
        assert (code, "kernel 5.10 has no clock that routers can share" in err) == (1, True)
        assert nfc(name, path, *options, "--kernel", "5.10")[0] == 1


def test_a_source_that_compiles_for_none(nfc: Nfc) -> None:
    code, out, err = nfc("check", STDLIB / "delay.nf", "--no-load", "--kernel", "5.10,5.15")
    assert (code, out) == (1, "")
    assert "delay.nf:18:67: error: kernel 5.10 has no clock" in err


def test_the_log_of_another_machine(nfc: Nfc, made_by_clang: Path, tmp_path: Path) -> None:
    log = tmp_path / "verifier.log"
    log.write_text(
        "0: R1=ctx() R10=fp0\n0: (b7) r1 = 1\n2: (85) call bpf_redirect#23\n"
        "unknown func bpf_redirect#23\nprocessed 3 insns (limit 1000000) max_states_per_insn 0 "
        "total_states 0 peak_states 0 mark_read 0\n"
    )
    code, out, err = nfc("check", made_by_clang, "--function", "wrong_helper", "--log", log)
    assert (code, err) == (0, "")
    assert "p.c:7: unknown func bpf_redirect#23" in out
    code, out, err = nfc("check", made_by_clang, "--log", log)
    assert (code, out) == (2, "")
    assert "say --function" in err
    code, out, err = nfc("check", made_by_clang, "--function", "wrong", "--log", log)
    assert (code, out) == (2, "")
    assert "no program 'wrong'" in err


def test_a_log_about_the_only_program(nfc: Nfc, without_hook: Path, tmp_path: Path) -> None:
    """Whatever its section, and without its name; a helper in .text is none."""
    log = tmp_path / "verifier.log"
    log.write_text("0: R1=ctx() R10=fp0\n5: (85) call pc+1\ninvalid\nprocessed 3 insns\n")
    code, out, err = nfc("check", without_hook, "--log", log)
    assert (code, err) == (0, "")
    assert "invalid" in out


@pytest.mark.parametrize("hook", ["endpoint", "in", "out", "xmit"])
def test_a_section_that_names_no_hook(nfc: Nfc, without_hook: Path, hook: str) -> None:
    """The hook is said on the command line; bpf_redirect is there at xmit only."""
    code, out, err = nfc("check", without_hook, "--no-load", "--json", "--hook", hook)
    assert err == ""
    (found,) = json.loads(out)["functions"]  # `more`, in .text, is a part of it
    assert (found["function"], found["hook"]) == ("mark", hook)
    assert (code, found["ok"]) == ((0, True) if hook == "xmit" else (1, False))


@pytest.mark.kernel
def test_a_section_that_names_no_hook_on_this_kernel(nfc: Nfc, without_hook: Path) -> None:
    for hook, taken in (("xmit", True), ("in", False)):
        (found,) = json.loads(nfc("check", without_hook, "--json", "--hook", hook)[1])["functions"]
        assert found["running_kernel"]["accepted"] is taken


def test_a_hook_has_to_be_said_and_only_where_it_is_not(
    nfc: Nfc, without_hook: Path, made_by_clang: Path
) -> None:
    code, out, err = nfc("check", without_hook, "--no-load")
    assert (code, out) == (1, "")
    assert "say --hook" in err
    assert "classify" in err
    assert nfc("check", STDLIB / "tag.nf", "--no-load", "--hook", "xmit")[0] == 2
    assert nfc("check", without_hook, "--no-load", "--hook", "tc")[0] == 2
    said = nfc("check", made_by_clang, "--no-load", "--json")
    assert nfc("check", made_by_clang, "--no-load", "--json", "--hook", "xmit") == said


def refused(nfc: Nfc, path: Path, *options: str) -> str:
    """The message; the same text with --json; no traceback; the path named."""
    code, out, err = nfc("check", path, "--no-load", *options)
    assert (code, out) == (1, ""), out
    assert path.name in err
    code, out, json_err = nfc("check", path, "--no-load", "--json", *options)
    assert (code, json_err) == (1, "")
    found = json.loads(out)
    assert found["ok"] is False
    assert found.get("error") or found["diagnostics"]
    return err


def test_a_wrong_program(nfc: Nfc, tmp_path: Path) -> None:
    path = tmp_path / "bad.nf"
    path.write_text("endpoint f {\n    otherwise forwrd\n}\nendpoint g { when x { drop } }\n")
    err = refused(nfc, path)
    assert "bad.nf:2:15: error:" in err
    found = json.loads(nfc("check", path, "--json")[1])
    assert all({"line", "column", "message"} <= set(d) for d in found["diagnostics"])


JUNK = {
    "empty": b"",
    "zeros": bytes(4096),
    "only magic": b"\x7fELF",
    "text": b"hello",
    "not utf-8": b"endpoint f { # \xff\xfe\n otherwise forward }",
    "two megabytes": b"#" * (2 << 20),
    "two megabytes of rules": b"endpoint f { otherwise forward }\n" * 65_000,
    "deep": b"endpoint f { when " + b"(" * 20_000 + b" { drop } otherwise forward }",
    "one long line": b"const A = " + b"1 + " * 20_000 + b"1",
    "a relocatable of another machine": OBJECT[:18] + b"\x3e\x00" + OBJECT[20:],
    "half an object": OBJECT[: len(OBJECT) // 2],
}


@pytest.mark.parametrize("suffix", [".nf", ".o"])
@pytest.mark.parametrize("content", JUNK.values(), ids=JUNK)
def test_junk(nfc: Nfc, tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"junk{suffix}"
    path.write_bytes(content)
    if suffix == ".nf" and content in (b"", b"#" * (2 << 20)):
        # A program that declares nothing; there is nothing to check, and no error.
        assert nfc("check", path, "--no-load")[0] in (0, 1)
        return
    refused(nfc, path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_to_an_object(tmp_path: Path, data: st.DataObject) -> None:
    """Bytes changed, cut off, or put in: a report or an error with the path; never more."""
    content = bytearray(OBJECT)
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    survives(tmp_path / "damaged.o", bytes(content))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=600), st.sampled_from([b"", b"\x7fELF", OBJECT[:64]]))
def test_any_bytes(tmp_path: Path, content: bytes, head: bytes) -> None:
    survives(tmp_path / "random.o", head + content)
    survives(tmp_path / "random.nf", head + content)


def survives(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        reports, _ = check_path(path, ["6.1"], None, load=False)
    except NfcError as error:
        shown = error.render() if isinstance(error, SourceErrors) else error.message
        assert str(path) in shown or path.name in shown
        return
    for report in reports:
        assert str(report)
        json.dumps(report.to_json())
