"""Metrics: what a notebook reported with `scrapbook.glue`, read from its JSON.

scrapbook itself needs pandas and pyarrow and belongs to kernels; its wire format is a mime type on
a display output, the same that ``scrapbook.read_notebook`` reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nightmill.spec.json_text import readable

_MIME = "application/scrapbook.scrap.{}+json"
_ENCODERS = ("json", "text")  # pandas scraps are data, not metrics


def read_metrics(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON and text scraps of an executed notebook by name; the last one wins.

    They are as the record will tell them, so that a replay can hold its own against those.
    """
    found: dict[str, Any] = readable(dict(_scraps(notebook)))
    return found


def _scraps(notebook: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for cell in notebook.get("cells", []):
        for output in cell.get("outputs", []):
            bundle = output.get("data", {})
            for encoder in _ENCODERS:
                scrap = bundle.get(_MIME.format(encoder))
                if isinstance(scrap, Mapping) and isinstance(scrap.get("name"), str):
                    yield scrap["name"], scrap.get("data")
