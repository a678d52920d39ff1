"""`python -m splitgauge.demo.leash PROGRAM ARGS...`: a child that ends with its parent, however that ends.

The parent holds the other end of the standard input and never writes. When it closes, the child gets the signal that a
graceful stop begins with. Nothing else is changed: a module runs as `python -m PROGRAM ARGS...` would, and a script,
known by its suffix, as `python PROGRAM ARGS...`.
"""

import os
import runpy
import signal
import sys
import threading
from pathlib import Path

__all__ = ["hold", "main"]


def hold(descriptor: int = 0) -> None:
    """From now on, end with the process at the other end of the descriptor: the standard input, unless said."""
    threading.Thread(target=_wait_for_the_end, args=(descriptor,), name="leash", daemon=True).start()


def main() -> None:
    """Become the program."""
    hold()
    sys.argv = sys.argv[1:]
    if sys.argv[0].endswith(".py"):
        sys.path[0] = str(Path(sys.argv[0]).parent)
        runpy.run_path(sys.argv[0], run_name="__main__")
    else:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _wait_for_the_end(descriptor: int) -> None:
    while os.read(descriptor, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
