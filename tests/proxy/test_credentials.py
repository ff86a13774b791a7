"""Tokens that must be fetched, from issuers on loopback ports: kept, renewed in time, fetched once for everybody."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from adapters.errors import Kind
from adapters.provider import Provider
from adapters.providers import PROVIDERS
from adapters.types import Dialect
from proxy.address import AddressPolicy
from proxy.config.access import Access
from proxy.config.target import Target
from proxy.credentials import Credentials, Fetched, Renewed
from proxy.errors import Refused, UpstreamFailure
from proxy.transport import HttpTransport
from tests.fakes.issuer import Answer, Asked, Issuer, tokens

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
GOOGLE = Provider(
    name="google-ish",
    base_url="https://google.example/v1",
    key_env="",
    docs="",
    paths={Dialect.OPENAI_CHAT: "/chat"},
    key_required=False,
    signer="google",
)


class Clock:
    """A clock that stands still until told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    policy = AddressPolicy(private=True)
    transport = HttpTransport(policy, AddressPolicy(private=False), 1.0, asyncio.get_running_loop())
    yield transport
    await transport.close()


def account(uri: str, **more: Any) -> dict[str, Any]:
    return {"client_email": "robot@p.iam", "private_key": PEM, "private_key_id": "k1", "token_uri": uri, **more}


def google(fields: dict[str, Any], credential: str = "", *, operator: bool = True) -> Target:
    return Target(Access(GOOGLE, credential, fields=fields, operator=operator))


