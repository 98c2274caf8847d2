"""The page of a line: what it says, by its data, and what it does, in a browser."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skgad import FPRThresholdCV, MahalanobisDetector, make_line, save_line
from skgad._conventions._levels import name_part
from skgad.cli import main
from skgad.report import write_report
from skgad.report._overlays import lay_map_over, read_small

from .conftest import LITE0

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return np.clip(120 + rng.normal(size=(60, 72, 60, 3)) * 12, 0, 255).astype(np.uint8)


def damage(images):
    damaged = images.copy()
    damaged[:, 20:44, 20:44] = 200
    return damaged


@pytest.fixture(scope="module")
def line(images):
    return make_line(LITE0, fpr=0.1, image_size=64).fit(images[:40])


@pytest.fixture(scope="module")
def folder(images, tmp_path_factory):
    root = tmp_path_factory.mktemp("parts")
    sets = {"train/good": images[:40], "test/good": images[40:], "test/spot": damage(images[:8])}
    for name, pictures in sets.items():
        (root / name).mkdir(parents=True)
        for number, pixels in enumerate(pictures):
            Image.fromarray(pixels).save(root / name / f"{number:03d}.png")
    (root / "test" / "spot" / "broken.png").write_bytes(b"no image")
    return root


@pytest.fixture(scope="module", params=[False, True], ids=["pooled", "maps"])
def page(request, folder, images, tmp_path_factory):
    place = tmp_path_factory.mktemp("page")
    save_line(make_line(LITE0, fpr=0.1, image_size=64, maps=request.param).fit(images[:40]), place / "line.skgad")
    assert main(["report", str(place / "line.skgad"), str(folder)]) == 0
    return place / "line.html"


def read_data(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text())[1])


def test_the_page_has_what_the_line_says(page, folder, request):
    data = read_data(page)
    rows = data["images"]
    assert len(rows) == 29
    assert [Path(row["name"]).name for row in rows if row["error"]] == ["broken.png"]
    assert [row["truth"] for row in rows] == [1] * 20 + [-1] * 9
    scored = [row for row in rows if row["error"] is None]
    edges, p_values = map(np.array, data["staircase"].values())
    for row in scored:  # the page's own reading of the rate is that of the line
        assert (row["p"] <= 0.1) == (row["distance"] > data["threshold"])
        assert p_values[np.searchsorted(edges, row["distance"] * (1 + 1e-12), side="right")] <= row["p"]
    assert all(row["distance"] > data["threshold"] for row in scored if row["truth"] == -1)
    assert all(row["picture"].startswith("data:image/jpeg;base64,") for row in scored if row["truth"] == -1)
    assert all(("overlay" in row) == data["line"]["makes_maps"] for row in scored if "picture" in row)
    assert len(data["suspects"]) == 24
    assert data["suspects"][0]["distance"] == max(data["learnt"])
    assert page.stat().st_size < 2e6


def test_the_page_loads_nothing_from_elsewhere(page):
    text = page.read_text()
    assert not re.search(r'(?:src|href)="(?!data:)', text)
    assert "default-src 'none'" in text


def test_an_explanation_adds_up_to_the_distance_where_all_of_it_is_shown(line, images):
    from skgad._judge import Judge
    from skgad.report import _findings

    parts = _findings._explain(Judge(line), damage(images)[0])
    assert len(parts) == 6
    assert all(re.match(r"level \d, (whole image|upper|lower)", name) for name, _ in parts)
    assert name_part("level7", "g4r1c2") == "level 7, row 2, column 3 of 4 x 4"
    assert name_part("level7", "tr0c1g2r0c0") == "level 7, tile in row 1, column 2, row 1, column 1 of 2 x 2"


def test_a_map_is_laid_where_it_lies(images):
    picture, size = read_small(np.full((200, 100, 3), 128, dtype=np.uint8), 50)
    assert (picture.size, size) == ((25, 50), (200, 100))
    anomaly_map = np.zeros((20, 10))
    anomaly_map[15:, 6:] = 9
    drawn = np.asarray(lay_map_over(picture, size, anomaly_map, (0.0, 0.0, 100.0, 200.0), 2.0)).astype(int)
    changed = np.abs(drawn - 128).max(axis=2) > 20
    assert changed[40:, 17:].all()
    assert not changed[:35, :].any()
    assert not changed[:, :13].any()


def test_names_and_titles_cannot_break_out_of_the_page(line, images, tmp_path):
    odd = tmp_path / "<img src=x onerror=alert(1)>&.png"
    Image.fromarray(images[0]).save(odd)
    write_report(line, tmp_path / "page.html", [str(odd)], title="</title><script>alert(1)</script>")
    assert line[0].on_bad_image == "raise"  # the line is left as it was
    text = (tmp_path / "page.html").read_text()
    assert "<img src=x" not in text
    assert "<script>alert" not in text
    assert read_data(tmp_path / "page.html")["images"][0]["name"] == str(odd)


def test_what_cannot_be_reported_is_refused(line, images, tmp_path):
    with pytest.raises(ValueError, match="y holds 2 values"):
        write_report(line, tmp_path / "page.html", images[:3], y=[1, -1])
    with pytest.raises(ValueError, match=r"\+1 \(normal\) and -1"):
        write_report(line, tmp_path / "page.html", images[:2], y=[0, 1])
    with pytest.raises(ValueError, match="without the threshold of FPRThresholdCV"):
        write_report(MahalanobisDetector().fit([[0.0], [1.0], [3.0]]), tmp_path / "page.html", images[:2])
    kinds = np.arange(40) % 2
    features = line[0].transform(images[:40])
    by_kind = FPRThresholdCV(MahalanobisDetector(levels="joint"), fpr=0.1).fit(features, categories=kinds)
    with pytest.raises(ValueError, match="threshold for each category"):
        write_report(by_kind, tmp_path / "page.html", images[:2])
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def browser():
    if not (BROWSER and DRIVER):
        pytest.skip("chromium and chromedriver are not installed: apt-get install chromium chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in ("headless", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking"):
        options.add_argument(f"--{argument}")
    for argument in ("disable-component-update", "disable-sync", "disable-quic", "window-size=1200,1400"):
        options.add_argument(f"--{argument}")
    found = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield found
    found.quit()


@pytest.mark.enable_socket  # to the browser, on this machine
def test_the_page_works_in_a_browser(page, browser, socket_enabled):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select

    data = read_data(page)
    distances = [row["distance"] for row in data["images"] if row["distance"] is not None]
    browser.get(page.as_uri())

    def text(element):
        return browser.find_element(By.ID, element).text

    def move(value):
        field = browser.find_element(By.ID, "threshold-number")
        field.send_keys(Keys.CONTROL + "a")
        field.send_keys(str(value), Keys.TAB)

    def cards():
        return browser.find_elements(By.CSS_SELECTOR, "#list .image")

    assert text("n-anomalous").startswith(f"{sum(one > data['threshold'] for one in distances)} of 28")
    assert text("n-unreadable") == "1"
    middle = float(np.median(distances))
    move(middle)
    assert text("n-anomalous") == f"{sum(one > middle for one in distances)} of 28"
    expected = (1 + sum(one >= middle for one in data["learnt"])) / 41
    assert text("rate") == f"{100 * expected:.1f} %"
    slider = browser.find_element(By.ID, "threshold")
    slider.send_keys(Keys.END)
    assert text("n-anomalous") == "0 of 28"
    assert text("n-misses") == "8 of 8"
    Select(browser.find_element(By.ID, "filter")).select_by_value("misses")
    assert len(cards()) == 8
    browser.find_element(By.ID, "reset").click()
    assert len(cards()) == 0
    Select(browser.find_element(By.ID, "filter")).select_by_value("all")
    browser.find_element(By.ID, "search").send_keys("spot")
    assert len(cards()) == 9
    browser.find_element(By.ID, "search").clear()
    browser.find_element(By.ID, "search").send_keys(Keys.SPACE, Keys.BACKSPACE)
    Select(browser.find_element(By.ID, "sort")).select_by_value("-distance")
    assert f"distance {min(distances):.4g}"[:12] in cards()[0].text.replace("\n", " ")
    Select(browser.find_element(By.ID, "sort")).select_by_value("distance")
    cards()[0].click()
    first = browser.find_element(By.CSS_SELECTOR, "#large h2").text
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert browser.find_element(By.CSS_SELECTOR, "#large h2").text != first
    assert len(browser.find_elements(By.CSS_SELECTOR, "#large .part")) == (3 if data["line"]["makes_maps"] else 6)
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    before = browser.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
    browser.find_element(By.ID, "mode").click()
    assert browser.find_element(By.TAG_NAME, "body").value_of_css_property("background-color") != before
    assert browser.get_log("browser") == []
