"""The pages that evaluate, sweep and monitor write, in a real browser."""

import re
import warnings
from itertools import pairwise

import numpy as np
import pytest

import keras_lodin
from keras_lodin import data
from keras_lodin.detectors import EnergyDetector, MSPDetector
from keras_lodin.evaluation.monitoring import Monitoring
from keras_lodin.metrics import Monitor
from keras_lodin.report import page
from keras_lodin.workflows.sweeps import Candidate
from keras_lodin.workflows.sweeps.halving import plan
from keras_lodin.workflows.sweeps.page import sweep_report
from keras_lodin.workflows.sweeps.recommendation import recommend
from tests import networks
from tests.browser import colours

KINDS = ["evaluation", "sweep", "monitoring"]


@pytest.fixture(scope="module")
def pages(browser, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    writers = (write_evaluation, write_sweep, write_monitoring)
    for kind, write in zip(KINDS, writers, strict=True):
        write(folder / f"{kind}.html")
    return {kind: (folder / f"{kind}.html").as_uri() for kind in KINDS}


def write_evaluation(path):
    classifier = networks.convolutional(classes=4)
    known = data.load("digits:0-3", part="test")
    unknown = {
        name: data.load(name, part="test", image_shape=known.shape)
        for name in ("digits:4-9", "noise:uniform:60")
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*no better than chance", UserWarning)  # untrained
        evaluation = keras_lodin.evaluate(
            {"msp": MSPDetector(classifier), "energy": EnergyDetector(classifier)},
            *(known, unknown),
            **{"resamples": 20, "command": "a <b> & c", "verbose": 0},
        )
    evaluation.to_html(path)


def write_monitoring(path):
    monitor = Monitor(np.arange(1, 101) / 100, 99, 0.05)
    rng = np.random.default_rng(0)
    for most in (101, 101, 11, 11):
        monitor.update(rng.integers(1, most, 200) / 100)
    found = Monitoring(tuple(monitor.windows), 0.01, 0.05, 99, "odin")
    assert found.first_alarm is not None
    path.write_text(found.page("a <b> & c"))


def write_sweep(path):
    candidates = [Candidate.parse(f"gq logits projected {weight}") for weight in (1, 2, 3)]
    made = plan([candidate.cost(4) for candidate in candidates], epochs=3, budget=30, seeds=2)
    names = ["off", *(candidate.name for candidate in candidates)]
    rows = [
        {
            **{"rung": rung, "epochs": made.rungs[rung - 1].epochs, "candidate": name},
            **{"seed": seed, "diverged": False, "id_accuracy": 0.9 + 0.01 * seed},
            **{"separation": 0.8 + 0.01 * place, "auroc": {"noise:uniform:30": 0.8}},
        }
        for rung, entered in ((1, names), (2, names[:3]))
        for seed in range(made.rungs[rung - 1].seeds)
        for place, name in enumerate(entered)
    ]
    figures = [
        {
            name: {row["seed"]: row[figure] for row in rows[-6:] if row["candidate"] == name}
            for name in names[:3]
        }
        for figure in ("separation", "id_accuracy")
    ]
    settings = {"id": "digits:0-3", "model": "perceptron", "detector": "odin", "budget": 30.0}
    settings |= {"epochs": 3, "batch_size": 64, "learning_rate": None, "weight_decay": None}
    settings |= {"augment": None, "freeze_batch_norm": False}
    recommendation = recommend(*figures)
    written = sweep_report(
        settings, made, rows, recommendation, candidates[1], [], {"keras": "3"}, "x"
    )
    path.write_text(page.page(*written), encoding="utf-8")


@pytest.mark.grid(2)
@pytest.mark.parametrize("kind", KINDS)
def test_the_page_needs_no_network_and_says_nothing_on_the_console(kind, pages, browser):
    browser.get(pages[kind])
    assert browser.get_log("browser") == []
    loaded = browser.execute_script("return performance.getEntriesByType('resource').length")
    assert loaded == 0 or not re.search(r"(src|href)=\"https?:", browser.page_source)
    assert browser.find_element("tag name", "h1").text


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_wider_than_a_phone(kind, pages, phone):
    phone.get(pages[kind])
    width = phone.execute_script("return document.documentElement.scrollWidth")
    assert width <= 390


@pytest.mark.parametrize("kind", KINDS)
def test_everything_has_what_a_screen_reader_reads(kind, pages, browser):
    browser.get(pages[kind])
    for image in browser.find_elements("tag name", "img"):
        assert len(image.get_attribute("alt")) > 10
        assert int(image.get_attribute("naturalWidth")) > 0
    for table in browser.find_elements("tag name", "table"):
        assert browser.find_element("id", table.get_attribute("aria-labelledby")).text
        for heading in table.find_elements("tag name", "th"):
            assert heading.get_attribute("scope") in ("col", "row")
    assert browser.find_element("tag name", "html").get_attribute("lang") == "en"
    levels = [int(h.tag_name[1]) for h in browser.find_elements("css selector", "h1, h2, h3")]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


@pytest.mark.slow
@pytest.mark.grid(2)
@pytest.mark.parametrize("kind", KINDS)
def test_the_keyboard_reaches_content_links_and_tables(kind, pages, browser):
    from selenium.webdriver.common.keys import Keys

    browser.get(pages[kind])
    browser.find_element("tag name", "body").send_keys(Keys.TAB)
    first = browser.switch_to.active_element
    assert first.text == "Skip to the content"
    assert first.rect["x"] >= 0
    reached = []
    for _ in range(40):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(browser.switch_to.active_element.get_attribute("class"))
    assert "scroll" in reached


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(scheme, pages, browser):
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    browser.get(pages["evaluation"])
    ground = colours.of(browser, "body", "background-color")
    assert (sum(ground) < 200) == (scheme == "dark")
    for element in ("body", ".caption", "nav a", "figcaption", "td", "td.best", "pre"):
        own = colours.of(browser, element, "background-color") or ground
        assert colours.contrast(colours.of(browser, element, "color"), own) >= 4.5, element


def test_words_are_shown_and_never_run(pages, browser):
    browser.get(pages["evaluation"])
    assert "a <b> & c" in browser.find_element("css selector", "pre").text


def test_a_page_of_markup_in_words_stays_words(tmp_path, browser):
    script = "<script>document.title = 'run'</script>"
    table = page.table(script, [script, script], [[script, script]])
    blocks = [page.text(script), page.code(script), page.definitions({script: script}), table]
    (tmp_path / "page.html").write_text(page.page("still", script, [page.Section(script, blocks)]))
    browser.get((tmp_path / "page.html").as_uri())
    assert browser.title == "still"
