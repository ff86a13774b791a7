"""Secrets at rest: AES-256-GCM under the operator's master key.

A sealed value is text, so that every database keeps it alike: `lv1.<key id>.<base64 of nonce and ciphertext>`. The
table, row and column it belongs to are authenticated with it, so a ciphertext copied to another place does not open.
The key id is a fingerprint of the master key: a wrong key is named as such, not taken for damaged data.

The master key is `LOOPWAY_MASTER_KEY` (base64 of 32 bytes), else the file `master.key` in the data directory, made on
the first start. Both may hold several keys, separated by commas or whitespace: the first seals, all of them open.
That is how a key is replaced: start with `new,old`, let the store seal everything afresh, then start with `new`.
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
import secrets
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.errors import StartupError, StoreError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VARIABLE = "LOOPWAY_MASTER_KEY"
FILE = "master.key"
_VERSION = "lv1"
_KEY_BYTES = 32
_NONCE_BYTES = 12
_HINT = "make one with: openssl rand -base64 32"

log = logging.getLogger("loopway.vault")


class Vault:
    """Seals and opens secrets. `origin` says where the master key came from, for messages."""

    def __init__(self, keys: Sequence[bytes], origin: str = "the master key") -> None:
        self._keys = {_fingerprint(key): key for key in keys}
        self._ciphers: dict[str, AESGCM] = {}
        self.key_id = _fingerprint(keys[0])
        self.origin = origin

    @classmethod
    def open(cls, data_dir: str | os.PathLike[str], env: Mapping[str, str]) -> Vault:
        """Takes the master key from the environment or the data directory, where it makes one if there is none.

        Safe when several processes start together: all of them get the same key. Raises `StartupError`.
        """
        text = env.get(VARIABLE, "").strip()
        if text:
            return cls(_parse(text, VARIABLE), VARIABLE)
        path = Path(data_dir) / FILE
        try:
            return cls(_parse(_file_text(path), str(path)), str(path))
        except OSError as error:
            raise StartupError(f"cannot read or make the master key {path}: {error.strerror}") from error

    @property
    def rotating(self) -> bool:
        """Whether older keys were given beside the one that seals."""
        return len(self._keys) > 1

    def seal(self, text: str, *, table: str, row: str, column: str) -> str:
        """Encrypts a secret for one place in the store."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher(self.key_id).encrypt(nonce, text.encode(), _place(table, row, column))
        return f"{_VERSION}.{self.key_id}.{base64.b64encode(nonce + sealed).decode()}"

    def unseal(self, sealed: str, *, table: str, row: str, column: str) -> str:
        """Decrypts what `seal` gave for the same place. Raises `StoreError`, which never shows the secret."""
        where = f"{table} {row!r}, {column}"
        version, _, rest = sealed.partition(".")
        key_id, _, body = rest.partition(".")
        if version != _VERSION:
            raise StoreError(f"{where}: not an encrypted value of this version")
        if key_id not in self._keys:
            raise StoreError(f"{where}: encrypted under master key {key_id[:8]!r}, which {self.origin} does not hold")
        try:
            raw = base64.b64decode(body, validate=True)
            nonce, text = raw[:_NONCE_BYTES], raw[_NONCE_BYTES:]
            return self._cipher(key_id).decrypt(nonce, text, _place(table, row, column)).decode()
        except (binascii.Error, ValueError, _invalid_tag()) as error:
            raise StoreError(f"{where}: does not decrypt; the value is damaged or belongs to another row") from error

    def _cipher(self, key_id: str) -> AESGCM:
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            # Loaded where there is a secret to seal or open: 4 MB that a gateway without any does not need.
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

            cipher = self._ciphers[key_id] = AESGCM(self._keys[key_id])
        return cipher

    @property
    def seals_with(self) -> str:
        """How everything begins that the first key has sealed."""
        return f"{_VERSION}.{self.key_id}."

    def sealed_by_current(self, sealed: str) -> bool:
        """Whether a value needs no sealing afresh after a change of the master key."""
        return sealed.startswith(self.seals_with)


def _place(table: str, row: str, column: str) -> bytes:
    return f"{_VERSION}|{table}|{row}|{column}".encode()


def _fingerprint(key: bytes) -> str:
    return sha256(b"loopway master key id\0" + key).hexdigest()[:8]


def _parse(text: str, origin: str) -> list[bytes]:
    """The keys in a text. Raises `StartupError` with one line that says what is wrong and what to do."""
    keys = []
    for word in text.replace(",", " ").split():
        try:
            key = base64.b64decode(word.translate(_STANDARD), validate=True)
        except (binascii.Error, ValueError):
            raise StartupError(f"{origin} is not base64; {_HINT}") from None
        if len(key) != _KEY_BYTES:
            raise StartupError(f"{origin} must be base64 of {_KEY_BYTES} bytes, this is {len(key)}; {_HINT}")
        keys.append(key)
    if not keys:
        raise StartupError(f"{origin} is empty; {_HINT}")
    return keys


_STANDARD = str.maketrans("-_", "+/")


def _file_text(path: Path) -> str:
    """The key file's text; makes the file first if it is not there."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _create(path)
    if path.stat().st_mode & 0o007:
        log.warning("%s can be read by every user of this machine; run: chmod 600 %s", path, path)
    return path.read_text()


def _create(path: Path) -> None:
    """Writes a new key beside the name, then links it there: whoever links first wins, and nobody reads half a key."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64encode(os.urandom(_KEY_BYTES)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        draft.unlink(missing_ok=True)


def _invalid_tag() -> type[Exception]:
    from cryptography.exceptions import InvalidTag

    return InvalidTag
