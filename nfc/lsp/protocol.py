"""What a server may be asked when: LSP 3.17, "Server lifecycle" and "Request message".

pygls answers requests before `initialize`, and neither those after `shutdown` nor those whose
params it cannot read, for which a client would wait without end.
"""

from __future__ import annotations

from typing import Any

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException
from pygls.protocol import LanguageServerProtocol


class Protocol(LanguageServerProtocol):
    """pygls's, with an answer to every request. `status` is what the process is to end with."""

    begun = False
    ended = False
    status = 0

    def structure_message(self, data: dict[str, Any]) -> Any:
        """A message as a value. Raises JsonRpcException, of a request once it is answered."""
        try:
            return super().structure_message(data)
        except JsonRpcException as error:
            if "method" in data and isinstance(data.get("id"), int | str):
                self._send_response(data["id"], None, error.to_response_error())
            raise

    def handle_message(self, message: Any) -> None:
        """Have a message answered, if it comes at its time."""
        method, number = getattr(message, "method", None), getattr(message, "id", None)
        if method == lsp.INITIALIZE:
            self.begun = True
        elif method == lsp.EXIT:
            self.status = 0 if self.ended else 1
        elif method is not None and (self.ended or not self.begun):
            if number is not None:
                self._send_response(number, None, self._refusal())
            return
        elif method == lsp.SHUTDOWN:
            self.ended = True
        super().handle_message(message)

    def _refusal(self) -> lsp.ResponseError:
        if self.ended:
            return lsp.ResponseError(lsp.ErrorCodes.InvalidRequest, "the server is shut down")
        said = "the server has not been initialized"
        return lsp.ResponseError(lsp.ErrorCodes.ServerNotInitialized, said)