def decoded(part: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=="))
    return made


async def lines(credentials: Credentials, target: Target) -> bytes:
    signer = credentials.signer_of(target)
    found = signer.lines("POST", "/", "", b"")
    if found is None:
        await signer.wait()
        found = signer.lines("POST", "/", "", b"")
    assert found is not None
    return found


# -- keeping and renewing


class Fetches:
    """A fetch that answers when told."""

    def __init__(self) -> None:
        self.count = 0
        self.hold = asyncio.Event()
        self.hold.set()
        self.failure: UpstreamFailure | None = None

    async def __call__(self) -> Fetched[str]:
        self.count += 1
        await self.hold.wait()
        if self.failure is not None:
            raise self.failure
        return Fetched(f"token-{self.count}", 3600)


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_herd_fetches_once() -> None:
    fetches = Fetches()
    fetches.hold.clear()
    source = Renewed("x", fetches, Clock())
    herd = [asyncio.create_task(source.get()) for _ in range(100)]
    await turn()
    herd[0].cancel()  # who leaves takes nothing from the others
    fetches.hold.set()
    assert set(await asyncio.gather(*herd[1:])) == {"token-1"}
    assert fetches.count == 1
    assert source.ready() == "token-1"


async def test_a_token_is_renewed_before_its_end_while_the_old_one_serves() -> None:
    fetches, clock = Fetches(), Clock()
    source = Renewed("x", fetches, clock)
    await source.get()
    clock.now += 3299
    assert source.ready() == "token-1"
    await turn()
    assert fetches.count == 1

    clock.now += 2
    fetches.hold.clear()
    assert [source.ready() for _ in range(50)] == ["token-1"] * 50
    await turn()
    assert fetches.count == 2
    fetches.hold.set()
    await turn()
    assert source.ready() == "token-2"


async def test_an_expired_token_is_never_used() -> None:
    fetches, clock = Fetches(), Clock()
    source = Renewed("x", fetches, clock)
    await source.get()
    clock.now += 3591
    assert source.ready() is None
    assert await source.get() == "token-2"


async def test_a_failed_renewal_disturbs_nobody_and_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    fetches, clock = Fetches(), Clock()
    source = Renewed("x", fetches, clock)
    await source.get()
    fetches.failure = UpstreamFailure(Kind.BAD_UPSTREAM, "issuer answered 500", sent=True)
    clock.now += 3400
    assert source.ready() == "token-1"
    await turn()
    assert "issuer answered 500" in caplog.text
    assert [source.ready() for _ in range(9)] == ["token-1"] * 9
    await turn()
    assert fetches.count == 2  # not at every request

    fetches.failure = None
    clock.now += 16
    assert source.ready() == "token-1"
    await turn()
    assert source.ready() == "token-3"


async def test_a_failure_is_told_to_all_who_wait_and_the_issuer_is_left_in_peace() -> None:
    fetches, clock = Fetches(), Clock()
    fetches.failure = UpstreamFailure(Kind.UNAUTHENTICATED, "issuer answered 401", sent=True)
    source = Renewed("the test's", fetches, clock)
    for _ in range(20):
        with pytest.raises(UpstreamFailure, match=r"could not be fetched \(the test's\): issuer answered 401") as told:
            await source.get()
        assert told.value.kind is Kind.UNAUTHENTICATED
    assert fetches.count == 1
    fetches.failure = None
    clock.now += 3
    assert await source.get() == "token-2"


async def test_a_token_that_the_provider_refuses_is_replaced_but_not_for_every_request() -> None:
    fetches, clock = Fetches(), Clock()
    source = Renewed("x", fetches, clock)
    await source.get()
    assert not source.reject(clock.now)
    assert source.ready() == "token-1"  # a new one would be refused as well
    clock.now += 31
    asked = clock.now
    assert [source.reject(asked) for _ in range(20)] == [True] * 20
    assert source.ready() is None
    clock.now += 1
    assert await source.get() == "token-2"
    assert source.reject(asked)  # somebody asked with the old one, and may ask with the new one
    assert source.ready() == "token-2"
    assert not source.reject(clock.now + 1)


# -- Google


async def test_a_service_account_exchanges_an_assertion_that_its_key_has_signed(transport: HttpTransport) -> None:
    async with Issuer(tokens()) as issuer:
        target = google({"vertex_service_account_json": account(issuer.url + "/token")})
        credentials = Credentials(transport, lambda: transport, {})
        assert await lines(credentials, target) == b"authorization: Bearer token-1\r\n"
        form = issuer.asked[0].form
        assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        head, claims, signature = form["assertion"].split(".")
        KEY.public_key().verify(
            base64.urlsafe_b64decode(signature + "=="), f"{head}.{claims}".encode(), padding.PKCS1v15(), SHA256()
        )
        assert decoded(head) == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
        said = decoded(claims)
        assert (said["iss"], said["aud"]) == ("robot@p.iam", issuer.url + "/token")
        assert said["scope"].endswith("/cloud-platform")
        assert said["exp"] - said["iat"] == 3600

        # Another target with the same account, as after a reload of the configuration: the same token.
        again = google({}, json.dumps(account(issuer.url + "/token")))
        assert await lines(credentials, again) == b"authorization: Bearer token-1\r\n"
        assert len(issuer.asked) == 1


async def test_a_client_cannot_choose_the_issuer_nor_use_the_machines_identity() -> None:
    target = google({"vertex_service_account_json": json.dumps(account("http://127.0.0.1:1/"))}, operator=False)
    assert "oauth2.googleapis.com" in repr(target.signing)
    assert PEM not in repr(target.signing)
    with pytest.raises(Refused) as refused:
        google({"vertex_auth_type": "metadata"}, operator=False)
    assert refused.value.status == 403


async def test_the_machines_own_identity_comes_from_the_metadata_service(transport: HttpTransport) -> None:
    async with Issuer(tokens()) as issuer:
        credentials = Credentials(transport, lambda: transport, {"GCE_METADATA_HOST": issuer.url[7:]})
        assert (
            await lines(credentials, google({"vertex_auth_type": "metadata"})) == b"authorization: Bearer token-1\r\n"
        )
        assert issuer.asked[0].headers["metadata-flavor"] == "Google"
        assert issuer.asked[0].path == "/computeMetadata/v1/instance/service-accounts/default/token"


REFUSALS: dict[str, tuple[Answer, Kind, str]] = {
    "a refusal": (
        (400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}),
        Kind.UNAUTHENTICATED,
        r"127.0.0.1 answered 400 \(invalid_grant: Invalid JWT Signature.\)",
    ),
    "a breakdown": ((500, "<html>"), Kind.BAD_UPSTREAM, "answered 500"),
    "junk": ((200, "junk"), Kind.BAD_UPSTREAM, "without a token"),
    "no token": ((200, {}), Kind.BAD_UPSTREAM, "without a token"),
    "a token with a line end": (
        (200, {"access_token": "a\r\nb: c", "expires_in": 10}),
        Kind.BAD_UPSTREAM,
        "cannot be used",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_what_the_issuer_says_is_told_without_a_secret(transport: HttpTransport, case: str) -> None:
    given, kind, words = REFUSALS[case]

    async def answer(asked: Asked) -> Answer:
        return given

    async with Issuer(answer) as issuer:
        credentials = Credentials(transport, lambda: transport, {})
        with pytest.raises(UpstreamFailure, match=words) as failure:
            await lines(credentials, google({"vertex_service_account_json": account(issuer.url)}))
        assert failure.value.kind is kind
        assert "PRIVATE" not in str(failure.value)


async def test_a_key_that_cannot_be_read_is_a_clear_error(transport: HttpTransport) -> None:
    credentials = Credentials(transport, lambda: transport, {})
    bad = account("http://127.0.0.1:1/", private_key="-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----")
    with pytest.raises(UpstreamFailure, match="private_key of the service account cannot be read"):
        await lines(credentials, google({"vertex_service_account_json": bad}))


# -- Azure

AZURE = PROVIDERS["azure-openai"]
ENTRA = {"azure_entra_tenant_id": "contoso", "azure_entra_client_id": "app", "azure_entra_client_secret": "s3cret"}


def azure(fields: dict[str, Any], credential: str = "", *, operator: bool = True) -> Target:
    return Target(Access(AZURE, credential, fields={"azure_resource_name": "acme", **fields}, operator=operator))


async def test_an_application_shows_its_secret_to_entra(transport: HttpTransport) -> None:
    async with Issuer(tokens()) as issuer:
        credentials = Credentials(transport, lambda: transport, {"AZURE_AUTHORITY_HOST": issuer.url + "/"})
        assert await lines(credentials, azure(ENTRA)) == b"authorization: Bearer token-1\r\n"
        assert issuer.asked[0].path == "/contoso/oauth2/v2.0/token"
        assert issuer.asked[0].form == {
            "grant_type": "client_credentials",
            "client_id": "app",
            "client_secret": "s3cret",
            "scope": "https://cognitiveservices.azure.com/.default",
        }


async def test_a_managed_identity_comes_from_the_machine_or_from_app_service(transport: HttpTransport) -> None:
    fields = {"azure_auth_mode": "managed", "azure_managed_client_id": "mine"}

    async def answer(asked: Asked) -> Answer:
        return 200, {"access_token": "t", "expires_on": "4000000000"}

    async with Issuer(answer) as issuer:
        machine = Credentials(transport, lambda: transport, {"AZURE_POD_IDENTITY_AUTHORITY_HOST": issuer.url})
        assert await lines(machine, azure(fields)) == b"authorization: Bearer t\r\n"
        service = {"IDENTITY_ENDPOINT": issuer.url + "/msi/token", "IDENTITY_HEADER": "h"}
        await lines(Credentials(transport, lambda: transport, service), azure(fields))
        first, second = issuer.asked
        assert first.path.startswith(
            "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fcog"
        )
        assert first.path.endswith("client_id=mine")
        assert first.headers["metadata"] == "true"
        assert second.path.startswith("/msi/token?api-version=2019-08-01&resource=")
        assert second.headers["x-identity-header"] == "h"


async def test_a_workload_identity_shows_the_token_in_its_file(transport: HttpTransport, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("kubernetes-token\n")
    environment = {"AZURE_FEDERATED_TOKEN_FILE": str(file), "AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c"}
    async with Issuer(tokens()) as issuer:
        environment["AZURE_AUTHORITY_HOST"] = issuer.url
        target = azure({"azure_auth_mode": "workload"})
        assert await lines(Credentials(transport, lambda: transport, environment), target)
        form = issuer.asked[0].form
        assert form["client_assertion"] == "kubernetes-token"
        assert form["client_assertion_type"].endswith("jwt-bearer")
        file.unlink()
        with pytest.raises(UpstreamFailure, match="cannot be read"):
            await lines(Credentials(transport, lambda: transport, environment), azure({"azure_auth_mode": "workload"}))


def test_azures_credentials_have_their_order_and_a_key_needs_no_signer() -> None:
    everything = {**ENTRA, "azure_ad_token": "given"}
    assert azure(everything, "key").headers["authorization"] == "Bearer given"
    assert azure(everything, "key").signing is None
    assert azure(ENTRA, "key").signing is not None
    assert azure({}, "key").headers["api-key"] == "key"
    with pytest.raises(Refused, match="No credential for Azure"):
        azure({})
    with pytest.raises(Refused, match="tenant"):
        azure({**ENTRA, "azure_entra_tenant_id": "a/../b"})
    for mode in ("managed", "workload"):
        with pytest.raises(Refused) as refused:
            azure({"azure_auth_mode": mode}, operator=False)
        assert refused.value.status == 403


# -- AWS

AWS = PROVIDERS["sagemaker"]
KEYS = {"aws_access_key_id": "AKID", "aws_secret_access_key": "s3cret"}
ROLE = "arn:aws:iam::1:role/r"


def aws(fields: dict[str, Any], credential: str = "", *, operator: bool = True) -> Target:
    return Target(Access(AWS, credential, fields=fields, operator=operator))


def until(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


async def sts(asked: Asked) -> Answer:
    return 200, (
        "<R><Credentials><AccessKeyId>ASIA1</AccessKeyId><SecretAccessKey>s2</SecretAccessKey>"
        f"<SessionToken>tok+/=</SessionToken><Expiration>{until(3600)}</Expiration></Credentials></R>"
    )


async def role(asked: Asked) -> Answer:
    if asked.path.endswith("/token"):
        return 200, "imds-session"
    if asked.path.endswith("credentials/"):
        return 200, "my-role"
    return 200, {"AccessKeyId": "ASIA2", "SecretAccessKey": "s", "Token": "t", "Expiration": until(3600), "Code": "ok"}


async def test_an_access_key_signs_without_asking_anybody(transport: HttpTransport) -> None:
    found = await lines(Credentials(transport, lambda: transport, {}), aws({**KEYS, "aws_session_token": "st"}))
    assert b"authorization: AWS4-HMAC-SHA256 Credential=AKID/" in found
    assert b"/us-east-1/sagemaker/aws4_request" in found
    assert b"x-amz-security-token: st\r\n" in found
    assert b"s3cret" not in found


async def test_a_role_is_assumed_with_the_keys_at_hand_and_its_session_signs(transport: HttpTransport) -> None:
    async with Issuer(sts) as issuer:
        credentials = Credentials(transport, lambda: transport, {"AWS_ENDPOINT_URL_STS": issuer.url})
        target = aws({**KEYS, "aws_role_arn": ROLE, "aws_external_id": "ext"}, operator=False)
        found = await lines(credentials, target)
        assert b"Credential=ASIA1/" in found
        assert b"x-amz-security-token: tok+/=\r\n" in found
        form = issuer.asked[0].form
        assert (form["Action"], form["RoleArn"], form["ExternalId"]) == ("AssumeRole", ROLE, "ext")
        assert "Credential=AKID/" in issuer.asked[0].headers["authorization"]
        await lines(credentials, aws({**KEYS, "aws_role_arn": ROLE, "aws_external_id": "ext"}))
        assert len(issuer.asked) == 1


async def test_the_places_that_give_a_role_are_asked_in_aws_own_order(transport: HttpTransport, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("eks-token")
    target = aws({"aws_auth_type": "serviceRole"})
    async with Issuer(sts) as issuer:
        web = {"AWS_WEB_IDENTITY_TOKEN_FILE": str(file), "AWS_ROLE_ARN": ROLE, "AWS_ENDPOINT_URL_STS": issuer.url}
        assert b"Credential=ASIA1/" in await lines(Credentials(transport, lambda: transport, web), target)
        assert issuer.asked[0].form["WebIdentityToken"] == "eks-token"
        assert "authorization" not in issuer.asked[0].headers
    async with Issuer(role) as issuer:
        container = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": issuer.url + "/c", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "a"}
        assert b"Credential=ASIA2/" in await lines(
            Credentials(transport, lambda: transport, container), aws({"aws_auth_type": "serviceRole"})
        )
        assert issuer.asked[0].headers["authorization"] == "a"
    async with Issuer(role) as issuer:
        machine = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": issuer.url}
        assert b"Credential=ASIA2/" in await lines(
            Credentials(transport, lambda: transport, machine), aws({"aws_auth_type": "serviceRole"})
        )
        put, roles, keys = issuer.asked
        assert (put.method, roles.headers["x-aws-ec2-metadata-token"]) == ("PUT", "imds-session")
        assert keys.path == "/latest/meta-data/iam/security-credentials/my-role"


async def test_a_role_that_may_not_be_assumed_is_told_in_awss_words(transport: HttpTransport) -> None:
    async def answer(asked: Asked) -> Answer:
        return 403, "<E><Error><Code>AccessDenied</Code><Message>not allowed</Message></Error></E>"

    async with Issuer(answer) as issuer:
        credentials = Credentials(transport, lambda: transport, {"AWS_ENDPOINT_URL_STS": issuer.url})
        with pytest.raises(UpstreamFailure, match="AccessDenied: not allowed") as failure:
            await lines(credentials, aws({**KEYS, "aws_role_arn": ROLE}))
        assert failure.value.kind is Kind.UNAUTHENTICATED
        assert "s3cret" not in str(failure.value)


async def test_keys_that_have_expired_are_no_keys(transport: HttpTransport) -> None:
    async def answer(asked: Asked) -> Answer:
        return 200, {"AccessKeyId": "a", "SecretAccessKey": "s", "Token": "t", "Expiration": until(-5)}

    async with Issuer(answer) as issuer:
        container = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": issuer.url}
        with pytest.raises(UpstreamFailure, match="without keys that last"):
            await lines(Credentials(transport, lambda: transport, container), aws({"aws_auth_type": "serviceRole"}))


def test_what_an_aws_target_needs_is_said() -> None:
    assert aws({}, "bedrock-key").headers["authorization"] == "Bearer bedrock-key"
    for fields, words in (
        ({}, "No credential for AWS"),
        ({"aws_access_key_id": "a"}, "aws_secret_access_key"),
        ({**KEYS, "aws_region": "evil.example/"}, "aws_region"),
        ({"aws_auth_type": "assumedRole"}, "aws_role_arn"),
        ({"aws_access_key_id": "a\r\nb", "aws_secret_access_key": "s"}, "characters"),
    ):
        with pytest.raises(Refused, match=words):
            aws(fields)
    for fields in ({"aws_auth_type": "serviceRole"}, {"aws_role_arn": ROLE}):
        with pytest.raises(Refused) as refused:
            aws(fields, operator=False)
        assert refused.value.status == 403
