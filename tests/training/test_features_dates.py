from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.repository.signature import TensorSpec
from training.features import Features, fit_features
from training.features.calendar import FIRST, LAST
from training.features.dates import counted, parsed, parts_of
from training.features.running import evaluate
from training.spec.features import DateSpec

Array = np.ndarray[Any, Any]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ALL = ("year", "month", "day", "weekday", "hour", "minute", "day_of_year", "elapsed")
SECONDS = TensorSpec(name="when", datatype="INT64", shape=(-1,))
ISO = TensorSpec(name="when", datatype="BYTES", shape=(-1,))


def number(name: str) -> TensorSpec:
    return TensorSpec(name=name, datatype="INT64", shape=(-1,))


def fitted(spec: DateSpec, values: Array) -> Features:
    return fit_features({"when": spec}, {"when": values})


def seconds_of(texts: list[str]) -> list[int]:
    values = np.array(texts, dtype=object)
    return evaluate(lambda graph, raw: parsed(graph, raw).seconds, ISO, values, number("seconds")).tolist()


def valid(texts: list[str]) -> list[bool]:
    flag = TensorSpec(name="valid", datatype="BOOL", shape=(-1,))
    return evaluate(lambda graph, raw: parsed(graph, raw).valid, ISO, np.array(texts, dtype=object), flag).tolist()


def parts(seconds: list[int]) -> list[tuple[int, ...]]:
    values = np.array(seconds, dtype=np.int64)
    columns = [evaluate(lambda graph, raw, p=part: parts_of(graph, raw)[p], SECONDS, values, number(part)) for part in ALL]
    return [tuple(int(value) for value in row) for row in zip(*columns, strict=True)]


def expected_parts(second: int) -> tuple[int, ...]:
    at = EPOCH + timedelta(seconds=second)
    return at.year, at.month, at.day, at.weekday(), at.hour, at.minute, at.timetuple().tm_yday, second // 86400


def test_first_and_last_moment_are_those_of_datetime() -> None:
    assert EPOCH + timedelta(seconds=FIRST) == datetime(1, 1, 1, tzinfo=UTC)
    assert EPOCH + timedelta(seconds=LAST) == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(FIRST, LAST), min_size=1, max_size=64))
def test_parts_of_a_moment_are_those_of_datetime(seconds: list[int]) -> None:
    edges = [FIRST, LAST, 0, -1, 951_782_400, 951_868_800, -2_203_891_200, 4_107_542_399]

    assert parts([*edges, *seconds]) == [expected_parts(second) for second in [*edges, *seconds]]


def test_every_day_of_four_centuries_is_right() -> None:
    seconds = [day * 86400 + 3661 for day in range(-30000, -30000 + 146097, 7)]

    assert parts(seconds) == [expected_parts(second) for second in seconds]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.datetimes(timezones=st.just(UTC)), min_size=1, max_size=20))
def test_iso_strings_are_the_moments_of_datetime(moments: list[datetime]) -> None:
    whole = [moment.replace(microsecond=0) for moment in moments]
    wanted = [int((moment - EPOCH).total_seconds()) for moment in whole]

    assert seconds_of([moment.strftime("%4Y-%m-%dT%H:%M:%SZ") for moment in whole]) == wanted
    assert seconds_of([moment.strftime("%4Y-%m-%d %H:%M:%S") for moment in whole]) == wanted
    assert seconds_of([moment.strftime("%4Y-%m-%d") for moment in whole]) == [second - second % 86400 for second in wanted]


@pytest.mark.parametrize(
    "text",
    [
        "", "yesterday", "2013-02-29", "2013-04-31", "2013-00-10", "2013-13-10", "2013-01-00", "0000-05-05", "2013-1-1",
        "2013-01-01T24:00", "2013-01-01T10:60", "2013-01-01T10:00:60", "2013-01-01T10", "2013-01-01T10:00+02:00",
        "2013-01-01\n", " 2013-01-01", "x2013-01-01", "2013-01-01 2014-01-01", "20130101", "2013/01/01", "99999-01-01",
        "2013-01-01T10:00:00.", "٢٠١٣-01-01", "9" * 400,
    ],
)  # fmt: skip
def test_what_is_no_date_is_missing(text: str) -> None:
    assert valid([text]) == [False]
    assert valid([text, "2012-02-29"]) == [False, True]


def test_fraction_of_a_second_is_cut_off() -> None:
    assert seconds_of(["1970-01-01T00:00:07.999999999999999999999999Z", "1970-01-01T00:01"]) == [7, 60]


def test_milliseconds_are_rounded_down() -> None:
    values = np.array([-1, 0, 999, 1000, LAST * 1000 + 999], dtype=np.int64)

    found = evaluate(lambda graph, raw: counted(graph, raw, "milliseconds").seconds, SECONDS, values, number("seconds"))

    assert found.tolist() == [-1, 0, 0, 1, LAST]


def test_cyclic_parts_are_sine_and_cosine_and_the_year_is_scaled() -> None:
    days = np.array(["2013-01-31", "2014-12-01T18:00", "2015-07-01"], dtype=object)
    features = fitted(DateSpec(parts=("year", "month", "hour")), days)

    found = features.transform({"when": days})["dense"]

    assert features.feature_names == ("when.year", "when.month.sin", "when.month.cos", "when.hour.sin", "when.hour.cos")
    angles = [2 * np.pi * np.array([0, 11, 6]) / 12, 2 * np.pi * np.array([0, 18, 0]) / 24]
    years = np.array([-1, 0, 1]) / np.std([-1, 0, 1])
    expected = np.stack([years, *(wave(angle) for angle in angles for wave in (np.sin, np.cos))], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_strings_and_seconds_give_the_same_features() -> None:
    days = [datetime(2000, 1, 1, tzinfo=UTC) + timedelta(hours=number * 1111) for number in range(64)]
    texts = np.array([day.strftime("%Y-%m-%dT%H:%M:%SZ") for day in days], dtype=object)
    seconds = np.array([int(day.timestamp()) for day in days], dtype=np.int64)
    spec = DateSpec(parts=ALL, cyclic=False)
    from_texts, from_seconds = fitted(spec, texts), fitted(spec, seconds)

    for size in (1, 2, 7, 64):
        ours = from_texts.transform({"when": texts[:size]})["dense"]
        np.testing.assert_array_equal(ours, from_seconds.transform({"when": seconds[:size]})["dense"])
    assert 0 <= ours[:, 1:7].min() <= ours[:, 1:7].max() <= 1


def test_missing_date_is_zeros_and_has_an_indicator_if_training_has_one() -> None:
    features = fitted(DateSpec(), np.array(["2013-01-31", "", "2014-01-31"], dtype=object))

    found = features.transform({"when": np.array(["", "no date", "2013-06-06"], dtype=object)})["dense"]

    assert features.feature_names[-1] == "when=<missing>"
    assert not found[:2, :-1].any()
    assert found[:, -1].tolist() == [1, 1, 0]


def test_seconds_outside_the_calendar_are_missing() -> None:
    features = fitted(DateSpec(), np.array([0, 86400], dtype=np.int64))

    found = features.transform({"when": np.array([-(2**63), 2**63 - 1, LAST + 1, FIRST - 1], dtype=np.int64)})["dense"]

    assert not found.any()
