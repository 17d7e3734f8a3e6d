"""Ctrl-C, SIGTERM, a closed terminal: finish the batch, save, end with the right exit code."""

import multiprocessing
import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

STOPS = tuple(  # Windows has no SIGHUP, which a terminal sends when it is closed
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


def heeded() -> list[int]:
    """Return the signals to act on: nohup ignores SIGHUP, so that a run goes on without it."""
    hangup = getattr(signal, "SIGHUP", None)
    ignored = hangup is not None and signal.getsignal(hangup) is signal.SIG_IGN
    return [number for number in STOPS if not (ignored and number == hangup)]


class Interrupted(BaseException):
    """The user or the cluster asked to stop. It is a BaseException, as KeyboardInterrupt is."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.exit_code = 128 + signum  # 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP


class Interruption:
    """Turns the signals of STOPS into Interrupted: at once, or in fit when it can be saved.

    While `deferred` is true, the first signal is only recorded: the checkpoint callback acts on it
    after the batch. A second signal stops at once.
    """

    def __init__(self) -> None:
        self.deferred = False
        self.requested: int | None = None
        self._raised: int | None = None

    @contextmanager
    def listening(self) -> Iterator["Interruption"]:
        """Handle the signals inside this block; does nothing outside the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.getsignal(number) for number in STOPS}
        report_lost, sys.unraisablehook = sys.unraisablehook, self._send_again
        self.take_over()
        try:
            yield self
        except Exception as error:
            if self._raised is None:
                raise
            raise Interrupted(self._raised) from error  # a library has turned it into another error
        finally:
            sys.unraisablehook = report_lost
            for number, handler in before.items():
                signal.signal(number, handler)

    def _send_again(self, lost: "sys.UnraisableHookArgs") -> None:
        """Send a signal again that came in a destructor: Python drops what is raised there."""
        if isinstance(lost.exc_value, Interrupted):
            # later, since the destructor is still running
            threading.Timer(0.1, os.kill, (os.getpid(), self._raised)).start()
        else:
            sys.__unraisablehook__(lost)

    def take_over(self) -> None:
        """Become the handler; call it again once Lightning's Trainer has registered its handler."""
        if threading.current_thread() is threading.main_thread():
            for number in heeded():
                signal.signal(number, self._handle)

    def _handle(self, signum: int, _: FrameType | None) -> None:
        leave_closed_terminal()
        if self.deferred and self.requested is None:
            self.requested = signum
            # not logging, which the signal may have interrupted
            os.write(2, b"\nstopping after this batch, to save it; another signal stops at once\n")
            return
        self._raised = signum
        raise Interrupted(signum)

    @contextmanager
    def deferring(self) -> Iterator[None]:
        """Let the first signal inside this block wait for the checkpoint callback."""
        self.deferred = True
        try:
            yield
            self.raise_if_requested()  # it came after the last epoch was saved
        finally:
            self.deferred = False

    def raise_if_requested(self) -> None:
        """Stop now if a signal came while it was deferred."""
        if self.requested is not None:
            raise Interrupted(self.requested)


def leave_closed_terminal() -> None:
    """Send output nowhere if its terminal was closed: every print would fail before the save."""
    for descriptor in (1, 2):
        with suppress(OSError):  # it was closed before
            is_device = stat.S_ISCHR(os.fstat(descriptor).st_mode)
            if is_device and not os.isatty(descriptor):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, descriptor)
                os.close(nowhere)


def stop_with_parent(parent: int) -> None:
    """Send SIGTERM to this process once `parent` is gone: a killed parent passes no signal on."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def held_back() -> Iterator[None]:
    """Hold back signals while processes start, since they still have their parent's handlers.

    They are blocked for the new processes. In this one another thread may receive them, so they are
    recorded: an exception that a handler raises while Python forks is lost.
    """
    if (
        not hasattr(signal, "pthread_sigmask")
        or threading.current_thread() is not threading.main_thread()
    ):
        yield
        return
    noted: list[int] = []
    handlers = {number: signal.getsignal(number) for number in STOPS}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        for number in STOPS:
            signal.signal(number, lambda number, _: noted.append(number))
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # blocked signals arrive now
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for signum in noted[:1]:
            signal.raise_signal(signum)


def follow_parent(_: int = 0) -> None:
    """End a worker process with its parent, and leave signals to the parent.

    It has to end at once, since a forked process also holds the lock of the run's folder. A
    terminal and a cluster send their signals to all processes of a run. Only a SIGTERM from the
    parent, which stops its workers so, ends this process.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None, "for processes that multiprocessing starts"

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    def end_when_told() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent.pid:
            pass
        os._exit(0)

    for number in STOPS:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    spawned = multiprocessing.get_start_method() == "spawn"  # would be disturbed in its exit
    if spawned or not hasattr(signal, "sigwaitinfo"):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if hasattr(signal, "pthread_sigmask"):  # the starting process may have held it back
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    else:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # first: threads inherit it
        threading.Thread(target=end_when_told, daemon=True).start()
    threading.Thread(target=end_with_parent, daemon=True).start()
