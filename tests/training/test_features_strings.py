import re
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from training.features import Features, fit_features
from training.spec.features import CategoricalSpec, FeatureSpec, HashedSpec, TextSpec

Array = np.ndarray[Any, Any]
BATCHES = (1, 2, 7, 64)
PRIME = 2**31 - 1
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)


def strings(*values: str) -> Array:
    return np.array(values, dtype=object)


def fitted(spec: FeatureSpec, values: Array) -> Features:
    return fit_features({"x": spec}, {"x": values})


def dense(features: Features, values: Array) -> Array:
    return features.transform({"x": values})["dense"]


@pytest.fixture
def towns() -> Array:
    """64 towns, the seventh of which is missing; Wien is the most frequent and Bad Ischl is named once."""
    return strings(*["Wien", "Graz", "Linz", "Wien", "Graz", "Wien", ""] * 9, "Bad Ischl")


def test_one_hot_is_that_of_pandas(towns: Array) -> None:
    expected = pd.get_dummies(pd.Series(towns))[["Wien", "Graz", "Linz", "Bad Ischl", ""]]
    features = fitted(CategoricalSpec(), towns)

    for size in BATCHES:
        np.testing.assert_array_equal(dense(features, towns[:size]), expected[:size])
    assert features.feature_names == ("x=Wien", "x=Graz", "x=Linz", "x=Bad Ischl", "x=<missing>")


def test_unseen_string_is_zeros_unless_training_has_others(towns: Array) -> None:
    """A feature that is 0 in every training row would keep its random weights."""
    served = strings("Wien", "Rom", "wien", "Bad Ischl")

    closed = dense(fitted(CategoricalSpec(), towns), served)
    opened = fitted(CategoricalSpec(min_count=2), towns)

    np.testing.assert_array_equal(closed, [[1, 0, 0, 0, 0], [0] * 5, [0] * 5, [0, 0, 0, 1, 0]])
    assert opened.feature_names[-1] == "x=<other>"
    assert dense(opened, served)[:, -1].tolist() == [0, 1, 1, 1]


def test_missing_string_that_training_never_saw_is_like_any_other() -> None:
    features = fitted(CategoricalSpec(min_count=2), strings("a", "a", "b"))

    assert features.feature_names == ("x=a", "x=<other>")
    np.testing.assert_array_equal(dense(features, strings("", "a")), [[0, 1], [1, 0]])


def test_vocabulary_is_of_the_training_rows_by_frequency_then_alphabet() -> None:
    features = fitted(CategoricalSpec(max_size=3), strings(*"cabbaddd"))

    assert features.description["x"]["vocabulary"] == ["d", "a", "b"]


def test_lower_casing_folds_ascii_alone() -> None:
    features = fitted(CategoricalSpec(lowercase=True), strings("ÄB", "äb", "Äb", "aB"))

    assert features.feature_names == ("x=Äb", "x=ab", "x=äb")
    np.testing.assert_array_equal(dense(features, strings("ÄB", "AB", "a\0B")), [[1, 0, 0], [0, 1, 0], [0, 0, 0]])


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.int32, np.uint8])
def test_numbers_are_categories_too(dtype: type) -> None:
    values = np.array([3, 1, 3, 2, 1, 3], dtype=dtype)
    features = fitted(CategoricalSpec(), values)

    assert features.feature_names == ("x=3", "x=1", "x=2")
    np.testing.assert_array_equal(dense(features, np.array([2, 3, 9], dtype=dtype)), [[0, 0, 1], [1, 0, 0], [0, 0, 0]])


def test_integers_beyond_two_to_the_53_are_told_apart() -> None:
    values = np.array([2**60, 2**60 + 1, -(2**63)], dtype=np.int64)

    np.testing.assert_array_equal(dense(fitted(CategoricalSpec(), values), values).sum(axis=0), [1, 1, 1])


def test_floats_between_the_categories_and_missing_ones() -> None:
    features = fitted(CategoricalSpec(), np.float32([1, 2, 2, np.nan]))

    assert features.feature_names == ("x=2", "x=1", "x=<missing>")
    found = dense(features, np.float32([1, 1.5, np.nan, np.inf]))
    np.testing.assert_array_equal(found, [[0, 1, 0], [0, 0, 0], [0, 0, 1], [0, 0, 1]])


def test_embedding_takes_ids_with_room_for_missing_and_unseen_values(towns: Array) -> None:
    features = fitted(CategoricalSpec(encoding="embedding", oov_buckets=4), towns)
    (output,) = features.outputs
    ids = features.transform({"x": strings("Wien", "Graz", "Linz", "Bad Ischl", "", "Rom", "Paris")})["x_id"]

    assert ids[:5].tolist() == [0, 1, 2, 3, 4]
    assert set(ids[5:]) <= set(range(5, 9))
    assert (output.name, output.value_range) == ("x_id", (0, 8))
    assert features.embedding_dimensions == {"x_id": 6}
    assert features.feature_names == ()


