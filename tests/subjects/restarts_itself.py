"""restarts_itself.py SECONDS: after so long it starts itself anew, in a session of its own, and ends; once."""

import os
import sys
import time

if len(sys.argv) > 2:
    print("anew", flush=True)
    time.sleep(600)
print("ready", flush=True)
time.sleep(float(sys.argv[1]))
if os.fork() == 0:
    os.setsid()
    os.execv(sys.executable, [sys.executable, *sys.argv, "anew"])
