"""has_children.py [--forget-environment]: has a child that left the session, and an orphaned grandchild that did too.

Prints their pids. With the option both are without environment, and the grandchild stays in the session.
"""

import os
import subprocess
import sys
import time

environment: dict[str, str] | None = {} if "--forget-environment" in sys.argv else None
child = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True, env=environment)
if os.fork() == 0:
    orphan = subprocess.Popen(["/bin/sleep", "600"], start_new_session=environment is None, env=environment)
    print(f"orphan {orphan.pid}", flush=True)
    os._exit(0)
os.wait()
print(f"child {child.pid}", flush=True)
time.sleep(600)
