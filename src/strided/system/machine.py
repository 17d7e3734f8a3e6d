"""What this process has of its machine: cores, and a folder for itself."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from strided.errors import UserError

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


def cores() -> int:
    """Return how many cores this process may use, which a cluster may have limited."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def alone_in(file: Path, *, wait: bool = False) -> Iterator[int | None]:
    """Hold the lock of a folder (of a run, a sweep, a store), which is one on a `file` there.

    Two processes that resume the same run would overwrite each other's checkpoints. Yields the
    file descriptor: a child process that inherits it holds the lock too; None on systems without
    locks. Raises UserError when another process holds it, or with `wait` waits for that.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no flock
        yield None
        return
    with file.open("a") as stream:
        held: int | None = stream.fileno()
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise UserError(
                f"another process is at work in {file.parent}; expected one at a time. "
                "Try again when it has ended"
            ) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            held = None
        yield held
