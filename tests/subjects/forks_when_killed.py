"""Answers SIGTERM by leaving a child, in a session of its own, that ignores SIGTERM and in turn has a child."""

import os
import signal
import sys
import time
from types import FrameType


def multiply(number: int, frame: FrameType | None) -> None:
    for _ in range(2):
        if os.fork():
            sys.exit(0)
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)


signal.signal(signal.SIGTERM, multiply)
print("ready", flush=True)
time.sleep(600)
