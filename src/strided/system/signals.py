"""Ctrl-C and SIGTERM: finish the batch, save, and leave with the right exit code."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_STOPS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """The user or the cluster asked to stop. BaseException, as KeyboardInterrupt is."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.exit_code = 128 + signum  # 130 for Ctrl-C, 143 for SIGTERM


class Interruption:
    """Turns SIGINT and SIGTERM into Interrupted: at once, or during fit where it can be saved.

    While `deferred` is true the first signal is only noted, for the checkpoint callback to act on
    after the batch; a second one stops at once.
    """

    def __init__(self) -> None:
        self.deferred = False
        self.requested: int | None = None
        self._raised: int | None = None

    @contextmanager
    def listening(self) -> Iterator["Interruption"]:
        """Handle the signals within this block; elsewhere than the main thread, do nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        report_lost, sys.unraisablehook = sys.unraisablehook, self._send_again
        self.take_over()
        try:
            yield self
        except Exception as error:
            if self._raised is None:
                raise
            raise Interrupted(self._raised) from error  # which a library has made its own error
        finally:
            sys.unraisablehook = report_lost
            for number, handler in before.items():
                signal.signal(number, handler)

    def _send_again(self, lost: "sys.UnraisableHookArgs") -> None:
        """Python drops what is raised in a destructor: send a signal that came there once more."""
        if isinstance(lost.exc_value, Interrupted):
            # later, since the destructor is still running
            threading.Timer(0.1, os.kill, (os.getpid(), self._raised)).start()
        else:
            sys.__unraisablehook__(lost)

    def take_over(self) -> None:
        """Become the handler: again once Lightning's Trainer has registered its own."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._handle)
            signal.signal(signal.SIGTERM, self._handle)

    def _handle(self, signum: int, _: FrameType | None) -> None:
        if self.deferred and self.requested is None:
            self.requested = signum
            # not logging, which may be the very thing that the signal interrupted
            os.write(2, b"\nstopping after this batch, to save it; once more stops at once\n")
            return
        self._raised = signum
        raise Interrupted(signum)

    @contextmanager
    def deferring(self) -> Iterator[None]:
        """Within this block the first signal waits for the checkpoint callback."""
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


def stop_with_parent(parent: int) -> None:
    """Send SIGTERM to this process once `parent` is gone: killed, it cannot pass a signal on."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def held_back() -> Iterator[None]:
    """Hold back signals while processes start, which still have the handlers of their parent.

    Blocked for what is started, and noted for this one, where another thread may receive them: what
    a handler raises while Python forks is lost.
    """
    if (
        not hasattr(signal, "pthread_sigmask")
        or threading.current_thread() is not threading.main_thread()
    ):
        yield
        return
    noted: list[int] = []
    handlers = {number: signal.getsignal(number) for number in _STOPS}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    try:
        for number in _STOPS:
            signal.signal(number, lambda number, _: noted.append(number))
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # those that are blocked come now
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for signum in noted[:1]:
            signal.raise_signal(signum)


def follow_parent(_: int = 0) -> None:
    """In a process that works for another one: end with it, and leave signals to it.

    At once, since a forked process holds the lock of the run's folder too. A terminal and a cluster
    send Ctrl-C and SIGTERM to all processes of a run: only a SIGTERM of the parent itself, which
    is how it gets rid of this process, ends it.
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

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    spawned = multiprocessing.get_start_method() == "spawn"  # would be disturbed in its exit
    if spawned or not hasattr(signal, "sigwaitinfo"):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if hasattr(signal, "pthread_sigmask"):  # who started it may have held that back
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    else:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # first: threads inherit it
        threading.Thread(target=end_when_told, daemon=True).start()
    threading.Thread(target=end_with_parent, daemon=True).start()
