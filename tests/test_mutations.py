"""The list of mutations follows the code: each can be made, and its tests are there."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import mutations


def test_every_mutation_can_be_made_and_its_tests_are_there():
    mutations.check()
    assert len(mutations.MUTATIONS) >= 70
    rooms = {mutation.name.partition("/")[0] for mutation in mutations.MUTATIONS}
    folders = (mutations.ROOT / "keras_lodin").iterdir()
    assert rooms - {"cli"} == {
        folder.name for folder in folders if (folder / "__init__.py").exists()
    }
