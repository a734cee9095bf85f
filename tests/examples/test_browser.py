"""The browser example in a real browser: its scores are Python's."""

import http.server
import json
import shutil
import subprocess
import threading
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import keras_lodin
from tests.browser import colours
from tests.processes import forked

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "browser"
FILES = ("index.html", "app.js", "package.json", "package-lock.json", "make_detector.py")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    if shutil.which("npm") is None:
        pytest.skip("needs npm")
    folder = tmp_path_factory.mktemp("browser")
    for name in FILES:
        shutil.copy(EXAMPLE / name, folder)
    subprocess.run([forked("python"), "make_detector.py", "--epochs", "6"], cwd=folder, check=True)
    subprocess.run(["npm", "ci", "--silent"], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def page(folder, browser):
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(_Quiet, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    browser.get(f"http://127.0.0.1:{server.server_address[1]}/")
    _wait(browser, lambda: "Draw something" in _text(browser, "verdict"))
    yield browser
    server.shutdown()
    server.server_close()


def _text(browser, name):
    return browser.find_element("id", name).text


def _wait(browser, condition):
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(browser, 30).until(lambda _: condition())


@pytest.mark.slow
def test_scores_classes_and_verdicts_are_those_of_python(page, folder, tmp_path):
    detector = keras.models.load_model(folder / "detector.keras")
    known = keras_lodin.data.load("digits:0-6", part="test")
    unknown = keras_lodin.data.load("digits:7-9", part="test")
    images = np.concatenate([next(iter(source.batches(6)))[0] for source in (known, unknown)])
    images = np.round(images * 255).astype("uint8")
    expected = detector.predict(images.astype("float32") / 255, verbose=0)
    for number, picture in enumerate(images):
        path = tmp_path / f"{number}.png"
        Image.fromarray(picture[..., 0]).save(path)
        page.find_element("id", "clear").click()
        page.find_element("id", "file").send_keys(str(path))
        _wait(page, lambda: _text(page, "score") != "-")
        assert float(_text(page, "score")) == pytest.approx(expected["score"][number], abs=1e-4)
        # A rounding error of the score may cross a calibration score or two.
        rare = float(_text(page, "p_value"))
        assert rare == pytest.approx(expected["p_value"][number], abs=0.01)
        label = detector.class_names[int(expected["logits"][number].argmax())]
        assert _text(page, "class") == label
        verdict = "Out of" if expected["is_ood"][number] else "In dist"
        assert _text(page, "verdict").startswith(verdict)


def test_the_step_is_shown(page, tmp_path):
    Image.fromarray(np.full((8, 8), 128, "uint8")).save(tmp_path / "grey.png")
    page.find_element("id", "file").send_keys(str(tmp_path / "grey.png"))
    _wait(page, lambda: _text(page, "score") != "-")
    pixels = {
        name: page.execute_script(
            f"return Array.from(document.getElementById('{name}').getContext('2d')"
            ".getImageData(0, 0, 8, 8).data)"
        )[::4]
        for name in ("input", "perturbed")
    }
    assert set(pixels["input"]) == {128}
    assert len(set(pixels["perturbed"])) > 1


def test_a_line_drawn_by_hand_is_judged(page):
    from selenium.webdriver import ActionChains

    page.find_element("id", "clear").click()
    drawing = page.find_element("id", "drawing")
    actions = ActionChains(page)
    actions.move_to_element_with_offset(drawing, 0, -60).click_and_hold()
    actions.move_by_offset(0, 120).release().perform()
    _wait(page, lambda: _text(page, "score") != "-")
    assert _text(page, "verdict")


def test_what_is_no_picture_is_said_to_be_none(page, tmp_path):
    (tmp_path / "letter.png").write_text("not a picture")
    page.find_element("id", "file").send_keys(str(tmp_path / "letter.png"))
    _wait(page, lambda: "not a picture" in _text(page, "verdict"))


def test_the_page_says_nothing_on_the_console_and_asks_nobody_else(page):
    assert [line for line in page.get_log("browser") if line["level"] == "SEVERE"] == []
    asked = page.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert asked
    assert all(name.startswith(page.current_url) for name in asked)


def test_the_page_fits_a_phone_and_names_its_controls(page):
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True},
    )
    assert page.execute_script("return document.documentElement.scrollWidth") <= 390
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    for canvas in page.find_elements("tag name", "canvas"):
        assert canvas.get_attribute("aria-label")
    assert page.find_element("css selector", "label[for=file]").text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(page, scheme):
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    ground = colours.of(page, "body", "background-color")
    assert (sum(ground) < 200) == (scheme == "dark")
    # The verdict wears one of two colours.
    for verdict in ("in", "out"):
        page.execute_script("document.getElementById('verdict').className = arguments[0]", verdict)
        for element in ("body", "figcaption", "#verdict", "dt", "dd", "button", "label"):
            assert colours.contrast(colours.of(page, element, "color"), ground) >= 4.5, element


def test_the_lock_file_pins_what_the_page_loads():
    lock = json.loads((EXAMPLE / "package-lock.json").read_text())
    wanted = json.loads((EXAMPLE / "package.json").read_text())["dependencies"]
    for name, version in wanted.items():
        assert lock["packages"][f"node_modules/{name}"]["version"] == version
    assert "//cdn" not in (EXAMPLE / "index.html").read_text() + (EXAMPLE / "app.js").read_text()
