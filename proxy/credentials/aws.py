"""AWS credentials that must be fetched, and the signer of requests.

Formats: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html and …_AssumeRoleWithWebIdentity.html;
https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html and …/feature-imds-credentials.html,
whose environment variables are read here as AWS's own tools do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from urllib.parse import urlencode, urlsplit

import msgspec

from adapters import sigv4
from adapters.errors import Kind
from adapters.values import UNREADABLE
from proxy.config.signing import AwsAssumed
from proxy.credentials.azure import read_token
from proxy.credentials.source import Fetched, TokenSource
from proxy.credentials.web import Issued, Web, refusal
from proxy.errors import UpstreamFailure

_CONTAINER = "http://169.254.170.2"
_IMDS = "http://169.254.169.254"
_ROLES = "/latest/meta-data/iam/security-credentials/"
_HOUR = "3600"
_FORM = "application/x-www-form-urlencoded"
_TAG = re.compile(r"<(AccessKeyId|SecretAccessKey|SessionToken|Expiration|Code|Message)>([^<]*)</")


class Keys(msgspec.Struct, frozen=True):
    """What signs: an access key, and the session's token if it has one."""

    id: str
    secret: str
    token: str = ""

    def __repr__(self) -> str:
        return f"Keys({self.id})"


class SigV4Signer:
    """Signs a target's requests with the keys of a source."""

    __slots__ = ("_clock", "_host", "_kept_for", "_key", "_region", "_service", "_source")

    def __init__(
        self, source: TokenSource[Keys], host: str, region: str, service: str, clock: Callable[[], float]
    ) -> None:
        self._source = source
        self._host = host
        self._region = region
        self._service = service
        self._clock = clock
        self._kept_for: tuple[str, str] = ("", "")
        self._key = b""

    def lines(self, method: str, path: str, content_type: str, body: bytes) -> bytes | None:
        """The lines for one request; None while the keys are not here."""
        keys = self._source.ready()
        if keys is None:
            return None
        when = _stamp(self._clock())
        day = when[:8]
        if self._kept_for != (day, keys.secret):
            self._key = sigv4.signing_key(keys.secret, day, self._region, self._service)
            self._kept_for = (day, keys.secret)
        scope = (self._region, self._service)
        signed = sigv4.sign(self._key, keys.id, scope, when, method, self._host, path, content_type, body, keys.token)
        return b"".join([f"{name}: {value}\r\n".encode("latin-1") for name, value in signed])

    async def wait(self) -> None:
        """Fetches the keys if need be."""
        await self._source.get()

    def reject(self, since: float) -> bool:
        """Lets whoever comes next fetch other keys."""
        return self._source.reject(since)


async def of_role(
    role: AwsAssumed, base: TokenSource[Keys], web: Web, environment: Mapping[str, str], clock: Callable[[], float]
) -> Fetched[Keys]:
    """The keys of a role that others' keys may assume (STS AssumeRole)."""
    keys = base.ready() or await base.get()
    form = {
        "Action": "AssumeRole",
        "Version": "2011-06-15",
        "RoleArn": role.role_arn,
        "RoleSessionName": "loopway",
        "DurationSeconds": _HOUR,
        **({"ExternalId": role.external_id} if role.external_id else {}),
    }
    body = urlencode(form).encode()
    url = _sts(role.region, environment)
    parts = urlsplit(url)
    now = clock()
    when = _stamp(now)
    key = sigv4.signing_key(keys.secret, when[:8], role.region, "sts")
    signed = sigv4.sign(
        key, keys.id, (role.region, "sts"), when, "POST", parts.netloc, parts.path or "/", _FORM, body, keys.token
    )
    answer = await web.ask("POST", url, {"content-type": _FORM, **dict(signed)}, body)
    return _of_sts(parts.netloc, answer, now)


async def of_machine(
    web: Web, region: str, environment: Mapping[str, str], clock: Callable[[], float]
) -> Fetched[Keys]:
    """The keys that the place where the gateway runs gives it: its environment, a web identity (EKS), its container
    (ECS, EKS pod identity), or the machine itself (EC2)."""
    get = environment.get
    key_id, secret = get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY")
    if key_id and secret:
        return Fetched(Keys(key_id, secret, get("AWS_SESSION_TOKEN", "")), 3600.0)
    if get("AWS_WEB_IDENTITY_TOKEN_FILE") and get("AWS_ROLE_ARN"):
        return await _of_web_identity(web, region, environment, clock)
    relative, full = get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"), get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
    if relative or full:
        url = _CONTAINER + relative if relative else full or ""
        path = get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
        token = read_token(path) if path else get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
        answer = await web.ask("GET", url, {"authorization": token} if token else {}, machine=True)
        return _of_json(urlsplit(url).netloc, answer, clock())
    return await _of_instance(web, (get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or _IMDS).rstrip("/"), clock)


