"""Custom hosts as clients write them: those that must never be connected to, and what makes them so."""

from __future__ import annotations

METADATA: tuple[str, ...] = (
    "http://169.254.169.254", "http://169.254.169.254/latest/meta-data", "https://169.254.169.254:443",
    "http://169.254.169.253", "http://169.254.169.123", "http://169.254.170.2", "http://169.254.170.23",
    "http://169.254.0.23", "http://100.100.100.200", "http://168.63.129.16", "http://192.0.0.192",
    "http://[fd00:ec2::254]", "http://[fd00:ec2::23]", "http://[fd20:ce::254]", "http://[::ffff:169.254.169.254]",
    "http://[::ffff:a9fe:a9fe]", "http://[0:0:0:0:0:ffff:a9fe:a9fe]", "http://[::169.254.169.254]",
    "http://[64:ff9b::169.254.169.254]", "http://[64:ff9b::a9fe:a9fe]", "http://[64:ff9b:1::a9fe:a9fe]",
    "http://[2002:a9fe:a9fe::]", "http://[2002:a9fe:a9fe::1]", "http://metadata", "http://metadata.google.internal",
    "http://METADATA.GOOGLE.INTERNAL", "http://metadata.google.internal/computeMetadata/v1", "http://metadata.goog",
    "http://metadata.azure.com", "http://metadata.azure.internal", "http://metadata.tencentyun.com",
    "http://instance-data", "http://instance-data.ec2.internal", "http://metadata.platformequinix.com",
)  # fmt: skip
"""Metadata services of clouds: not even an operator can name them."""

PRIVATE: tuple[str, ...] = (
    "http://127.0.0.1", "http://127.0.0.1:8787", "http://127.0.0.2", "http://127.255.255.254", "https://127.0.0.1",
    "http://0.0.0.0", "http://0.1.2.3", "http://10.0.0.1", "http://10.255.255.255", "http://172.16.0.1",
    "http://172.31.255.255", "http://192.168.0.1", "http://192.168.255.255", "http://169.254.1.1", "http://100.64.0.1",
    "http://100.127.255.255", "http://192.0.0.8", "http://192.0.2.1", "http://198.18.0.1", "http://198.19.255.255",
    "http://198.51.100.1", "http://203.0.113.1", "http://192.88.99.1", "http://224.0.0.1", "http://239.255.255.255",
    "http://240.0.0.1", "http://255.255.255.255", "http://[::1]", "http://[::1]:8787", "http://[::]",
    "http://[0:0:0:0:0:0:0:1]", "http://[0000:0000:0000:0000:0000:0000:0000:0001]", "http://[::127.0.0.1]",
    "http://[::ffff:127.0.0.1]", "http://[::ffff:7f00:1]", "http://[::ffff:10.0.0.1]", "http://[::ffff:0:127.0.0.1]",
    "http://[64:ff9b::127.0.0.1]", "http://[64:ff9b:1::1]", "http://[2002:7f00:1::]", "http://[2002:c0a8:1::1]",
    "http://[2001::1]", "http://[2001:db8::1]", "http://[3fff::1]", "http://[5f00::1]", "http://[100::1]",
    "http://[fc00::1]", "http://[fd12:3456::1]", "http://[fe80::1]", "http://[fec0::1]", "http://[ff02::1]",
    "http://localhost", "http://LOCALHOST", "http://localhost:11434/v1", "http://a.localhost", "http://db",
    "http://redis:6379", "http://printer.local", "http://host.localdomain", "http://api.internal", "http://a.intranet",
    "http://router.lan", "http://nas.home", "http://git.corp", "http://a.test", "http://a.invalid", "http://a.onion",
)  # fmt: skip
"""What an operator may name, but a client may not."""

NUMBERS: tuple[str, ...] = (
    "http://127.1", "http://127.0.1", "http://2130706433", "http://0x7f000001", "http://0x7f.0.0.1", "http://0x7f.1",
    "http://0177.0.0.1", "http://017700000001", "http://00000177.0.0.01", "http://127.000.000.001", "http://0",
    "http://127.0.0.0x1", "http://0x7f.0x0.0x0.0x1", "http://3232235777", "http://2852039166", "http://0xa9fea9fe",
    "http://0251.0376.0251.0376", "http://169.254.43518", "http://127.0.0.1.1", "http://1.2.3.4.5.6", "http://256.0.0.1",
    "http://4294967296", "http://127.0.0.1.", "http://1.1", "http://010.1.1.1",
)  # fmt: skip
"""Forms of IPv4 that one parser reads as an address and another does not."""

