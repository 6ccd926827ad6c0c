"""Publishing: what is committed, also at a plain address that any library reads.

The pointer alone says what is current; what stands below ``data/`` follows it. A failure here
takes nothing back, and whoever comes next, or `nightmill repair`, completes it.
"""
