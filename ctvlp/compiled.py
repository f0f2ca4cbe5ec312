"""Functions compiled by numba."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compiled(*freedoms: str) -> Callable[[Kernel], Kernel]:
    """Compile a function on its first call and keep the result on disk; it runs without the interpreter's lock.

    Args:
        freedoms: What LLVM may do to sums and products of floats, as numba's `fastmath` names it.
    """
    return cast("Callable[[Kernel], Kernel]", numba.njit(cache=True, nogil=True, fastmath=set(freedoms)))
