"""This process's part of the machine: cores, and a folder for itself."""

import errno
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from strided.errors import UserError, printable

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


def cores() -> int:
    """Return the number of cores this process may use; a cluster or a container may limit it."""
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
        return min(allowed, quota() or allowed)
    return os.cpu_count() or 1


def quota(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int | None:
    """Return how many cores' time the control groups of this process allow, rounded up.

    None without a limit. Linux, both versions of control groups: a container of `--cpus=2` sees all
    cores of the machine, and more threads than two would be halted in turn.
    """
    shares = []
    with suppress(OSError, ValueError):
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
        for _, kinds, path in lines:
            if kinds == "":
                files = _above(root, path, "cpu.max")
                shares += [_share(*file.read_text().split()) for file in files]
            elif "cpu" in kinds.split(","):
                for file in _above(root / "cpu", path, "cpu.cfs_quota_us"):
                    period = file.with_name("cpu.cfs_period_us").read_text()
                    shares.append(_share(file.read_text(), period))
    limits = [share for share in shares if share is not None]
    return max(1, math.ceil(min(limits))) if limits else None


def _above(root: Path, path: str, name: str) -> list[Path]:
    """The files of this name in a group and in those above it, as far as this process sees them."""
    group = root / path.lstrip("/")
    return [file for place in (group, *group.parents) if (file := place / name).is_file()]


def _share(allowed: str, period: str) -> float | None:
    """Cores, of microseconds in each period; None for no limit, which is max, or -1."""
    return int(allowed) / int(period) if allowed.strip() not in ("max", "-1") else None


def host_memory() -> tuple[int, int, int | None] | None:
    """Return the bytes of this machine's memory, those free, and what this process may take.

    The last is None without a limit. None in all on systems other than Linux.
    """
    try:
        import resource

        lines = Path("/proc/meminfo").read_text().splitlines()
    except (ImportError, OSError):
        return None
    kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    allowed = None if limit == resource.RLIM_INFINITY else limit
    return kib["MemTotal"] * 1024, kib["MemAvailable"] * 1024, allowed


@contextmanager
def alone_in(file: Path, *, wait: bool = False) -> Iterator[int | None]:
    """Lock a folder (of a run, a sweep, a store) through a `file` in it.

    Two processes that resume the same run would overwrite each other's checkpoints. Yields the
    file descriptor, None on systems without locks; a child process that inherits it holds the lock
    too. If another process holds the lock, raises UserError, or waits if `wait` is true. A `file`
    that is there and is none, such as a stranger's link or pipe, is a UserError as well.
    """
    if os.name == "nt":  # Windows has no flock
        yield None
        return
    opened = _opened(file)
    try:
        yield opened if _locked(opened, file, wait) else None
    finally:
        os.close(opened)


def _locked(opened: int, file: Path, wait: bool) -> bool:
    """Lock an open file; False if its file system has no locks."""
    import fcntl

    try:
        fcntl.flock(opened, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError as error:
        raise UserError(
            f"another process is at work in {file.parent}; expected one at a time. "
            "Try again when it has ended"
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def _opened(file: Path) -> int:
    """Open or create a file of this very name; opening a pipe would wait for who reads it."""
    try:
        opened = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):  # link, folder, socket
            raise
        raise _no_file(file) from error
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise _no_file(file)
    return opened


def _no_file(file: Path) -> UserError:
    return UserError(
        f"{printable(str(file))} is a link, folder, pipe or device; expected a file, which "
        "processes lock to wait for each other. Try another copy of the folder, or remove it"
    )