MALFORMED: tuple[str, ...] = (
    "", " ", "x", "example.com", "//example.com", "http:example.com", "http:/example.com", "http:///example.com", "http://",
    "https://", "ftp://example.com", "file:///etc/passwd", "gopher://example.com:70/_x", "dict://example.com:11211",
    "unix:///run/docker.sock", "http+unix://%2Frun%2Fdocker.sock", "javascript:alert(1)", "data:text/plain,x",
    "ldap://example.com", "ws://example.com", "jar:http://example.com!/", "http://user@example.com",
    "http://user:pass@example.com", "http://example.com@127.0.0.1", "http://127.0.0.1@example.com", "http://@example.com",
    "http://:@example.com", "http://example.com%40127.0.0.1", "http://127.0.0.1%2f@example.com", "http://exa%6dple.com",
    "http://%31%32%37.0.0.1", "http://example.com%00.evil.com", "http://example.com%0d%0aHost:%20evil",
    "http://example.com#@127.0.0.1", "http://example.com/#x", "http://example.com/v1?x=y", "http://example.com?@127.0.0.1",
    "http://127.0.0.1\\@example.com", "http://example.com\\@127.0.0.1", "http:\\\\127.0.0.1", "http://exa mple.com",
    "http://example.com/ x", "http://example.com<script>", "http://exam{ple}.com", "http://exam|ple.com",
    "http://exam^ple.com", "http://exam`ple.com", 'http://exam"ple.com', "http://example.com:0", "http://example.com:65536",
    "http://example.com:99999", "http://example.com:-1", "http://example.com:x", "http://example.com:80:80",
    "http://example.com:8o", "http://example..com", "http://.example.com", "http://example.com.", "http://example.com..",
    "http://-example.com", "http://example-.", "http://exa_mple.com", "http://[::1", "http://::1", "http://[::1]]",
    "http://[::1%25lo]", "http://[fe80::1%lo]", "http://[fe80::1%25eth0]:80", "http://[127.0.0.1]", "http://[example.com]",
    "http://[::g]", "http://[v1.x]", "http://exam,ple.com", "http://exam;ple.com", "http://exam!ple.com", "http://exam$ple.com",
    "http://exam&ple.com", "http://exam'ple.com", "http://exam(ple).com", "http://exam*ple.com", "http://exam+ple.com",
    "http://exam=ple.com", "http://exam~ple.com", "http://a.b.c.d.e.f.g.h.i.j.com", "http://" + "a" * 250 + ".com",
    "http://example.com/" + "a" * 2100,
)  # fmt: skip
"""What is no plain URL of a plain host."""

FOREIGN: tuple[str, ...] = (
    "http://①②⑦.⓪.⓪.①", "http://１２７.０.０.１", "http://127。0。0。1", "http://127．0．0．1", "http://ⓛocalhost",
    "http://loc\u00adalhost", "http://exämple.com", "http://раураl.com", "http://example\u2024com", "http://\u202eexample.com",
    "http://example.com\u3002evil.com", "http://169。254。169。254", "http://[::①]", "http://ﬀ.com", "http://example\u200b.com",
)  # fmt: skip
"""Characters that normalisation turns into others."""

FORBIDDEN: tuple[str, ...] = (*METADATA, *PRIVATE, *NUMBERS, *MALFORMED, *FOREIGN)

PUBLIC: tuple[str, ...] = (
    "https://api.openai.com", "https://api.openai.com/v1", "https://api.openai.com/v1/", "http://example.com",
    "https://example.com:8443/llm/v1", "HTTPS://EXAMPLE.COM", "https://xn--exmple-cua.com", "https://1.1.1.1",
    "https://8.8.8.8:443/v1", "https://[2606:4700:4700::1111]", "https://[2606:4700:4700::1111]:8443/v1",
    "https://a-b.example.co.uk", "https://1password.com", "https://example.com/a%20b", "https://example.com/v1;x",
)  # fmt: skip
"""What a client may name."""
