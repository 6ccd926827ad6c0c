"""Executed notebooks as safe HTML: what any of them holds can be read, and nothing of it acts.

    document   the whole page            sections, outputs, displays   what is in it
    reading    bytes to cells            sanitize, styles, pictures    what may pass
    assets     outputs too large for it  page                          what callers say, the bounds

A renderer of our own, because nbconvert's templates need scripts and take seconds. Nothing in here
knows the store or the web framework.
"""

from nightmill.review.render.assets import asset_of
from nightmill.review.render.document import render, render_too_large
from nightmill.review.render.page import POLICY, VERSION, Limits, NotebookPage

__all__ = [
    "POLICY",
    "VERSION",
    "Limits",
    "NotebookPage",
    "asset_of",
    "render",
    "render_too_large",
]
