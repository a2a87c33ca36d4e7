import gc

import pytest

from service.inference.thread_plan import ThreadPlan


def test_a_model_alone_gets_all_cpus() -> None:
    assert ThreadPlan(8).grant("m", 1).intra_op == 8


@pytest.mark.parametrize(("models", "each"), [(2, 4), (3, 2), (8, 1), (20, 1)])
def test_expected_models_share_the_cpus(models: int, each: int) -> None:
    plan = ThreadPlan(8)
    plan.expect(models)

    grants = [plan.grant(f"m{index}", 1) for index in range(models)]

    assert [grant.intra_op for grant in grants] == [each] * models
    assert plan.busy <= max(8, models)


def test_runs_of_several_instances_and_their_pool_share_the_cpus() -> None:
    """Three callers, and a pool that adds five threads."""
    grant = ThreadPlan(8).grant("m", 1, instances=3)

    assert (grant.intra_op, grant.threads) == (6, 8)


def test_versions_side_by_side_share_the_cpus_of_their_model() -> None:
    plan = ThreadPlan(8)

    kept = [plan.grant("m", number, versions=2) for number in (1, 2)]

    assert [grant.intra_op for grant in kept] == [4, 4]
    assert plan.busy == 8


def test_version_that_replaces_another_gets_the_same() -> None:
    plan = ThreadPlan(8)
    plan.expect(2)
    other = plan.grant("other", 1)
    old = plan.grant("m", 1)

    new = plan.grant("m", 2)

    assert (other.intra_op, old.intra_op, new.intra_op) == (4, 4, 4)
    assert plan.busy == 8


def test_model_that_comes_later_gets_what_is_left() -> None:
    plan = ThreadPlan(8)
    plan.expect(2)
    first = plan.grant("first", 1, intra_op=6)

    second = plan.grant("second", 1)

    assert (first.intra_op, second.intra_op) == (6, 2)


def test_unloaded_model_gives_its_cpus_back() -> None:
    plan = ThreadPlan(8)
    gone = plan.grant("gone", 1)
    del gone
    gc.collect()

    assert plan.grants == []
    assert plan.grant("m", 1).intra_op == 8


def test_model_that_asks_for_more_threads_than_there_are_cpus_is_named(caplog: pytest.LogCaptureFixture) -> None:
    plan = ThreadPlan(2)
    kept = [plan.grant("a", 1), plan.grant("b", 1, intra_op=2)]

    assert plan.busy == sum(grant.threads for grant in kept) == 4
    assert "with model b, 1 at once on 2 threads, the models can keep 4 threads busy; the process has 2 CPUs" in caplog.text


def test_more_models_than_cpus_are_no_mistake(caplog: pytest.LogCaptureFixture) -> None:
    plan = ThreadPlan(2)
    plan.expect(3)

    grants = [plan.grant(name, 1) for name in "abc"]

    assert [grant.intra_op for grant in grants] == [1, 1, 1]
    assert caplog.messages == []


def test_grants_are_listed() -> None:
    plan = ThreadPlan(4)

    grant = plan.grant("m", 3, instances=2)

    assert plan.grants == [grant]
    assert str(grant) == "2 instances, 3 threads a run"
