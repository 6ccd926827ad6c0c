"""What differs between two attempts: their records and executed notebooks, as one plain model.

Why not nbdime: it diffs every output as text and spends minutes on a notebook full of plots, whose
bytes always differ; a page has three seconds. Here nothing is diffed whose difference cannot be
read: cells and outputs are paired by hashes in linear time, pictures are held against each other by
hash and never decoded, and only text and tables of one screen or so are taken apart, within a
budget for all of them. What the budget does not reach is told as "differs", without a lie.

What a notebook holds is data here, never markup: its HTML is read for text and table cells only.
Source files are told by name, never shown: a bundle keeps them as they were typed, secrets too.
"""
