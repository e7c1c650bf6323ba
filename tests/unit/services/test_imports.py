"""`recoverd check` asks every service for its status: that must not cost imports (promise 11)."""

from __future__ import annotations

import subprocess
import sys


def test_status_imports_nothing_heavy() -> None:
    """What only a start, a stop or a probe needs is imported by them."""
    code = "import sys, recoverd.services.command; print(*sys.modules)"
    # without environment, else a measured run would load what coverage needs
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={}).stdout.split()
    )
    assert not loaded & {"psutil", "yaml", "jsonschema", "subprocess", "ssl", "http.client", "threading"}
