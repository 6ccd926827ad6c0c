"""The table of ways to die. docs/deaths.md is made of it, and every row is run for real."""

from __future__ import annotations

from tests.deaths.ways_inside import KERNEL_ENDS, MEMORY_ENDS, NOTEBOOK_ENDS, TIME_ENDS
from tests.deaths.ways_outside import KILLS, NEVER_STARTED, STOPS, STORE_ENDS

SECTIONS = {
    "The notebook ends it": NOTEBOOK_ENDS,
    "The kernel ends by itself": KERNEL_ENDS,
    "Memory runs out": MEMORY_ENDS,
    "Time runs out": TIME_ENDS,
    "Somebody asks it to stop": STOPS,
    "Something kills it": KILLS,
    "Store and disk": STORE_ENDS,
    "It never really begins": NEVER_STARTED,
}
WAYS = tuple(way for section in SECTIONS.values() for way in section)
HERE = tuple(way for way in WAYS if way.where == "here")
IN_POD = tuple(way for way in WAYS if way.where == "pod")
