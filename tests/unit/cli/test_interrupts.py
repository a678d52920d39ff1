"""Ctrl-C ends a command that waits, also where the signal does not break the wait itself."""

import subprocess
import sys

_INTERRUPTED_ASLEEP = """
import asyncio, signal, threading, time
from splitgauge.cli.interrupts import run

def interrupt():
    # In this thread: the main one goes on sleeping, as it does where the signal came just before it fell asleep.
    time.sleep(0.2)
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)

async def wait():
    threading.Thread(target=interrupt).start()
    try:
        await asyncio.Event().wait()
    finally:
        print("cleaned up")

try:
    run(wait())
except KeyboardInterrupt:
    print("interrupted")
print(signal.set_wakeup_fd(-1), signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


def test_sleep_that_the_signal_does_not_break_is_ended() -> None:
    command = [sys.executable, "-c", _INTERRUPTED_ASLEEP]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (ended.stdout, ended.stderr) == ("cleaned up\ninterrupted\n-1 True\n", "")
