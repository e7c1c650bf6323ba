"""flushes_at_exit.py FILE: its file is damaged as long as it runs; asked to stop, it writes what is in its memory."""

import signal
import sys
import time
from pathlib import Path
from types import FrameType

file = Path(sys.argv[1])


def flush(number: int, frame: FrameType | None) -> None:
    time.sleep(0.2)
    file.write_text('{"flushed": true}')
    sys.exit(0)


signal.signal(signal.SIGTERM, flush)
file.write_text("")
print("ready", flush=True)
time.sleep(600)
