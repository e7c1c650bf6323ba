"""restarts_itself.py SECONDS FILE: after so long it starts itself anew, in a session of its own, and ends; once.

As long as it runs, also anew, it holds a lock on its file; who can't have that says so and goes on.
"""

import fcntl
import os
import sys
import time

if len(sys.argv) > 3:
    time.sleep(600)
lock = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT, 0o600)
os.set_inheritable(lock, True)
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("twice", flush=True)
print("ready", flush=True)
time.sleep(float(sys.argv[1]))
print("anew", flush=True)
if os.fork() == 0:
    os.setsid()
    os.execv(sys.executable, [sys.executable, *sys.argv, "anew"])
