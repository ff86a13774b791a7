"""The gateway's own exceptions. Foreign errors are renamed to these once, at the border where they appear."""

from __future__ import annotations

from adapters.errors import TRAITS, Kind, UpstreamError


class LoopwayError(Exception):
    """The root of all of them."""


class Refused(LoopwayError):
    """A request ends here with an answer of the gateway's own.

    `status` follows from `kind` unless given. `type` and `code` are the `error.type` and `error.code` of OpenAI-shaped
    bodies where the contract fixes them; `param` is the path of the field at fault; `retry_after` is in seconds.
    `headers` are further answer headers. `errors` lists several findings at once (config validation).
    """

    def __init__(
        self,
        kind: Kind,
        message: str,
        *,
        status: int | None = None,
        type: str | None = None,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        errors: tuple[str, ...] = (),
        close: bool = False,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.status = TRAITS[kind].status if status is None else status
        self.type = type
        self.code = code
        self.param = param
        self.retry_after = retry_after
        self.headers = headers
        self.errors = errors
        self.close = close
        """True: the connection cannot be used again (its framing is in doubt, or a body was left unread)."""


def of_bug() -> Refused:
    """The answer to a fault of the gateway's own. Its header keeps the SDKs from asking again, as it kept the config's
    other targets from being asked: the fault would only come again."""
    message, says = "The gateway failed to handle this request.", (("x-portkey-gateway-exception", "true"),)
    return Refused(Kind.INTERNAL, message, headers=says)


class UpstreamFailure(LoopwayError):
    """The upstream gave no usable answer: it could not be reached, timed out, broke off, or spoke no HTTP.

    `sent` says whether any byte of the request may have arrived: False means that trying again is surely safe.
    `fresh` says whether the connection was new (a reused one may merely have been closed while idle).
    """

    def __init__(self, kind: Kind, message: str, *, sent: bool, fresh: bool = True) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.sent = sent
        self.fresh = fresh

    @property
    def told(self) -> UpstreamError:
        """The same as a provider would tell it."""
        return UpstreamError(self.kind, TRAITS[self.kind].status, self.message)

    @property
    def fault(self) -> UpstreamError | None:
        """The same as the target's fault; None where the gateway shuts down, of which no provider knows."""
        return None if self.kind is Kind.OVERLOADED else self.told


class StoreError(LoopwayError):
    """The store cannot be reached or refuses; the message names the file or host, never a credential."""


class EmptyStoreError(StoreError):
    """The store's database is there, and nothing is in it: no gateway has started with it yet."""


class UnfitError(StoreError):
    """What was to be kept is nothing that this store can keep: the fault of the values, so another try is no use."""


class ConfigError(LoopwayError):
    """The configuration file cannot be used. `findings` are lines such as `loopway.yaml:12:5: unknown key …`."""

    def __init__(self, findings: list[str]) -> None:
        super().__init__("\n".join(findings))
        self.findings = findings


class PriceError(LoopwayError):
    """A table of prices, or an entry of one, cannot be used; the message says which and why."""


class StartupError(LoopwayError):
    """The process cannot start; the message is the one line the operator sees."""
