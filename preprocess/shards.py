"""Shards: parts of an archive's studies for runs that know nothing of each other, as in a job array."""

import hashlib
import hmac
from dataclasses import dataclass

from preprocess.errors import InputError


@dataclass(frozen=True)
class Shard:
    """One of several runs that share an archive's studies.

    Attributes:
        number: Which one, from 1 on.
        count: How many there are.
    """

    number: int
    count: int

    def holds(self, study_id: str, key: bytes) -> bool:
        """Whether a study belongs to this shard, by keyed hash of its name: no two shards share one."""
        digest = hmac.new(key, b"shard:" + study_id.encode(), hashlib.sha256).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1


def read_shard(text: str) -> Shard:
    """The shard that `k/n` names.

    Raises:
        InputError: It is not `k/n` with k from 1 to n.
    """
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise InputError(f"shard={text}: give k/n, with k from 1 to n, as in shard=3/16")
    return Shard(int(number), int(count))