async def _of_web_identity(
    web: Web, region: str, environment: Mapping[str, str], clock: Callable[[], float]
) -> Fetched[Keys]:
    form = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": environment["AWS_ROLE_ARN"],
        "RoleSessionName": environment.get("AWS_ROLE_SESSION_NAME") or "loopway",
        "WebIdentityToken": read_token(environment["AWS_WEB_IDENTITY_TOKEN_FILE"]),
        "DurationSeconds": _HOUR,
    }
    url = _sts(region, environment)
    answer = await web.ask("POST", url, {"content-type": _FORM}, urlencode(form).encode())
    return _of_sts(urlsplit(url).netloc, answer, clock())


async def _of_instance(web: Web, service: str, clock: Callable[[], float]) -> Fetched[Keys]:
    host = urlsplit(service).netloc
    life = {"x-aws-ec2-metadata-token-ttl-seconds": "300"}
    token = await web.ask("PUT", f"{service}/latest/api/token", life, machine=True)
    if token.status != 200:
        raise refusal(host, token.status, "no session token (IMDSv2)")
    session = {"x-aws-ec2-metadata-token": _text(token.body, host)}
    roles = await web.ask("GET", service + _ROLES, session, machine=True)
    role = _text(roles.body, host).partition("\n")[0].strip()
    if roles.status != 200 or not re.fullmatch(r"[\w+=,.@-]+", role, re.ASCII):
        raise refusal(host, roles.status, "no role is attached to this machine")
    answer = await web.ask("GET", service + _ROLES + role, session, machine=True)
    return _of_json(host, answer, clock())


def _sts(region: str, environment: Mapping[str, str]) -> str:
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return environment.get("AWS_ENDPOINT_URL_STS") or f"https://sts.{region}.{domain}/"


def _of_sts(host: str, answer: Issued, now: float) -> Fetched[Keys]:
    found = dict(_TAG.findall(_text(answer.body, host)))
    if answer.status != 200:
        raise refusal(host, answer.status, ": ".join(found[name] for name in ("Code", "Message") if found.get(name)))
    return _keys(host, found.get("AccessKeyId"), found.get("SecretAccessKey"), found.get("SessionToken"), found, now)


class _Role(msgspec.Struct, rename="pascal"):
    access_key_id: str | None = None
    secret_access_key: str | None = None
    token: str | None = None
    expiration: str | None = None


def _of_json(host: str, answer: Issued, now: float) -> Fetched[Keys]:
    if answer.status != 200:
        raise refusal(host, answer.status, "")
    try:
        role = msgspec.json.decode(answer.body, type=_Role)
    except UNREADABLE as error:
        raise UpstreamFailure(Kind.BAD_UPSTREAM, f"{host} gave an answer without keys", sent=True) from error
    until = {"Expiration": role.expiration or ""}
    return _keys(host, role.access_key_id, role.secret_access_key, role.token, until, now)


def _keys(
    host: str, key_id: str | None, secret: str | None, token: str | None, found: Mapping[str, str], now: float
) -> Fetched[Keys]:
    try:
        until = datetime.fromisoformat(found.get("Expiration", "")).timestamp()
    except ValueError:
        until = 0.0
    keys = Keys(key_id or "", secret or "", token or "")
    whole = all(text.isascii() and text.isprintable() for text in (keys.id, keys.secret, keys.token))
    if not keys.id or not keys.secret or not whole or until <= now:
        raise UpstreamFailure(Kind.BAD_UPSTREAM, f"{host} gave an answer without keys that last", sent=True)
    return Fetched(keys, until - now)


def _text(body: bytes, host: str) -> str:
    try:
        return body.decode("ascii")
    except UnicodeDecodeError as error:
        raise UpstreamFailure(Kind.BAD_UPSTREAM, f"{host} gave an answer that is no text", sent=True) from error


def _stamp(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
