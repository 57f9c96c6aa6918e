"""Debian's cloud kernels, each fetched once into a cache outside the repository.

They have what nfc needs built in (CONFIG_IPV6_SEG6_BPF, CONFIG_LWTUNNEL_BPF, BTF), veth as a
module, and start in seconds. A second apt configuration finds them: the mirror is the machine's
own, only the suite is another.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

SUITES = {"5.10": "bullseye", "6.1": "bookworm", "6.12": "trixie"}
PACKAGE = "linux-image-cloud-amd64"  # depends on the newest kernel of its suite
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
FETCH_TIMEOUT_S = 120


class UnavailableError(Exception):
    """This kernel cannot be run here; the text is one line that says why."""


@dataclass(frozen=True)
class Kernel:
    """A kernel on disk: `version` as in SUITES, `release` as its uname says it."""

    version: str
    release: str
    image: Path
    modules: Path  # the folder that holds kernel/, with .ko or .ko.xz files in it

    @property
    def update(self) -> str:
        """The update of the long-term branch, which Debian's release may not say (6.1.0-50)."""
        head = self.image.read_bytes()[: 1 << 16]  # the boot header names it
        told = re.search(rb"Debian (\d+\.\d+\.\d+)-", head)
        return told[1].decode() if told else self.release


def cache_dir() -> Path:
    """Where kernels are kept: nfc/kernels in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "nfc", "kernels")


def find_kernel(version: str) -> Kernel:
    """The kernel of this version, from the cache or fetched. Raises UnavailableError."""
    folder = cache_dir() / version
    if not folder.is_dir():
        _fetch(version, folder)
    images = list(folder.glob("boot/vmlinuz-*"))
    if len(images) != 1:
        raise UnavailableError(f"{folder} does not hold one kernel: remove it to fetch it again")
    release = images[0].name.removeprefix("vmlinuz-")
    for root in ("usr/lib", "lib"):
        modules = folder / root / "modules" / release
        if modules.is_dir():
            return Kernel(version, release, images[0], modules)
    raise UnavailableError(f"{folder} has no modules: remove it to fetch it again")


def _fetch(version: str, folder: Path) -> None:
    """Unpack the package into `folder`, which appears whole or not at all."""
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise UnavailableError(f"no {tool} to fetch kernel {version} with")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetching-") as name:
        work = Path(name)
        apt = _apt_options(work, _mirror(), SUITES[version])
        _run(version, ["apt-get", *apt, "-q", "update"], work)
        depends = _run(version, ["apt-cache", *apt, "depends", PACKAGE], work)
        packages = [word for word in depends.split() if word.startswith(f"linux-image-{version}.")]
        if not packages:
            raise UnavailableError(f"suite {SUITES[version]} has no cloud kernel {version}")
        _run(version, ["apt-get", *apt, "-q", "download", packages[0]], work)
        (package,) = work.glob("linux-image-*.deb")
        _run(version, ["dpkg-deb", "-x", package.name, "unpacked"], work)
        with contextlib.suppress(OSError):  # somebody else was quicker
            (work / "unpacked").rename(folder)


def _mirror() -> str:
    """The address of the machine's own Debian mirror. Raises UnavailableError."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    for uri in found.split():
        if uri.rstrip("/").endswith("/debian"):
            return uri
    raise UnavailableError("apt's sources name no Debian mirror to fetch kernels from")


def _apt_options(work: Path, mirror: str, suite: str) -> list[str]:
    """Options that make apt know this suite alone, and keep what it learns under `work`."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True)
    signed = f"[signed-by={KEYRING}] " if Path(KEYRING).exists() else ""
    (work / "sources.list").write_text(f"deb {signed}{mirror} {suite} main\n")
    settings = {
        "Dir::Etc::SourceList": work / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": work / "lists",
        "Dir::Cache": work / "cache",
        "APT::Architecture": "amd64",
        "APT::Sandbox::User": "root",  # else _apt would have to read this folder
        "Acquire::Languages": "none",
        "Acquire::Retries": "2",
        "Acquire::http::Timeout": "10",
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def _run(version: str, command: list[str], work: Path) -> str:
    try:
        done = subprocess.run(
            command, cwd=work, capture_output=True, text=True, check=False, timeout=FETCH_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"cannot fetch kernel {version}: the mirror is too slow") from None
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("E:")]
        reason = said[0].removeprefix("E: ") if said else f"{command[0]} failed"
        raise UnavailableError(f"cannot fetch kernel {version}: {reason}")
    return done.stdout
