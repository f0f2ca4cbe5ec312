"""Functions that a worker's child calls in tests; nothing heavy is imported, so that children start at once."""

import os
import signal
import subprocess
import sys
import time

from preprocess.errors import InputError

_CALLS = []


def act(what, *arguments, tell):
    """Does what its first argument names."""
    _CALLS.append(what)
    return ACTS[what](*arguments, tell=tell)


def _echo(value, tell):
    tell(stage="echo")
    return value, os.getpid(), len(_CALLS)


def _sleep(tell):
    tell(stage="first")
    tell(stage="masks", shape=(4, 5, 6))
    time.sleep(600)


def _allocate(tell):
    held = []
    while True:
        held.append(os.urandom(1 << 20) * 8)
        time.sleep(0.002)


def _spawn_and_sleep(path, tell):
    """A process that its child starts, and that holds all descriptors open, must not outlive it."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], close_fds=False) as process:
        path.write_text(str(process.pid))
        time.sleep(600)


def _fork_and_die(path, tell):
    """The connection stays open in a process that the child forked."""
    number = os.fork()
    if not number:
        time.sleep(600)
    path.write_text(str(number))
    os.kill(os.getpid(), signal.SIGSEGV)


def _memory_of_children(size_bytes, tell):
    code = f"import time; x = b'x' * {size_bytes}; time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code]):
        time.sleep(600)


def _refuse(tell):
    raise InputError("store /s cannot be written: No space left on device")


def _defect(tell):
    raise ZeroDivisionError("in a test")


def _threads(tell):
    import numba
    import numpy as np
    import SimpleITK
    import threadpoolctl
    from numcodecs import blosc

    np.ones((8, 8)) @ np.ones((8, 8))
    blosc.compress(bytes(10_000_000), b"zstd", 1, blosc.SHUFFLE)  # one block alone would not make it look
    import zarr  # which takes threads from blosc by itself

    pools = {
        f"{pool['internal_api']} {pool['filepath']}": pool["num_threads"] for pool in threadpoolctl.threadpool_info()
    }
    return {
        **pools,
        "itk": SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads(),
        "numba": numba.get_num_threads(),
        "blosc": blosc.get_nthreads(),
        "zarr": zarr.config.get("threading.max_workers"),
    }


ACTS = {
    "echo": _echo,
    "sleep": _sleep,
    "allocate": _allocate,
    "spawn": _spawn_and_sleep,
    "fork": _fork_and_die,
    "memory of children": _memory_of_children,
    "refuse": _refuse,
    "defect": _defect,
    "signal": lambda number, tell: os.kill(os.getpid(), number),
    "exit": lambda status, tell: os._exit(status),
    "print": lambda tell: sys.stdout.write("from a network\n"),
    "environment": lambda names, tell: {name: os.environ.get(name) for name in names},
    "handler": lambda number, tell: signal.getsignal(number),
    "threads": _threads,
}
