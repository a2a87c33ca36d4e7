from collections.abc import Mapping
from pathlib import Path

import pytest

from service.inference.threads import available_cpus


def cgroup(directory: Path, files: Mapping[str, str]) -> Path:
    for name, content in files.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(content + "\n", encoding="ascii")
    return directory


def v1(quota: int, period: int = 100_000) -> dict[str, str]:
    return {"cpu/cpu.cfs_quota_us": str(quota), "cpu/cpu.cfs_period_us": str(period)}


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        pytest.param({}, 8, id="no cgroup"),
        pytest.param({"cpu.max": "max 100000"}, 8, id="v2 without limit"),
        pytest.param({"cpu.max": "200000 100000"}, 2, id="v2 two CPUs"),
        pytest.param({"cpu.max": "250000 100000"}, 3, id="v2 a fraction counts as a whole CPU"),
        pytest.param({"cpu.max": "10000 100000"}, 1, id="v2 at least one"),
        pytest.param({"cpu.max": "1600000 100000"}, 8, id="v2 more than the affinity mask allows"),
        pytest.param({"cpu.max": "rubbish"}, 8, id="v2 unreadable"),
        pytest.param(v1(-1), 8, id="v1 without limit"),
        pytest.param(v1(300_000), 3, id="v1 three CPUs"),
        pytest.param(v1(50_000), 1, id="v1 at least one"),
        pytest.param(v1(100_000, period=0), 8, id="v1 without period"),
    ],
)
def test_cpus_are_the_affinity_mask_cut_to_the_quota(tmp_path: Path, files: dict[str, str], cpus: int) -> None:
    assert available_cpus(affinity=8, cgroup=cgroup(tmp_path, files)) == cpus


def test_this_process_has_a_cpu() -> None:
    assert available_cpus() >= 1


@pytest.mark.parametrize(("processes", "share"), [(1, 8), (2, 4), (3, 2), (9, 1)])
def test_processes_share_the_cpus(processes: int, share: int, tmp_path: Path) -> None:
    assert available_cpus(processes=processes, affinity=8, cgroup=tmp_path) == share
