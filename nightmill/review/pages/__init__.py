"""All pages, actions and documents, in the order in which their addresses are tried."""

from __future__ import annotations

from nightmill.review.pages import (
    attempt,
    compare,
    decide,
    landing,
    live,
    metrics,
    notes,
    outputs,
    pipeline,
    run,
    runs,
    tonight,
)
from nightmill.review.views import Action, Document, Part, View

PAGES: tuple[View | Action | Document | Part, ...] = (
    *tonight.ROUTES,
    *runs.ROUTES,
    *pipeline.ROUTES,
    *run.ROUTES,
    *attempt.ROUTES,
    *live.ROUTES,
    *decide.ROUTES,
    *notes.ROUTES,
    *compare.ROUTES,
    *landing.ROUTES,
    *metrics.ROUTES,
    *outputs.ROUTES,
)
