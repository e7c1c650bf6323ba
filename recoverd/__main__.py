"""The front door: `recoverd` and `python -m recoverd`."""

import gc
import signal
import sys


def main() -> int:
    """Call the command line. Before it listens itself Ctrl-C ends the process, afterwards it changes nothing."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.set_threshold(50_000)  # what a start makes lives to its end: to look for garbage in it costs 5 ms
    from recoverd.cli.main import main as command_line

    try:
        status = command_line()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is done is done: nothing is left but to end
    except KeyboardInterrupt:
        status = 130
    gc.freeze()  # nor at the end, where it costs a tenth of what `--help` takes
    return status


if __name__ == "__main__":
    sys.exit(main())
