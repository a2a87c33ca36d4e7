"""What the kernel says of the container, read from files as cgroup v2 has them."""

from pathlib import Path

import pytest

from service.observability.cgroup import CgroupCollector


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    """Make a control group with limits."""
    files = {
        "memory.current": "1048576\n",
        "memory.max": "4194304\n",
        "cpu.stat": "usage_usec 2500000\nuser_usec 2000000\nnr_periods 10\nnr_throttled 3\nthrottled_usec 1500000\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    return tmp_path


def shown(mount: Path, own: str = "0::/\n") -> dict[str, float]:
    path = mount / "self"
    path.write_text(own)
    return {metric.samples[0].name: metric.samples[0].value for metric in CgroupCollector(mount=mount, own=path).collect()}


def test_memory_and_cpu_are_shown_in_base_units(mount: Path) -> None:
    assert shown(mount) == {
        "axon_cgroup_memory_bytes": 1048576,
        "axon_cgroup_memory_limit_bytes": 4194304,
        "axon_cgroup_cpu_seconds_total": 2.5,
        "axon_cgroup_cpu_throttled_periods_total": 3,
        "axon_cgroup_cpu_throttled_seconds_total": 1.5,
    }


def test_no_limit_is_shown_where_there_is_none(mount: Path) -> None:
    (mount / "memory.max").write_text("max\n")

    assert "axon_cgroup_memory_limit_bytes" not in shown(mount)


def test_own_group_is_found_on_a_host(mount: Path) -> None:
    (mount / "axon.service").mkdir()
    (mount / "axon.service" / "memory.current").write_text("7\n")

    assert shown(mount, "0::/axon.service\n") == {"axon_cgroup_memory_bytes": 7}


def test_nothing_is_shown_where_there_are_no_files(tmp_path: Path) -> None:
    assert shown(tmp_path) == {}
