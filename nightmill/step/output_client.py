"""nbclient's client, with the outputs of the kernel's messages in `NotebookOutputs`.

What comes late from a thread goes to the cell that it belongs to, instead of nowhere; a stop or a
save has its turn in the middle of a flood.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionComplete

from nightmill.spec.executed import valid_unicode
from nightmill.spec.words import amount
from nightmill.step.cell_outputs import RICH_BYTES, NotebookOutputs
from nightmill.step.cell_states import CellLedger
from nightmill.step.rich_outputs import size_of

_OUTPUTS = (
    "stream",
    "display_data",
    "update_display_data",
    "execute_result",
    "error",
    "clear_output",
)
_QUEUED_MESSAGES = 32  # the kernel waits for us, see `in_kernel`
_SURROGATE = re.compile("[\ud800-\udfff]")


class OutputClient(NotebookClient):  # type: ignore[misc]  # its traits are untyped
    """Takes messages off the kernel and puts outputs into cells."""

    def __init__(self, ledger: CellLedger, outputs: NotebookOutputs, **traits: Any) -> None:
        super().__init__(ledger.nb, **traits)
        self._ledger = ledger
        self._outputs = outputs
        self._asked: dict[str, int] = {}  # the cell of each request that the kernel got

    async def async_start_new_kernel_client(self) -> Any:
        """Keep few messages waiting here: the kernel waits instead."""
        client = await super().async_start_new_kernel_client()
        client.iopub_channel.socket.rcvhwm = _QUEUED_MESSAGES
        return client

    async def _async_poll_output_msg(self, parent_msg_id: str, cell: Any, cell_index: int) -> None:
        """Take what a cell says, and what comes late from the threads of those before it."""
        self._asked[parent_msg_id] = cell_index
        while True:
            msg = await self.kc.iopub_channel.get_msg(timeout=None)
            parent = msg["parent_header"].get("msg_id")
            try:
                if parent == parent_msg_id:
                    self.process_message(msg, cell, cell_index)
                elif parent in self._asked and msg["msg_type"] in _OUTPUTS:
                    position = self._asked[parent]
                    self.process_message(msg, self.nb.cells[position], position)
            except CellExecutionComplete:
                return
            await asyncio.sleep(0)  # a flood must not keep a stop or a save from its turn

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        """Pass the message on with text that every writer can write."""
        msg["content"] = _clean(msg["content"])
        self._ledger.file.changed(cell_index)
        try:
            return super().process_message(msg, cell, cell_index)
        except nbformat.ValidationError as error:
            text = f"Nightmill left out an output that no notebook can hold: {error.message}\n"
            self._outputs.print(cell_index, "stderr", text)
            return None

    def output(
        self, outs: Any, msg: dict[str, Any], display_id: str | None, cell_index: int
    ) -> Any:
        """Add an output to a cell; a widget that catches outputs has them."""
        if self._is_caught(msg):
            return super().output(outs, msg, display_id, cell_index)
        content = msg["content"]
        if msg["msg_type"] == "stream":
            self._outputs.print(cell_index, content["name"], content["text"])
        else:
            with contextlib.suppress(ValueError):  # no output at all
                made = nbformat.v4.output_from_msg(msg)
                self._outputs.show(cell_index, made, display_id)
        return None

    def clear_output(self, outs: Any, msg: dict[str, Any], cell_index: int) -> None:
        """Clear a cell's outputs."""
        if self._is_caught(msg):
            super().clear_output(outs, msg, cell_index)
        else:
            self._outputs.clear(cell_index, wait=bool(msg["content"].get("wait")))

    def _update_display_id(self, display_id: str, msg: dict[str, Any]) -> None:
        header = {**msg["header"], "msg_type": "display_data"}
        made = nbformat.v4.output_from_msg({**msg, "header": header})
        self._outputs.update(display_id, made)

    def _is_caught(self, msg: dict[str, Any]) -> bool:
        return bool(self.output_hook_stack[msg["parent_header"].get("msg_id")])

    def set_widgets_metadata(self) -> None:
        """Keep the state of widgets, where it leaves the notebook openable."""
        super().set_widgets_metadata()
        size = size_of(self.nb.metadata.get("widgets", {}))
        if size > RICH_BYTES:
            del self.nb.metadata["widgets"]
            text = f"the state of widgets, {amount(size)}, was left out of the notebook"
            self._ledger.tell({"event": "warning", "text": text})


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() or not _SURROGATE.search(value) else valid_unicode(value)
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return value
