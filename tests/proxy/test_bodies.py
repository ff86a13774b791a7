"""What is taken out of bodies before they are kept: everything that matches, and never at the price of the others."""

from __future__ import annotations

import re
import time

import pytest

from proxy.bodies import HIDDEN, redacted

MAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+")


@pytest.mark.parametrize("before", [0, 1, 500, 767, 768, 769, 1000, 1010, 1023, 1024, 1025, 5000])
@pytest.mark.parametrize("size", [8, 100, 250])
def test_what_matches_is_taken_out_wherever_it_stands(before: int, size: int) -> None:
    secret = f"{'n' * (size - 7)}@ab.cde"[-size:]
    text = f"{' ' * before}{secret} and {secret}, {secret}"
    assert redacted(MAIL, text) == MAIL.sub(HIDDEN, text)


@pytest.mark.parametrize("pattern", [r"\d+", r"secret-[0-9]+", r"(?<=key=)\w+", r"x+", r"\b\d{3}-\d{2}-\d{4}\b"])
def test_a_text_of_one_window_reads_as_re_has_it(pattern: str) -> None:
    text = "key=abc 123-45-6789 secret-1secret-22 4 xx y"
    assert redacted(re.compile(pattern), text) == re.sub(pattern, HIDDEN, text)


def test_a_pattern_that_matches_nothing_at_all_hides_nothing() -> None:
    assert redacted(re.compile("x*"), "axxb") == f"a{HIDDEN}b"


def test_a_secret_longer_than_a_window_goes_as_a_whole() -> None:
    assert redacted(re.compile(r"sk-\w+"), f"a sk-{'x' * 1000} b") == f"a {HIDDEN} b"


def test_no_text_makes_a_plain_pattern_hold_the_interpreter() -> None:
    # Twelve seconds, if it were tried on the text as a whole: it begins anew at each letter and reads to the end.
    began = time.process_time()
    redacted(MAIL, "a" * 65_536)
    assert time.process_time() - began < 4
