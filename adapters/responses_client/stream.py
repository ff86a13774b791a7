"""Chat completion chunks → Responses events."""

from __future__ import annotations

from adapters.pivot import ChatStream, Choice, Head
from adapters.responses_client import output
from adapters.responses_client.narration import BadCall, Narration, TooLarge
from adapters.responses_client.response import narrate
from adapters.responses_client.tools import custom_tools
from adapters.types import Call


class ResponseStream(ChatStream):
    """One streamed answer; see `adapters.types.StreamDecoder`."""

    __slots__ = ("_echo", "_finish_reason", "_model", "_told")

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._echo = output.echo(call)
        self._told = Narration(self.call, custom_tools(call.body))
        self._finish_reason: str | None = None
        self._model = call.model

    @property
    def sequence(self) -> int:
        """The number of the next event."""
        return self._told.sequence

    def _begin(self, head: Head, out: list[bytes]) -> None:
        self._model = head.model or self._model
        opened = output.response(self.call, self._echo, self._model, [], None, None, done=False)
        for name in (b"created", b"in_progress"):
            self._told.event(name, b'"response":' + opened, out)

    def _add(self, choice: Choice, out: list[bytes]) -> None:
        if choice.index:
            self._pass_by(choice)
            return
        if choice.finish_reason:
            self._finish_reason = choice.finish_reason
        try:
            narrate(self._told, choice, out)
        except TooLarge:
            self._fail("The provider's answer is too large to translate.")
        except BadCall as error:
            self._fail(str(error))

    def _finish(self, out: list[bytes]) -> None:
        told, reason = self._told, self._finish_reason
        incomplete = reason in output.INCOMPLETE
        told.end(not incomplete, out)
        made = output.response(self.call, self._echo, self._model, told.items, self.usage, reason)
        told.event(b"incomplete" if incomplete else b"completed", b'"response":' + made, out)