def test_unseen_integers_share_buckets_by_their_hash() -> None:
    values = np.array([5, 5, 7], dtype=np.int64)
    features = fitted(CategoricalSpec(min_count=2, oov_buckets=3), values)
    places = [number_hash(number, 3, 0) for number in (7, 2**62, -1)]

    found = dense(features, np.array([7, 2**62, -1, 5], dtype=np.int64))

    assert features.feature_names == ("x=5", "x=<other>", "x=<other 1>", "x=<other 2>")
    np.testing.assert_array_equal(found, np.eye(4)[[*(place + 1 for place in places), 0]])


def hash_of(text: str, alphabet: set[str], buckets: int, salt: int) -> int:
    """Hash as hashing.py says, in Python's integers."""
    codes = [ord(character) if character in alphabet else 0x110000 for character in text[:1024]]
    return number_hash(sum(code * pow(1_000_003, place + 1, PRIME) for place, code in enumerate(codes)), buckets, salt)


def number_hash(number: int, buckets: int, salt: int) -> int:
    return (pow(48271, salt + 1, PRIME) * (number % PRIME) + pow(69621, salt + 1, PRIME)) % PRIME % buckets


@settings(max_examples=60, deadline=None)
@given(st.lists(texts, min_size=1, max_size=8), st.lists(texts, min_size=1, max_size=8), st.integers(0, 2**31 - 2))
def test_string_hash_is_the_documented_one(train: list[str], served: list[str], salt: int) -> None:
    alphabet = {chr(code) for code in range(0x20, 0x7F)}.union(*train)
    features = fitted(HashedSpec(buckets=97, salt=salt), strings(*train))

    found = features.transform({"x": strings(*served)})["x_id"]

    assert found.tolist() == [hash_of(text, alphabet, 97, salt) if text else 97 for text in served]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1), st.integers(2, 10**6), st.integers(0, 2**31 - 2))
def test_integer_hash_is_the_documented_one(numbers: list[int], buckets: int, salt: int) -> None:
    values = np.array(numbers, dtype=np.int64)

    found = fitted(HashedSpec(buckets=buckets, salt=salt), values).transform({"x": values})["x_id"]

    assert found.tolist() == [number_hash(number, buckets, salt) for number in numbers]


def test_hash_spreads_and_a_salt_changes_it() -> None:
    names = strings(*(f"customer-{number}" for number in range(4000)))

    first, second = (fitted(HashedSpec(buckets=40, salt=salt), names).transform({"x": names})["x_id"] for salt in (0, 1))

    assert all(50 < count < 170 for count in Counter(first.tolist()).values())
    assert np.mean(first == second) < 0.1


def test_long_strings_are_hashed_by_their_first_1024_characters() -> None:
    features = fitted(HashedSpec(buckets=1000), strings("a"))

    ids = features.transform({"x": strings("a" * 1024, "a" * 5000, "a" * 1023)})["x_id"]

    assert ids[0] == ids[1] != ids[2]


DOCUMENTS = strings("Good food, good WINE!", "bad food", "", "good wine; bad service", "Ärger: bad Food", "the food was good 2")


@pytest.mark.parametrize("ngrams", [1, 2])
@pytest.mark.parametrize("encoding", ["counts", "binary", "tfidf"])
def test_bags_of_words_are_those_of_scikit_learn(encoding: str, ngrams: int) -> None:
    features = fitted(TextSpec(encoding=encoding, ngrams=ngrams, min_count=1), DOCUMENTS)  # type: ignore[arg-type]
    names = [name.removeprefix("x:") for name in features.feature_names]
    options = {
        "ngram_range": (1, ngrams),
        "lowercase": False,
        "tokenizer": lambda text: re.findall(r"\w+", text),
        "token_pattern": None,
    }
    theirs = (
        TfidfVectorizer(norm=None, **options) if encoding == "tfidf" else CountVectorizer(binary=encoding == "binary", **options)
    )
    folded = [re.sub("[A-Z]", lambda match: match[0].lower(), text) for text in DOCUMENTS]
    expected = theirs.fit_transform(folded).toarray()[:, [theirs.vocabulary_[name] for name in names]]

    assert len(names) == len(theirs.vocabulary_)
    for size in BATCHES:
        batch = np.resize(DOCUMENTS, size)
        np.testing.assert_allclose(dense(features, batch), np.resize(expected, (size, len(names))), rtol=1e-6)


def test_unseen_words_and_empty_texts_count_nothing() -> None:
    features = fitted(TextSpec(encoding="counts"), DOCUMENTS)

    assert not dense(features, strings("", "nothing known", "!?")).any()
    assert not dense(features, strings("")).any()


def test_token_ids_are_cut_and_filled_to_length() -> None:
    features = fitted(TextSpec(encoding="ids", length=4, dimension=8), DOCUMENTS)
    (output,) = features.outputs
    vocabulary = [token for (token,) in features.description["x"]["vocabulary"]]

    ids = features.transform({"x": strings("", "GOOD rum", "food food food food wine")})["x_ids"]
    alone = features.transform({"x": strings("")})["x_ids"]

    assert vocabulary == ["food", "good", "bad", "wine"]
    assert ids.tolist() == [[0, 0, 0, 0], [3, 1, 0, 0], [2, 2, 2, 2]]
    assert alone.tolist() == [[0, 0, 0, 0]]
    assert (output.shape, output.datatype, output.value_range) == ((-1, 4), "INT64", (0, 5))
    assert features.embedding_dimensions == {"x_ids": 8}
