"""has_children.py [--forget-environment]: has a child, and a grandchild that left the session and was orphaned.

Prints their pids. With the option the grandchild carries none of its parent's environment.
"""

import os
import subprocess
import sys
import time

environment: dict[str, str] | None = {} if "--forget-environment" in sys.argv else None
child = subprocess.Popen(["/bin/sleep", "600"])
if os.fork() == 0:
    orphan = subprocess.Popen(["/bin/sleep", "600"], start_new_session=environment is None, env=environment)
    print(f"orphan {orphan.pid}", flush=True)
    os._exit(0)
os.wait()
print(f"child {child.pid}", flush=True)
time.sleep(600)
