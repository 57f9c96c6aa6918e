"""What the daemon decides, without a socket or a clock; and what its file may say."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfc.bond.config import MS, Config, parse
from nfc.bond.daemon import read_state
from nfc.bond.links import Links
from nfc.errors import NfcError

EXAMPLES = Path(__file__).parents[2] / "examples" / "bond"
TEXT = (EXAMPLES / "cpe.toml").read_text()
CONFIG = parse(TEXT, "cpe.toml")


def answer_all(links: Links, now: int, *delays: int) -> None:
    for link, delay in zip(links.all, delays, strict=True):
        links.answered(link, now, delay, 2 * delay)


def test_a_link_that_is_silent_too_long_is_out_and_back_after_some_answers() -> None:
    links = Links(CONFIG, 0)
    a, b = links.all
    assert links.weights() == {"weight_a": 1, "weight_b": 1}
    for now in range(0, 2000, 50):
        links.asked()
        links.answered(b, now * MS, 5 * MS, 10 * MS)
        failed = links.silent(now * MS)
        assert failed == ([a] if now == 550 else [])  # once, when 500 ms are over
    assert links.weights() == {"weight_a": 0, "weight_b": 1}
    came = [links.answered(a, (2000 + n) * MS, 30 * MS, 60 * MS) for n in range(6)]
    assert came == [False] * 4 + [True, False]
    assert links.weights() == {"weight_a": 1, "weight_b": 1}


def test_answers_before_it_fails_again_do_not_count() -> None:
    links = Links(CONFIG, 0)
    a, b = links.all
    for now in (600, 1300, 2000, 2700, 3400, 4100):
        for _ in range(14):
            links.asked()
        links.answered(b, now * MS, 5 * MS, 10 * MS)
        links.silent(now * MS)
        assert not links.answered(a, now * MS, 1, 1)
    assert not a.up


def test_if_nobody_answers_all_links_stay_in() -> None:
    links = Links(CONFIG, 0)
    for _ in range(12):
        links.asked()
    assert len(links.silent(600 * MS)) == 2
    assert links.weights() == {"weight_a": 1, "weight_b": 1}
    assert set(links.hold().values()) == {0}


def test_a_link_that_was_not_asked_is_not_to_blame() -> None:
    """A daemon that was stopped for a while, or did not get to run, has heard nobody."""
    links = Links(CONFIG, 0)
    assert links.silent(5000 * MS) == []
    for now in range(5000, 5200, 50):
        links.asked()
        assert links.silent(now * MS) == []
    links.asked()  # the fifth: half of what there should be in 500 ms
    assert links.silent(5200 * MS) == links.all


def test_another_configuration_keeps_what_is_known_of_the_same_links() -> None:
    links = Links(CONFIG, 0)
    answer_all(links, 1, 30 * MS, 5 * MS)
    links.all[0].up, links.all[1].held = False, 7 * MS
    other = parse(TEXT.replace("fd00:cb::1", "fd00:1b::1") + "weight = 9\n", "cpe.toml")
    made = links.adopt(other, 100)
    a, b = made.all
    assert (a.up, len(a.delays)) == (False, 1)
    assert (b.up, b.held, len(b.delays), b.heard, b.config.weight) == (True, 0, 0, 100, 9)
    assert made.weights() == {"weight_a": 0, "weight_b": 9}
    assert links.all[0].config is CONFIG.links[0]  # nothing has changed there


@given(
    st.lists(
        st.tuples(
            st.integers(-(10**12), 10**12), st.integers(0, 150 * MS), st.integers(0, 150 * MS)
        ),
        min_size=3,
        max_size=20,
    )
)
def test_all_links_arrive_alike_whatever_the_clocks_say(
    samples: list[tuple[int, int, int]],
) -> None:
    """The far clock may be ahead by anything, if by the same for both links."""
    offset = samples[0][0]
    links = Links(CONFIG, 0)
    for n, (_, a, b) in enumerate(samples):
        answer_all(links, n * MS, a + offset, b + offset)
    held = links.hold()
    median = [sorted(s[i] for s in samples)[(len(samples) - 1) // 2] for i in (1, 2)]
    assert min(held.values()) == 0
    arrive = [median[0] + held["a"], median[1] + held["b"]]
    assert abs(arrive[0] - arrive[1]) < CONFIG.least or max(held.values()) == CONFIG.most


def test_what_is_not_known_yet_stays_and_a_lone_link_is_not_held_back() -> None:
    links = Links(CONFIG, 0)
    links.all[1].held = 7 * MS
    assert links.hold() == {"a": 0, "b": 7 * MS}
    for now in range(3):
        answer_all(links, now, 20 * MS, 5 * MS)
    assert links.hold() == {"a": 0, "b": 15 * MS}
    links.all[0].up = False
    assert links.hold() == {"a": 0, "b": 0}


def test_old_delays_are_forgotten() -> None:
    links = Links(CONFIG, 0)
    for now in range(5):
        answer_all(links, now * MS, 30 * MS, 5 * MS)
    for now in range(1500, 1505):
        links.silent(now * MS)
        answer_all(links, now * MS, 10 * MS, 5 * MS)
    assert links.hold() == {"a": 0, "b": 5 * MS}


WRONG = {
    "functoin = 1": "x.toml: functoin: there is no such key",
    'state = ""': "x.toml: state must be the name of a file",
    'interval = "1ms"': 'interval must be a time from "5ms" to "1000ms"',
    'interval = "400ms"': "dead_after must be at least twice the interval",
    "equalise = 1": "equalise must be true or false",
    "dead_after = 500": "dead_after must be a time of up to an hour",
}


@pytest.mark.parametrize("line", WRONG)
def test_wrong_configurations(line: str) -> None:
    with pytest.raises(NfcError) as caught:
        parse(f"{line}\n" + TEXT, "x.toml")
    assert WRONG[line] in caught.value.message


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "b"', 'name = "a"', "link[2].name: link 'a' has the same"),
        ('sid = "fd00:bb::6"', 'sid = "b"', "link[2].sid must be an IPv6 address"),
        ('dev = "b"', "weight = 0", "link[2].weight must be a whole number from 1 to 65535"),
        ('dev = "b"', "", "link[2].dev is missing"),
        ("[[link]]\nname", "[[lnik]]\nname", "a bond has 2 to 16 links"),
    ],
)
def test_wrong_links(old: str, new: str, said: str) -> None:
    with pytest.raises(NfcError) as caught:
        parse(TEXT.replace(old, new), "x.toml")
    assert said in caught.value.message


def test_both_examples_are_each_others_mirror() -> None:
    far = parse((EXAMPLES / "agg.toml").read_text(), "agg.toml")
    assert isinstance(far, Config)
    for near, other in zip(CONFIG.links, far.links, strict=True):
        assert near.name == other.name
        assert near.sid.replace("fd00:b", "fd00:c") == other.sid
        assert near.source == other.source.replace("fd00:b", "fd00:c")


@pytest.mark.parametrize(
    "kept", ["", "{}", "[]", '{"version": 2}', '{"version": 1, "links": {"a": 1}, "when": 0}']
)
def test_a_damaged_state_is_an_error_in_words(tmp_path: Path, kept: str) -> None:
    (tmp_path / "state").write_text(kept)
    with pytest.raises(NfcError, match="is not what 'nfc bond run' keeps"):
        read_state(tmp_path / "state")
    assert read_state(tmp_path / "none") == {}
