"""Pins outlive processes, give way in one step, and are found again."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kernel import asm
from nfc.bpf.object import MapDef, Object, Program
from nfc.errors import KernelError, UsageError
from nfc.kernel import maps, pins, programs
from nfc.kernel.loader import load
from nfc.kernel.maps import Map

ARRAY = MapDef("kept", maps.ARRAY, 4, 4, 1)


@pytest.mark.kernel
@pytest.mark.usefixtures("no_leak")
class TestPins:
    def test_a_pin_outlives_its_process(self, bpffs: Path) -> None:
        script = (
            "import sys; from pathlib import Path; from nfc.bpf.object import MapDef\n"
            "from nfc.kernel import maps, pins\n"
            "m = maps.Map.create(MapDef('kept', maps.ARRAY, 4, 4, 1))\n"
            "m.update(bytes(4), b'here')\n"
            "pins.pin(m.fd, Path(sys.argv[1])); print(m.info.id)\n"
        )
        path = bpffs / "deep" / "er" / "map"
        done = subprocess.run(
            [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
        )
        with Map.of(pins.open_pinned(path)) as m:
            assert m.info.id == int(done.stdout)
            assert m.lookup(bytes(4)) == b"here"

    def test_list_tells_maps_from_programs(self, bpffs: Path) -> None:
        obj = Object((Program("least", "s", asm.RETURN_0),), (ARRAY,), license="GPL")
        with load(obj, "least", hook="xmit") as loaded:
            pins.pin(loaded.fd, bpffs / "p")
            pins.pin(loaded.maps["kept"].fd, bpffs / "d" / "m")
            ident = loaded.info().id
            map_id = loaded.maps["kept"].info.id
        assert pins.list_pins(bpffs) == (
            pins.Pin(bpffs / "p", "program", ident, "least"),
            pins.Pin(bpffs / "d" / "m", "map", map_id, "kept"),
        )
        with pins.open_pinned(bpffs / "p") as fd:
            assert programs.info(fd).id == ident
        assert pins.unpin(bpffs / "p")
        assert not pins.unpin(bpffs / "p")
        with pytest.raises(KernelError):
            programs.info_by_id(ident)

    def test_a_name_in_use_is_kept_unless_replace(self, bpffs: Path) -> None:
        with Map.create(ARRAY) as first, Map.create(ARRAY) as second:
            pins.pin(first.fd, bpffs / "m")
            with pytest.raises(KernelError) as refused:
                pins.pin(second.fd, bpffs / "m")
            assert refused.value.errno == 17
            with Map.of(pins.open_pinned(bpffs / "m")) as there:
                assert there.info.id == first.info.id
            pins.pin(second.fd, bpffs / "m", replace=True)
            with Map.of(pins.open_pinned(bpffs / "m")) as there:
                assert there.info.id == second.info.id
        assert [pin.path.name for pin in pins.list_pins(bpffs)] == ["m"]

    def test_while_a_pin_is_replaced_a_reader_always_finds_one(self, bpffs: Path) -> None:
        with Map.create(ARRAY) as first, Map.create(ARRAY) as second:
            pins.pin(first.fd, bpffs / "m")
            stop = threading.Event()
            failures: list[KernelError] = []

            def look() -> None:
                while not stop.is_set():
                    try:
                        pins.open_pinned(bpffs / "m").close()
                    except KernelError as error:
                        failures.append(error)

            reader = threading.Thread(target=look)
            reader.start()
            for n in range(300):
                pins.pin((first, second)[n % 2].fd, bpffs / "m", replace=True)
            stop.set()
            reader.join()
            assert failures == []

    def test_a_directory_in_the_way_is_an_error_and_leaves_nothing(self, bpffs: Path) -> None:
        (bpffs / "m").mkdir()
        with Map.create(ARRAY) as m, pytest.raises(KernelError, match="replace the pin"):
            pins.pin(m.fd, bpffs / "m", replace=True)
        assert [p.name for p in bpffs.iterdir()] == ["m"]

    def test_elsewhere_is_refused_with_a_hint(self, tmp_path: Path) -> None:
        with Map.create(ARRAY) as m, pytest.raises(KernelError) as refused:
            pins.pin(m.fd, tmp_path / "m")
        assert "BPF file system" in (refused.value.hint or "")

    def test_opening_nothing_and_what_is_no_pin(self, bpffs: Path) -> None:
        for path in (bpffs / "none", Path("/etc/passwd"), bpffs):
            with pytest.raises(KernelError, match="open the pin"):
                pins.open_pinned(path)

    def test_a_file_system_is_mounted_once_and_seen(self, tmp_path: Path) -> None:
        # In a mount namespace of its own, so that nothing stays.
        script = (
            "import sys; from pathlib import Path; from nfc.kernel import pins\n"
            "root = Path(sys.argv[1]); print(pins.mounted(root))\n"
            "pins.ensure_mounted(root); pins.ensure_mounted(root); print(pins.mounted(root))\n"
            "print(Path('/proc/self/mountinfo').read_text().count('a\\\\040b'))\n"
        )
        command = ["unshare", "-m", sys.executable, "-c", script, str(tmp_path / "a b")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["False", "True", "1"]
        assert not pins.mounted(tmp_path / "a b")


@pytest.mark.parametrize(
    "path", ["relative", "/sys/fs/bpf/a.b", "/sys/fs/bpf/../x", "/", "/a\0b", "/" + "x" * 256]
)
def test_paths_that_cannot_be_are_refused(path: str) -> None:
    with pytest.raises(UsageError):
        pins.unpin(Path(path))
