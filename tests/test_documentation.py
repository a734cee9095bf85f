"""The documentation builds without a warning, and every block of code in it runs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import keras_lodin
from keras_lodin.workflows import train, tune_model
from tests.processes import forked

ROOT = Path(__file__).resolve().parents[1]
# The notebook of `examples` is the tutorial, and `make test-slow` runs it.
RUN_ELSEWHERE = {Path("docs/tutorial.md")}
PAGES = sorted(
    path.relative_to(ROOT)
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    if "results" not in path.parts
)
BLOCK = re.compile(
    r"(?P<mark><!-- (?P<kind>not run|before)(?::? ?(?P<note>.*?))? ?-->\n)?"
    r"```(?P<language>python|sh)\n(?P<code>.*?)```",
    re.DOTALL,
)


def blocks(page):
    """Language, code, what precedes it unseen, and why it is not run."""
    for match in BLOCK.finditer((ROOT / page).read_text(encoding="utf-8")):
        kind, note = match["kind"], match["note"] or ""
        yield (
            match["language"],
            match["code"],
            note if kind == "before" else "",
            kind == "not run",
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """What a reader of a guide has: a classifier and a detector of digits 0 to 6."""
    folder = tmp_path_factory.mktemp("world")
    run = train("digits:0-6", "small_convnet", folder / "run", epochs=8, verbose=0)
    shutil.copy(run / "model.keras", folder / "classifier.keras")
    tune_model(run, "digits:0-6", folder / "detector.keras", verbose=0)
    return folder


@pytest.fixture
def own_names():
    """Takes away what a page has registered: other tests count what there is."""
    registries = (keras_lodin.data.SOURCES, keras_lodin.metrics.FIGURES)
    before = [dict(registry) for registry in registries]
    yield
    for registry, known in zip(registries, before, strict=True):
        for name in registry.keys() - known.keys():
            del registry[name]


@pytest.mark.parametrize(
    "page",
    [
        # What a stranger runs first runs every time.
        page if page.name == "README.md" else pytest.param(page, marks=pytest.mark.slow)
        for page in PAGES
        if any(blocks(page)) and page not in RUN_ELSEWHERE
    ],
    ids=str,
)
@pytest.mark.usefixtures("own_names")
def test_every_block_runs(page, request, tmp_path, monkeypatch):
    if page.name == "README.md":  # which makes the detector
        run = request.getfixturevalue("run")
        shutil.copy(run / "model.keras", tmp_path / "classifier.keras")
    else:
        world = request.getfixturevalue("world")
        for name in ("classifier.keras", "detector.keras"):
            shutil.copy(world / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    # The page's `keras-lodin` and `python`; one as it is installed is tried by its quickstart.
    folders = (forked("keras-lodin").parent, Path(sys.executable).parent, os.environ["PATH"])
    path = os.pathsep.join(map(str, folders))
    names = {"__name__": "__main__"}
    for language, code, before, skipped in blocks(page):
        if skipped:
            continue
        if language == "sh":
            done = subprocess.run(
                ["bash", "-euc", code],
                env={**os.environ, "PATH": path},
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
        else:
            exec(compile(before + "\n" + code, str(page), "exec"), names)


@pytest.mark.parametrize("page", [page for page in PAGES if any(blocks(page))], ids=str)
def test_blocks_that_are_not_run_name_what_exists(page):
    from keras_lodin_cli.main import main

    for language, code, _, skipped in blocks(page):
        if not skipped:
            continue
        if language == "python":
            compile(code, str(page), "exec")
            for name in re.findall(r"keras_lodin\.(\w+)", code):
                assert hasattr(keras_lodin, name)
            continue
        for line in re.findall(r"^ *keras-lodin (.*)$", code.replace("\\\n", ""), re.MULTILINE):
            # What follows `--` are options of another program.
            words = line.split(" #")[0].partition(" -- ")[0].split()
            command = main.commands[words.pop(0)]
            while hasattr(command, "commands"):
                command = command.commands[words.pop(0)]
            known = {option for parameter in command.params for option in parameter.opts}
            assert {word for word in words if word.startswith("--")} <= known, line


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    done = subprocess.run(
        [*(sys.executable, "-m", "mkdocs", "build", "--strict"), "-d", tmp_path / "site"],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    reference = (tmp_path / "site/reference/index.html").read_text()
    public = {name for name in vars(keras_lodin) if name[0] != "_"}
    for name in ("GQModel", "ODINDetector", "Evaluation", "sweep", "Candidate"):
        assert name in public
        assert re.search(rf'id="keras_lodin[.\w]*\.{name}"', reference)
    pages = "".join(path.read_text() for path in (tmp_path / "site").rglob("*.html"))
    assert not re.search(r"<(link|script|img)[^>]+(href|src)=\"?https?://(?!\S*canonical)", pages)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\((?!http|#)([^)#\s]+)", text):
        assert ((ROOT / page).parent / link).exists(), link
