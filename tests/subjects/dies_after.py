"""dies_after.py SECONDS: runs for so long, then exits with status 7."""

import sys
import time

print("ready", flush=True)
time.sleep(float(sys.argv[1]))
print("dying", file=sys.stderr, flush=True)
sys.exit(7)
