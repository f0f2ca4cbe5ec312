"""The process on the other side of `worker`: does calls, keeps what it has loaded, and ends with its parent.

python -m preprocess.child DESCRIPTOR MODULE:FUNCTION
"""

import contextlib
import ctypes
import importlib
import logging
import os
import select
import signal
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from preprocess.errors import CtvlpError

IDLE_SECONDS = 600.0
"""A child that gets nothing to do for so long ends; its parent starts another when it needs one."""
_PR_SET_PDEATHSIG = 1
_FIRST_TO_GO = "500"


def serve(connection: "Connection[Any, Any]", target: str) -> None:
    """Do what comes over the connection until nothing comes any more.

    A call is a tuple of arguments. Answers are `("ready", None)` once, then for each call `("taken", None)`, any number
    of `("facts", dict)` and one `("result", value)` or `("error", CtvlpError)`. Any other exception is a defect and
    ends the process with a traceback.

    Args:
        connection: To the parent.
        target: `module:function`, called with the arguments and `tell`, which takes facts about the call as keywords.
    """

    def tell(**facts: object) -> None:
        connection.send(("facts", facts))

    module, name = target.split(":")
    function = getattr(importlib.import_module(module), name)
    connection.send(("ready", None))
    while connection.poll(IDLE_SECONDS):
        try:
            arguments = connection.recv()
        except EOFError:
            return
        connection.send(("taken", None))
        try:
            answer = ("result", function(*arguments, tell=tell))
        except CtvlpError as error:
            answer = ("error", error)
        connection.send(answer)


def _end_with_parent(descriptor: int) -> None:
    """Kill this process and its group as soon as the parent is gone, whatever ended it.

    The thread sees the connection hang up. It needs the interpreter, which a hanging library may hold for ever: Linux
    then ends this process by itself.
    """

    def watch() -> None:
        hangup = select.poll()
        hangup.register(descriptor, 0)
        hangup.poll()
        os.killpg(os.getpid(), signal.SIGKILL)

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=watch, name="hangup", daemon=True).start()


def _die_first() -> None:
    """Where memory runs out, Linux takes a study rather than the run, its scheduler or another program."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)


def main(arguments: list[str]) -> None:
    """Serve the parent that holds the other end of a descriptor."""
    descriptor, target = int(arguments[0]), arguments[1]
    os.set_inheritable(descriptor, False)
    for number in (signal.SIGTERM, signal.SIGINT):  # a parent may ignore them, which its children would inherit
        signal.signal(number, signal.SIG_DFL)
    _end_with_parent(descriptor)
    _die_first()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        serve(Connection(descriptor), target)


if __name__ == "__main__":
    main(sys.argv[1:])
