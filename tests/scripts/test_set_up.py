import json
from pathlib import Path

import pytest

from scripts.set_up import (
    Package,
    SetUpError,
    choose_torch_index,
    cuda_packages,
    read_report,
    requirements,
    stamp_of,
    without_credentials,
)

CPU_INDEX = "https://index.example/cpu"
CPU_TORCH = Package("torch", "2.13.0+cpu", ("filelock", "sympy"))
CUDA_TORCH = Package("torch", "2.13.0", ("filelock", "nvidia-cublas"))


class Indexes:
    """What pip would answer, and which indexes it was asked for."""

    def __init__(self, ordinary: list[Package], cpu: list[Package]) -> None:
        self.answers = {None: ordinary, CPU_INDEX: cpu}
        self.asked: list[str | None] = []

    def resolve(self, index: str | None) -> list[Package]:
        self.asked.append(index)
        return self.answers[index]


def test_the_ordinary_index_is_used_where_it_brings_no_cuda_package() -> None:
    indexes = Indexes(ordinary=[CPU_TORCH, Package("filelock", "4.2")], cpu=[])
    assert choose_torch_index(indexes.resolve, CPU_INDEX) is None
    assert indexes.asked == [None]


@pytest.mark.parametrize(
    "extra",
    [
        Package("nvidia-cublas", "13.1"),
        Package("nvidia_cudnn_cu13", "9.1"),
        Package("cuda-bindings", "13.0"),
        Package("torch", "2.13.0+cu130"),
    ],
)
def test_the_cpu_index_is_used_where_cuda_packages_would_come(extra: Package) -> None:
    indexes = Indexes(ordinary=[CUDA_TORCH, extra], cpu=[CPU_TORCH])
    assert choose_torch_index(indexes.resolve, CPU_INDEX) == CPU_INDEX


@pytest.mark.parametrize("torch", [CUDA_TORCH, Package("torch", "2.13.0+cu130")])
def test_set_up_stops_where_cuda_packages_would_still_come(torch: Package) -> None:
    indexes = Indexes(ordinary=[CUDA_TORCH], cpu=[torch])
    with pytest.raises(SetUpError, match="TORCH_INDEX_URL") as stop:
        choose_torch_index(indexes.resolve, CPU_INDEX)
    assert "\n" not in str(stop.value)


def test_packages_that_only_sound_alike_are_not_cuda_packages() -> None:
    packages = [Package("triton", "3.5"), Package("torchvision", "0.29"), Package("cudatext", "1")]
    assert cuda_packages(packages) == []


def test_a_report_is_read_with_what_each_package_needs() -> None:
    needs = ["filelock", "nvidia-cublas==13.1; platform_system == 'Linux'", 'x>1; extra == "y"']
    metadata = {"name": "torch", "version": "2.13.0", "requires_dist": needs}
    report = json.dumps({"install": [{"metadata": metadata}]})
    assert read_report(report) == [Package("torch", "2.13.0", ("filelock", "nvidia-cublas"))]


def test_credentials_of_an_index_are_not_shown() -> None:
    assert without_credentials("https://me:secret@host:8/cpu") == "https://***@host:8/cpu"
    assert without_credentials(CPU_INDEX) == CPU_INDEX


PROJECT = {
    "build-system": {},
    "project": {
        "dependencies": ["numpy>=1"],
        "optional-dependencies": {
            "torch": ["torch"],
            "demo": ["torch", "scikit-learn"],
            "depot": ["obstore"],
        },
    },
    "dependency-groups": {"lint": ["ruff"], "dev": [{"include-group": "lint"}, "pytest"]},
}


def test_requirements_are_those_of_the_package_its_extras_and_its_groups() -> None:
    assert requirements(PROJECT) == [
        "numpy>=1",
        "obstore",
        "pytest",
        "ruff",
        "scikit-learn",
        "torch",
    ]


def test_a_new_pin_a_moved_tree_or_another_python_sets_up_again() -> None:
    stamps = {
        stamp_of(PROJECT, b"numpy==2", Path("/a"), "3.11"),
        stamp_of(PROJECT, b"numpy==3", Path("/a"), "3.11"),
        stamp_of(PROJECT, b"numpy==2", Path("/b"), "3.11"),
        stamp_of(PROJECT, b"numpy==2", Path("/a"), "3.12"),
    }
    assert len(stamps) == 4
