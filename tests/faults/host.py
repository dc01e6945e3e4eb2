"""What this machine lets the faults do: mount, limit memory, be another user, lack flock."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
VERSION = tuple(sys.version_info[:2])
USER, GROUP = 54321, 54321  # of another user: one without an entry in passwd
ERRNOS = {"ENOSYS": 38, "ENOLCK": 37, "EOPNOTSUPP": 95}

NO_FLOCK = """
#include <errno.h>
#include <stdlib.h>
int flock(int descriptor, int operation) { errno = atoi(getenv("FLOCK_ERRNO")); return -1; }
"""

LOCALES = (("de_DE", "ISO-8859-1"), ("zh_CN", "GBK"), ("ja_JP", "EUC-JP"), ("de_DE", "UTF-8"))


class Host:
    """Each attribute is None, or empty, where this machine cannot do it; `missing` says so."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.root = os.geteuid() == 0
        self.no_flock = self._no_flock()
        self.locales = self._locales()
        self.tmpfs = self._can_mount()
        self.cgroup = self._memory_cgroup()
        self.python = self._python_of_others()

    def missing(self) -> list[str]:
        """What could not be done here, in words."""
        lacks = {
            "no flock (no C compiler)": not self.no_flock,
            "locales of other encodings (no localedef)": len(self.locales) < 2,
            "a full disk (no tmpfs may be mounted; a limit of file sizes stands for it)": (
                not self.tmpfs
            ),
            "a memory cgroup": not self.cgroup,
            "another user (not root, or a Python that others cannot run)": not self.python,
        }
        return [what for what, lacking in lacks.items() if lacking]

    def _no_flock(self) -> Path | None:
        """A library in whose presence no file can be locked; see `ERRNOS`."""
        library = self.folder / "no_flock.so"
        command = ["cc", "-shared", "-fPIC", "-xc", "-", "-o", str(library)]
        return library if _works(command, input=NO_FLOCK.encode()) else None

    def _locales(self) -> list[dict[str, str]]:
        """Environments in which text files have another encoding."""
        # Python would make UTF-8 of the C locale by itself
        plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
        found = [plain]
        for language, charmap in LOCALES:
            name = f"{language}.{charmap}"
            if _works(["localedef", "-i", language, "-f", charmap, str(self.folder / name)]):
                found.append({"LOCPATH": str(self.folder), "LC_ALL": name})
        return found

    def _can_mount(self) -> bool:
        point = self.folder / "mount"
        point.mkdir()
        return self.root and mount(point, 100_000) and unmount(point)

    def _memory_cgroup(self) -> Path | None:
        """The folder in which a group with a limit of memory can be made: of cgroup v2, or v1."""
        for parent in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory")):
            with suppress(OSError):
                trial = parent / f"faults-{os.getpid()}"
                trial.mkdir()
                limits = [trial / name for name in LIMITS if (trial / name).exists()]
                trial.rmdir()
                if limits:
                    return parent
        return None

    def _python_of_others(self) -> list[str]:
        """The words that run Python, with this environment's packages, as another user.

        The other user may not be let into the folder of this interpreter: then the system's of
        the same version serves.
        """
        for python in (sys.executable, f"/usr/bin/python{sys.version_info[0]}"):
            words = [
                "setpriv",
                f"--reuid={USER}",
                f"--regid={GROUP}",
                "--clear-groups",
                "env",
                f"PYTHONPATH={ROOT}{os.pathsep}{sysconfig.get_paths()['purelib']}",
                python,
            ]
            program = f"import robustfl, torch, sys; sys.exit(sys.version_info[:2] != {VERSION})"
            if self.root and _works([*words, "-c", program]):
                return words
        return []


LIMITS = ("memory.max", "memory.limit_in_bytes")  # the file of a group that limits it: v2, v1


def mount(point: Path, size: int) -> bool:
    """A disk of so many bytes at `point`."""
    return _works(["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", str(point)])


def enlarge(point: Path, size: int) -> bool:
    return _works(["mount", "-o", f"remount,size={size}", str(point)])


def unmount(point: Path) -> bool:
    return _works(["umount", "-l", str(point)])


def _works(command: list[str], **options) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, **options).returncode == 0
