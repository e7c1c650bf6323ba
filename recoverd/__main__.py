"""The front door: `recoverd` and `python -m recoverd`."""

import gc
import signal
import sys


def main() -> int:
    """Call the command line. Until it listens itself, Ctrl-C ends the process without a word."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.set_threshold(50_000)  # what a start makes lives to its end: to look for garbage in it costs 5 ms
    from recoverd.cli.main import main as command_line

    return command_line()


if __name__ == "__main__":
    sys.exit(main())
