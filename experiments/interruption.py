"""SIGINT and SIGTERM as an exception that nothing on the way mistakes for the end of training."""

import signal
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal asked the program to stop."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


def raise_on_signals() -> None:
    """Let SIGINT and SIGTERM raise ``Interrupted`` in the main thread; a second one ends the program at once."""
    for signum in SIGNALS:
        signal.signal(signum, raise_interrupted)


def raise_interrupted(signum: int, frame: FrameType | None) -> None:
    """Raise ``Interrupted``."""
    for later in SIGNALS:
        signal.signal(later, signal.SIG_DFL)
    raise Interrupted(signum)
