"""System calls on a ledger's files that fail when a test says so: the k-th of a kind, so often."""

import errno
import mmap
import pathlib
import shutil
import signal
import struct
import subprocess
import tempfile

from conftest import ROOT

KINDS = ("open", "write", "sync", "rename", "unlink", "map", "allocate", "read")
FOR_EVER = 1 << 30
_FAULT = struct.Struct("<4i")


class FaultyDisk:
    """`environment` is for the daemon whose ledger lies at `ledger`. Unlike strace it counts the
    calls of all threads together, and can say when to stop."""

    def __init__(self, ledger):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="tgf", dir="/tmp"))
        library, control = self.directory / "disk.so", self.directory / "faults"
        subprocess.run(["clang", "-shared", "-fPIC", "-O1", "-o", library,
                        ROOT / "Tests/FaultyDisk/disk.c", "-ldl"], check=True)
        control.write_bytes(bytes(_FAULT.size * len(KINDS)))
        with open(control, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 0)
        self.environment = {"LD_PRELOAD": str(library), "TOLLGATE_TEST_FAULTS": str(control),
                            "TOLLGATE_TEST_LEDGER": str(ledger)}

    def fail(self, kind, error, k=1, times=FOR_EVER):
        """From the k-th call on that is made from now on; with EINTR each other of them."""
        self._set(kind, getattr(errno, error), k, times)

    def shorten(self, kind, k=1, times=FOR_EVER):
        """They read, or write, half of what they were asked for."""
        self._set(kind, 0, k, times)

    def kill(self, kind, k=1):
        """The daemon, before it makes the k-th call from now on."""
        self._set(kind, -signal.SIGKILL, k, 1)

    def _set(self, kind, error, k, times):
        self.heal(kind)
        at = _FAULT.size * KINDS.index(kind)
        self.memory[at : at + 8] = struct.pack("<2i", error, k - 1)
        self.memory[at + 8 : at + 12] = struct.pack("<i", times)

    def failed(self, kind):
        """How many have, since the last `fail`."""
        return _FAULT.unpack_from(self.memory, _FAULT.size * KINDS.index(kind))[3]

    def heal(self, *kinds):
        for kind in kinds or KINDS:
            at = _FAULT.size * KINDS.index(kind)
            # No more first: what counts down meanwhile does no harm.
            self.memory[at + 8 : at + 12] = bytes(4)
            self.memory[at : at + _FAULT.size] = bytes(_FAULT.size)

    def remove(self):
        self.memory.close()
        shutil.rmtree(self.directory)
