"""The pages that evaluate and sweep write, in a real browser."""

import re
from itertools import pairwise

import pytest

from keras_lodin.models.networks import NETWORKS
from keras_lodin.report import page
from keras_lodin.workflows import evaluate_models, sweep, train
from keras_lodin.workflows.sweeps import Candidate
from tests import networks
from tests.browser import colours

KINDS = ["evaluation", "sweep"]


@pytest.fixture(scope="module")
def pages(browser, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setitem(NETWORKS, "perceptron", networks.perceptron)
    run = train("digits:0-3", "perceptron", folder / "run", epochs=2, verbose=0)
    evaluation = evaluate_models(
        [run], "digits:0-3", ["digits:4-9", "noise:uniform:60"], resamples=20, command="a <b> & c"
    )
    evaluation.to_html(folder / "evaluation.html")
    sweep(
        *("digits:0-3", "perceptron", folder / "sweep"),
        epochs=1,
        seeds=2,
        count=30,
        candidates=[Candidate.parse("gq logits projected 1")],
        report=lambda line: None,
    )
    monkeypatch.undo()
    return {
        "evaluation": (folder / "evaluation.html").as_uri(),
        "sweep": (folder / "sweep" / "report.html").as_uri(),
    }


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
