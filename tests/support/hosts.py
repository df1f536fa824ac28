"""Several hosts on one machine: each with a name, an address, processes and temporary folders of its own.

A host is a set of Linux namespaces (network, names, processes, mounts); a bridge in a namespace of its own joins them.
They share the machine's files, one folder of which is a file system that can be filled or made read-only.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from support.scripts import ROOT, environment

PRIVATE = ("/tmp/ray", "/dev/shm")
"""Folders of which every host has its own."""
SIZE = 256
"""Size of the shared folder, in MiB."""


def why_not() -> str:
    """Why hosts cannot be made here; empty where they can."""
    missing = [name for name in ("ip", "unshare", "nsenter", "mount") if not shutil.which(name)]
    if missing:
        return f"hosts need {', '.join(missing)} (Debian: iproute2, util-linux)"
    if os.geteuid():
        return "hosts need root, to make network namespaces"
    name = f"gl{os.getpid()}-try"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "delete", name], capture_output=True)
    return f"network namespaces are not to be had here ({made.stderr.strip()})" if made.returncode else ""


def do(*words: object) -> None:
    """Carry out a command that must work."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, words))}: {done.stderr}"


class Host:
    """One host.

    Arguments:
        number: its place in the network.
        hub: the namespace that joins all.
        scratch: a folder for what is private to it.
    """

    def __init__(self, number: int, hub: str, scratch: Path) -> None:
        self.number, self.hub = number, hub
        self.name, self.address = f"host{number}", f"10.213.0.{number}"
        self.space, self.link = f"{hub}-{number}", f"link{number}"
        self.scratch = scratch / self.name
        do("ip", "netns", "add", self.space)
        do("ip", "-n", hub, "link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", self.space)
        do("ip", "-n", hub, "link", "set", self.link, "master", "bridge", "up")
        do("ip", "-n", self.space, "address", "add", f"{self.address}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            do("ip", "-n", self.space, "link", "set", link, "up")
        self.boot()

    def boot(self) -> None:
        """Start it, as after a loss of power: nothing runs on it."""
        own = []
        for place in PRIVATE:
            folder = self.scratch / place.strip("/").replace("/", "-")
            folder.mkdir(parents=True, exist_ok=True)
            own.append(f"mkdir -p {place} && mount --bind {folder} {place}")
        up = " && ".join([f"hostname {self.name}", *own, "echo up", "exec sleep infinity"])
        spaces = ["--uts", "--ipc", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc"]
        self._outer = subprocess.Popen(
            ["ip", "netns", "exec", self.space, "unshare", *spaces, "sh", "-c", up],
            stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self._outer.stdout is not None
        assert self._outer.stdout.readline() == "up\n"
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children").read_text().split()
        self._first = int(children[0])
        self._entered: list[subprocess.Popen[str]] = []

    def popen(self, *words: object, said: Path | None = None, **more: str) -> "subprocess.Popen[str]":
        """Start a command there; what it says goes to the end of a file, or is piped."""
        enter = ["nsenter", f"--target={self._first}", "--all", f"--wd={ROOT}"]
        where = subprocess.PIPE if said is None else os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        process = subprocess.Popen(
            [*enter, *map(str, words)], stdin=subprocess.DEVNULL, stdout=where, stderr=subprocess.STDOUT,
            env=environment(**more), text=True, start_new_session=True,
        )  # fmt: skip
        if said is not None:
            os.close(where)
        self._entered.append(process)
        return process

    def run(self, *words: object, seconds: float = 120, **more: str) -> "subprocess.CompletedProcess[str]":
        """Carry out a command there, to its end."""
        process = self.popen(*words, said=None, **more)
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(list(map(str, words)), process.returncode, said, "")

    def processes(self) -> list[int]:
        """All its processes, as this machine numbers them."""
        try:
            space, found = os.stat(f"/proc/{self._first}/ns/pid").st_ino, list[int]()
        except FileNotFoundError:  # it has no power
            return []
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if os.stat(path / "ns" / "pid").st_ino == space:
                    found.append(int(path.name))
        return found

    def tell(self, words: str, number: int) -> None:
        """Send a signal to the bash that carries out a script."""
        for process in self.processes():
            with suppress(OSError):
                line = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
                if line[0].endswith(b"bash") and len(line) > 1 and words.encode() in line[1]:
                    os.kill(process, number)

    def kill(self) -> None:
        """Lose power: every process is gone at once."""
        with suppress(ProcessLookupError):
            os.kill(self._first, signal.SIGKILL)
        self._outer.send_signal(signal.SIGCONT)
        self._outer.wait(20)

    def freeze(self) -> None:
        """Stop every process, as a suspended machine does."""
        for process in self.processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on."""
        outside = [process.pid for process in (self._outer, *self._entered) if process.poll() is None]
        for process in (*self.processes(), *outside):  # who waits for one of them has stopped with it
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)

    def cut(self) -> None:
        """Pull the network's cable."""
        do("ip", "-n", self.hub, "link", "set", self.link, "down")

    def join(self) -> None:
        """Put it back."""
        do("ip", "-n", self.hub, "link", "set", self.link, "up")

    def remove(self) -> None:
        """Leave nothing of it."""
        self.kill()
        subprocess.run(["ip", "netns", "delete", self.space], capture_output=True)


class Network(Sequence[Host]):
    """Hosts, and the folder that they share."""

    def __init__(self, hosts: list[Host], shared: Path) -> None:
        self.hosts, self.shared = hosts, shared

    def __getitem__(self, place: Any) -> Any:
        return self.hosts[place]

    def __len__(self) -> int:
        return len(self.hosts)

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Let nobody write to the shared folder."""
        until, remount = time.monotonic() + 20, ["mount", "-o", "remount,ro", str(self.shared)]
        while (done := subprocess.run(remount, capture_output=True, text=True)).returncode:  # while a file is open
            time.sleep(0.01)
            assert time.monotonic() < until, f"the shared folder is never at rest: {done.stderr} {self._open()}"
        try:
            yield
        finally:
            do("mount", "-o", "remount,rw", self.shared)

    def _open(self) -> list[str]:
        """The files of the shared folder that processes have open."""
        found = []
        for path in Path("/proc").glob("[0-9]*/fd/*"):
            with suppress(OSError):
                if os.readlink(path).startswith(str(self.shared)):
                    found.append(f"{path.parts[2]}: {os.readlink(path)}")
        return found

    @contextmanager
    def full(self) -> Iterator[None]:
        """Leave no space in the shared folder."""
        ballast = self.shared / ".ballast"
        with suppress(OSError), open(ballast, "wb") as file:
            while True:
                file.write(bytes(1 << 16))
        try:
            yield
        finally:
            ballast.unlink()


@contextmanager
def network(count: int, folder: Path) -> Iterator[Network]:
    """Hosts for as long as the block runs; what runs on them ends with them.

    Arguments:
        folder: an empty one, below which they share `shared`.
    """
    hub, hosts, shared = f"gl{os.getpid()}", list[Host](), folder / "shared"
    shared.mkdir()
    try:
        do("mount", "-t", "tmpfs", "-o", f"size={SIZE}m", "tmpfs", shared)
        do("ip", "netns", "add", hub)
        do("ip", "-n", hub, "link", "add", "bridge", "type", "bridge")
        do("ip", "-n", hub, "link", "set", "bridge", "up")
        for number in range(1, count + 1):
            hosts.append(Host(number, hub, folder))
        yield Network(hosts, shared)
    finally:
        for host in hosts:
            host.remove()
        subprocess.run(["ip", "netns", "delete", hub], capture_output=True)
        subprocess.run(["umount", "--lazy", str(shared)], capture_output=True)
