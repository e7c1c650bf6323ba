"""The front door: `recoverd` and `python -m recoverd`."""

import signal
import sys


def main() -> int:
    """Call the command line. Until it listens itself, Ctrl-C ends the process without a word."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from recoverd.cli.main import main as command_line

    return command_line()


if __name__ == "__main__":
    sys.exit(main())
