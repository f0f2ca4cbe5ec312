"""Limits of a study, and what a machine has under the control groups of containers and batch systems."""

import psutil
import pytest

from preprocess import limits
from preprocess.errors import InputError
from preprocess.limits import Limits, cgroup_memory, default_workers, machine_memory

GIB = 1 << 30

GROUPS = {
    "version 2, limited above": ("0::/slurm/job_7/step_0\n", {"slurm/job_7/memory.max": GIB}, GIB),
    "version 2, the lowest counts": ("0::/a/b\n", {"a/memory.max": 3 * GIB, "a/b/memory.max": 2 * GIB}, 2 * GIB),
    "version 2, without limit": ("0::/a\n", {"a/memory.max": "max"}, None),
    "container, its own root": ("0::/\n", {"memory.max": 5 * GIB}, 5 * GIB),
    "version 1": ("4:cpu:/x\n3:memory:/x\n", {"memory/x/memory.limit_in_bytes": GIB}, GIB),
    "version 1, seen from inside": ("3:memory:/docker/7\n", {"memory/memory.limit_in_bytes": GIB}, GIB),
    "not limited": ("0::/a\n", {}, None),
}


@pytest.mark.parametrize(("membership", "files", "limit"), GROUPS.values(), ids=GROUPS)
def test_the_limit_of_a_control_group_is_found(tmp_path, membership, files, limit):
    (tmp_path / "cgroup").write_text(membership)
    for name, value in files.items():
        (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / name).write_text(f"{value}\n")
    assert cgroup_memory(tmp_path / "cgroup", tmp_path / "fs") == limit


def test_a_system_without_control_groups_has_no_such_limit(tmp_path):
    assert cgroup_memory(tmp_path / "nowhere", tmp_path) is None


@pytest.mark.parametrize(("limit", "expected"), [(None, None), (GIB, GIB), (1 << 60, None)])
def test_the_machine_has_what_is_there_or_allowed(monkeypatch, limit, expected):
    monkeypatch.setattr(limits, "cgroup_memory", lambda: limit)
    assert machine_memory() == (expected or psutil.virtual_memory().total)


def test_memory_is_shared_out_where_no_limit_is_given(monkeypatch):
    monkeypatch.setattr(limits, "machine_memory", lambda: 40 * GIB)
    assert [Limits().budget_bytes(count) for count in (1, 4)] == [36 * GIB, 9 * GIB]
    assert [Limits(memory_bytes=GIB).budget_bytes(count) for count in (1, 4)] == [GIB, GIB]


@pytest.mark.parametrize(
    ("memory", "network", "workers"),
    [(1000 * GIB, False, 8), (20 * GIB, False, 6), (20 * GIB, True, 3), (2 * GIB, True, 1)],
    ids=["one a core", "memory is short", "networks need more", "at least one"],
)
def test_there_are_no_more_workers_than_cores_and_memory_allow(monkeypatch, memory, network, workers):
    monkeypatch.setattr(limits, "machine_memory", lambda: memory)
    monkeypatch.setattr(limits.os, "sched_getaffinity", lambda _: set(range(8)))
    assert default_workers(network=network) == workers


@pytest.mark.parametrize(
    ("values", "message"),
    [({"seconds": 0}, "time limit of 0 s"), ({"seconds": -1.5}, "-1.5 s"), ({"memory_bytes": 0}, "0 bytes")],
)
def test_limits_that_nothing_can_meet_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        Limits(**values)
