"""Ways to die that come from outside: somebody stops or kills it, a store, an order."""

from __future__ import annotations

from tests.deaths.acts import (
    hang_up,
    kill_all,
    kill_engine,
    kill_first,
    lose_store,
    lose_store_at_commit,
    lose_store_for_a_while,
    sigint,
    sigterm,
    when_kernel_starts,
    when_reached,
    when_saved,
)
from tests.deaths.cells import COMPUTES, DATA, DEAF, FILL_DISK, FIRST, LAST, NATIVE, SLEEPS, WAITS
from tests.deaths.fates import (
    EVICTED,
    KERNEL_DIES,
    KILLED,
    LIVES,
    NO_IMAGE,
    NO_KERNEL,
    NO_STORE,
    NODE_LOST,
    REFUSED,
    STOPPED,
    STOPPED_EARLY,
    STORE_LOST,
    STORE_LOST_LATE,
)
from tests.deaths.surroundings import no_kernels, s3_store, s3_store_away, tiny_disk
from tests.deaths.way import Plain, Way

STOPS = (
    Way(
        "sigterm-starting",
        "SIGTERM while the kernel starts",
        STOPPED_EARLY,
        act=when_kernel_starts(sigterm),
    ),
    Way(
        "sigterm-waiting",
        "SIGTERM while a cell waits",
        STOPPED,
        SLEEPS,
        act=when_reached(sigterm),
        cheap=True,
    ),
    Way(
        "sigterm-computing",
        "SIGTERM while a cell computes",
        STOPPED,
        COMPUTES,
        act=when_reached(sigterm),
    ),
    Way(
        "sigterm-native",
        "SIGTERM while native code computes and hears no interrupt",
        STOPPED,
        NATIVE,
        act=when_reached(sigterm),
    ),
    Way(
        "sigterm-deaf",
        "SIGTERM while a cell ignores the interrupt",
        STOPPED,
        DEAF,
        act=when_reached(sigterm),
    ),
    Way("ctrl-c", "Ctrl-C (SIGINT)", STOPPED, SLEEPS, act=when_reached(sigint)),
    Way(
        "launcher-gone",
        "The launcher dies",
        STOPPED,
        SLEEPS,
        flags=("--die-with-stdin",),
        act=when_reached(hang_up),
        plain=Plain(runs=False, note="never knows"),
    ),
    Way(
        "evicted",
        "The cluster evicts the pod",
        EVICTED,
        SLEEPS,
        where="pod",
        plain=Plain(act=when_saved(sigterm)),
    ),
)

KILLS = (
    Way(
        "engine-killed",
        "The engine is killed by SIGKILL",
        KERNEL_DIES,
        SLEEPS,
        act=when_reached(kill_engine),
        plain=Plain(note="it is one process with its engine"),
    ),
    Way(
        "supervisor-killed",
        "The supervisor is killed by SIGKILL",
        KILLED,
        SLEEPS,
        act=when_saved(kill_first),
        mended_by="sweep",
        plain=Plain(note="it is one process with its engine"),
    ),
    Way(
        "all-killed",
        "All processes are killed at once",
        KILLED,
        SLEEPS,
        act=when_saved(kill_all),
        mended_by="sweep",
    ),
    Way(
        "node-killed",
        "The node under the pod dies",
        NODE_LOST,
        SLEEPS,
        where="pod",
        plain=Plain(act=when_saved(kill_all), note="all its processes killed at once"),
    ),
    Way(
        "node-cut-off",
        "The node under the pod is cut off from the network",
        NODE_LOST,
        SLEEPS,
        where="pod",
        plain=Plain(runs=False, note="not measured"),
    ),
)

STORE_ENDS = (
    Way(
        "store-away",
        "The store is away at the start",
        NO_STORE,
        within=s3_store_away,
        recorded=False,
    ),
    Way(
        "store-away-for-a-while",
        "The store goes away in the middle and comes back",
        LIVES,
        WAITS,
        act=when_reached(lose_store_for_a_while),
        within=s3_store,
    ),
    Way(
        "store-lost",
        "The store goes away in the middle for good",
        STORE_LOST,
        WAITS,
        act=when_saved(lose_store),
        within=s3_store,
        forgets=True,
        mended_by="amend",
    ),
    Way(
        "store-lost-at-commit",
        "The store goes away just before the commit",
        STORE_LOST_LATE,
        WAITS,
        act=when_reached(lose_store_at_commit),
        within=s3_store,
        mended_by="amend",
        plain=Plain(runs=False, note="has no commit"),
    ),
    Way(
        "disk-full", "The local disk is full", STORE_LOST, FILL_DISK, within=tiny_disk, forgets=True
    ),
)

NEVER_STARTED = (
    Way(
        "kernel-missing",
        "The kernel is not installed",
        NO_KERNEL,
        within=no_kernels,
        plain=Plain(arguments=("-k", "no-such-kernel")),
    ),
    Way(
        "image-missing",
        "The image is not there",
        NO_IMAGE,
        where="pod",
        plain=Plain(runs=False, note="the same, if its own pod's status is read"),
    ),
    Way("not-json", "The notebook is not JSON", REFUSED, source='{"cells": ['),
    Way(
        "unknown-parameter",
        "A parameter is misspelt",
        REFUSED,
        cells=(("top: int = 1", "parameters"), FIRST, LAST),
        given={"tpo": 3},
        plain=Plain(arguments=("-p", "tpo", "3")),
        cheap=True,
    ),
    Way(
        "input-missing",
        "An input has not been committed",
        REFUSED,
        cells=(DATA, FIRST, "open(data).read()"),
        step="inputs: [data]",
        others="make: {notebook: step.ipynb, outputs: {data: data.txt}}",
    ),
)
