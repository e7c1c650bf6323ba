"""A background session: says where it is, works until it is told to end, and says goodbye. `session.py ID`.

An ID that starts with `broken` ends at once, with a reason.
"""

from __future__ import annotations

import os
import signal
import sys

name = sys.argv[1]
print(f"{name} begins in {os.getcwd()}", flush=True)
if name.startswith("broken"):
    print("the model does not answer", flush=True)
    sys.exit(3)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
signal.sigwait({signal.SIGTERM})
print(f"{name} has saved its work", flush=True)
