"""The leaderboard's page in Chromium: sorting, filters, provenance, cards, keyboard, phone, thousands of rows, hostile names. No console error, and no request but for the file itself."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from known_boards import HOSTILE, write_run
from known_scores import alone, recipe, table

import hedgebench

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if BROWSER is None and os.environ.get("HEDGEBENCH_BROWSER") == "required":
    pytest.fail("HEDGEBENCH_BROWSER=required, and neither chromium nor google-chrome is installed", pytrace=False)
if BROWSER is None:
    pytest.skip("no Chromium is installed (chromium, chromium-browser, google-chrome)", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api")

pytestmark = pytest.mark.enable_socket  # the browser is driven through a socket of this machine
ARGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"

PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}

ROWS = [
    *({**row, "l0": 20.0} for row in recipe("mse", [[0.50, 0.52], [0.51, 0.53], [0.52, 0.54]])),
    *({**row, "l0": 21.0} for row in recipe("snap", [[0.80, 0.82], [0.81, 0.83], [0.82, 0.84]])),
    *({**row, "l0": 80.0} for row in recipe("l2", [[0.90, 0.92], [0.91, 0.93], [0.92, 0.94]], width=1024)),
    *alone("mse-s0/random", [0.20, 0.22], architecture="random_control", loss=None, l0=20.0),
    *alone("gem", [3.0], metric="size", higher_is_better=False, model="another-model", architecture="jumprelu", width=64, k=None, chance=2.0),
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=BROWSER, args=ARGS.split())
        yield found
        found.close()


@pytest.fixture
def visit(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Open a board's page. Whatever it is used for, nothing is said in the console and nothing but the file is asked for."""
    contexts, said, asked = [], [], []

    def open_page(
        given: Any, *, hash: str = "", scheme: str = "light", phone: bool = False, file: Path | None = None
    ) -> Any:
        file = file or hedgebench.leaderboard(given, tmp_path / "board.html")
        screen = PHONE if phone else {"viewport": {"width": 1400, "height": 900}}
        context = browser.new_context(**screen, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url.split("#")[0]))
        page.goto(f"{file.as_uri()}{hash}")
        page.wait_for_selector("#board tbody", state="attached")
        asked[:] = [url for url in asked if url != file.as_uri()]
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == [] and asked == []


@pytest.fixture
def page(visit: Callable[..., Any]) -> Any:
    return visit(table(ROWS))


def names(page: Any) -> list[str]:
    return [str(name) for name in page.locator("tbody th.name > bdi").all_inner_texts()]


def cell(page: Any, row: str, column: int = 0) -> Any:
    line = page.locator("tbody tr").filter(has=page.locator("th.name > bdi", has_text=row).first)
    return line.locator("td.metric").nth(column)


def test_a_cell_shows_mean_interval_rank_and_a_bar(page: Any):
    text = cell(page, "mse").inner_text()
    assert "0.52 ±0.1" in text and "rank 3 c" in text
    assert cell(page, "mse").locator("svg .interval, svg .mean, svg .control").count() >= 3


def test_a_blank_cell_says_why(page: Any):
    assert "its run has no such number in the table" in cell(page, "mse", 1).inner_text()
    assert cell(page, "mse", 1).locator("svg").count() == 0


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_blank_cells_make_the_page_no_longer_and_no_wider(visit: Callable[..., Any], phone: bool):
    wide = [row for m in range(12) for row in alone("a", [float(m)], metric=f"a_metric_with_a_name_{m}")]
    page = visit(table([*wide, *(row for i in range(60) for row in alone(f"b{i}", [1.0]))]), phone=phone)
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    below = page.evaluate("document.documentElement.scrollHeight - scrollY - document.querySelector('footer').getBoundingClientRect().bottom")  # fmt: skip
    assert below < 30
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


MIXED = [*recipe("mse", [[0.50, 0.60], [0.55, 0.65]]), *alone("one", [0.50, 0.505]), *recipe("mse", [[0.5], [0.6]], metric="still"), *alone("one", [0.3, 0.3], metric="still")]  # fmt: skip


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_an_interval_shows_and_tells_what_it_is_over(visit: Callable[..., Any], phone: bool):
    page = visit(table(MIXED), phone=phone)
    found = {}
    for row in ("batchtopk", "one"):
        sign, line = cell(page, row).locator(".kind"), cell(page, row).locator("svg .interval").first
        dashes = line.evaluate("e => getComputedStyle(e).strokeDasharray")
        found[row] = (sign.inner_text(), sign.get_attribute("aria-label"), dashes == "none")
    assert found == {
        "batchtopk": ("te", "over training and evaluation seeds", True),
        "one": ("e", "over evaluation seeds alone, of these very weights", False),
    }
    legend = page.locator("#signs").inner_text()
    assert "te, over training and evaluation seeds; t, over training seeds; e, over evaluation seeds alone" in legend
    assert "╍ interval over evaluation seeds alone" in page.locator("#legend").inner_text()


def test_what_does_not_move_has_no_interval_and_says_so(visit: Callable[..., Any]):
    still = cell(visit(table([*MIXED[4:6], *alone("two", [0.3, 0.3 + 1e-16, 0.3])])), "two")
    assert "±" not in still.inner_text() and "does not move e" in still.inner_text()


WIDTHS = [
    *alone("a", [0.60, 0.62], width=512),
    *alone("b", [0.80, 0.82], width=4096),
    *alone("a/random", [0.0, 0.0], architecture="random_control", loss=None, width=512),
    *alone("b/random", [0.7], architecture="random_control", loss=None, width=4096),
]


def test_the_tick_of_a_row_is_the_random_control_of_its_own_width_and_fewer_seeds_are_said(visit: Callable[..., Any]):
    page = visit(table(WIDTHS), hash="#scale=wide")
    at = [float(cell(page, row).locator("svg line.control").get_attribute("x1")) for row in ("a", "b", "b/random")]
    assert at[0] < 30 and at[1] == at[2] > 80
    assert ["only 1 of 2" in cell(page, row).inner_text() for row in ("a", "b")] == [False, True]
    said = []
    for row in ("a", "b"):
        cell(page, row).click()
        said.append(page.locator("#dialog").inner_text())
        page.keyboard.press("Escape")
    assert "0 (width 512)" in said[0] and "from random controls (0) to the best (0.81)" in said[0]
    assert "0.7 (width 4096; only 1 of 2 evaluation seeds)" in said[1]
    page.click("thead .info")
    card = page.locator("#dialog").inner_text()
    assert "0 (width 512)\n0.7 (width 4096; only 1 of 2 evaluation seeds)" in card


def test_the_share_of_the_way_to_the_best_is_shown_on_demand_and_sorted_by(visit: Callable[..., Any]):
    rows = [{**row, "chance": 0.1} for row in (*WIDTHS, *alone("c", [0.75, 0.76], width=4096))]
    page = visit(table([*rows, *alone("a", [3.0], metric="size", higher_is_better=None)]), hash="#columns=0.1")
    assert page.locator(".share").count() == 0
    page.check("input[name=share]")
    shown = {row: cell(page, row).locator(".share").inner_text().splitlines()[0] for row in ("a", "b", "c", "a/random")}
    assert shown == {"a": "72 %", "b": "100 %", "c": "50 %", "a/random": "−14 %"}  # a: from chance, b and c from 0.7
    assert "0.61" in cell(page, "a").inner_text() and "no share" in cell(page, "a", 1).inner_text()
    assert "0 % is chance" in page.locator("#note").inner_text()
    assert "one of the way to the best SAE is a point value" in page.locator("#note").inner_text()
    page.locator("thead th.metric button.sort").first.click()
    assert names(page)[:3] == ["b", "a", "c"]  # by their means: b, c, a
    page.uncheck("input[name=share]")
    assert names(page)[:3] == ["b", "c", "a"]
    cell(page, "a").click()
    said = page.locator("#dialog").inner_text()
    assert "72 % (a point value, without an interval), from chance (0.1) to the best (0.81)" in said


def test_a_share_of_the_way_to_an_oracle_has_its_interval_over_evaluation_seeds(visit: Callable[..., Any]):
    rows = [*alone("a", [0.49, 0.51]), *alone("a/oracle", [1.0, 1.0], architecture="oracle_control")]
    page = visit(table([{**row, "chance": 0.0} for row in rows]))
    cell(page, "a").click()
    assert "50 % (37 % to 63 % over evaluation seeds), from chance (0)" in page.locator("#dialog").inner_text()


def test_in_a_metric_where_less_is_better_the_largest_share_is_first(visit: Callable[..., Any]):
    rows = [*alone("a", [0.5]), *alone("b", [0.2]), *alone("a/random", [0.9], architecture="random_control")]
    page = visit(table([{**row, "higher_is_better": False} for row in rows]), hash="#share=1")
    page.locator("thead th.metric button.sort").first.click()
    assert names(page)[:2] == ["b", "a"]


def test_controls_stand_apart_at_the_end_and_can_be_hidden(page: Any):
    assert names(page)[-1] == "mse-s0/random"
    assert page.locator("tr.section").inner_text() == "controls, made to compare with"
    assert "random: learnt nothing" in page.locator("#signs").inner_text()
    assert cell(page, "mse-s0/random").inner_text().count("rank") == 0
    page.uncheck("input[name=controls]")
    assert len(names(page)) == 4 and "mse-s0/random" not in names(page)


def test_a_click_on_a_header_sorts_best_first_then_the_other_way_and_says_so(page: Any):
    header = page.locator("thead th.metric").first
    header.locator("button.sort").click()
    assert header.get_attribute("aria-sort") == "descending"
    first = names(page)
    assert len(first) == 5 and first[-2:] == ["gem", "mse-s0/random"]  # a blank is last, and controls after all
    page.locator("thead th.metric button.sort").first.press("Enter")
    assert page.locator("thead th.metric").first.get_attribute("aria-sort") == "ascending"
    assert names(page)[:3] == first[:3][::-1] and names(page)[3] == "gem"
    assert page.evaluate("document.activeElement.dataset.sort") == "0"


def test_means_over_fewer_evaluation_seeds_say_so_and_are_in_no_order_with_others(visit: Callable[..., Any]):
    rows = [*alone("a", [0.5, 0.6]), *alone("b", [0.9]), *alone("c", [0.7, 0.8])]
    page = visit(table(rows))
    assert "only 1 of 2 evaluation seeds" in cell(page, "b").inner_text()
    for expected in (["c", "a", "b"], ["a", "c", "b"]):
        page.locator("thead th.metric button.sort").first.click()
        assert names(page) == expected


def test_ranks_of_two_seeds_say_how_little_that_is_and_a_recipe_among_single_saes_why_it_has_none(
    visit: Callable[..., Any],
):
    rows = [*alone("one", [0.5, 0.6]), *alone("two", [0.7, 0.8]), *recipe("snap", [[0.9, 1.0], [0.3, 0.4]])]
    page = visit(table(rows))
    said = []
    for row in ("one", "batchtopk"):
        cell(page, row).click()
        said.append(page.locator("#dialog").inner_text())
        page.keyboard.press("Escape")
    assert "two seeds cannot show which rows are noisier" in said[0]
    assert "none: single SAEs are compared here, by their evaluation seeds, and this row has several" in said[1]
    page.click("thead .info")
    assert "at 10 evaluation seeds" in page.locator("#dialog").inner_text()


def test_where_less_is_better_the_least_is_first(page: Any):
    page.locator("thead th.metric button.sort").nth(1).click()
    assert page.locator("thead th.metric").nth(1).get_attribute("aria-sort") == "ascending"


@pytest.mark.parametrize(
    ("field", "value", "left"),
    [
        ("model", "another-model", {"gem"}),
        ("architecture", "jumprelu", {"gem", "mse-s0/random"}),
        ("loss", "snap", {"snap", "mse-s0/random"}),
        ("width", "1024", {"l2"}),
    ],
)
def test_a_filter_leaves_the_rows_that_it_names(page: Any, field: str, value: str, left: set[str]):
    page.select_option(f"select[name={field}]", value)
    shown = names(page)
    assert len(shown) == len(left) and all(
        any(name.split(" ")[0] in row or name in row for row in shown) for name in left
    )
    assert page.locator("#status").inner_text().startswith(f"{len(left)} of 5 rows")


def test_filters_by_l0_and_name(page: Any):
    page.fill("input[name=low]", "20.5")
    page.fill("input[name=high]", "50")
    assert len(names(page)) == 1 and "snap" in names(page)[0]
    page.click("#reset")
    page.fill("input[name=q]", "S0/RAND")
    assert names(page) == ["mse-s0/random"]


def test_the_metrics_are_chosen(page: Any):
    page.click("#metrics summary")
    assert page.locator("thead th.metric").count() == 2
    page.uncheck("input[name=column][value='0']")
    assert page.locator("thead th.metric .sort > bdi").all_inner_texts() == ["size"]
    page.click("text=First choice")
    assert page.locator("thead th.metric").count() == 2


def test_matched_l0_shows_bands_with_ranks_of_their_own(page: Any):
    page.select_option("select[name=matched]", "all")
    sections = page.locator("tr.section").all_inner_texts()
    assert sections == ["L0 20 to 21", "L0 20 to 21: controls, made to compare with", "L0 80"]
    assert "rank 2" in cell(page, "mse").inner_text() and "rank 1" in cell(page, "snap").inner_text()
    assert "Ranks are within the band" in page.locator("#note").inner_text()
    page.select_option("select[name=matched]", "1")
    assert len(names(page)) == 1 and "l2" in names(page)[0]


def test_what_the_interval_is_over_can_be_chosen(page: Any):
    widest = cell(page, "mse").locator(".half").inner_text()
    page.select_option("select[name=over]", "training")
    assert cell(page, "mse").locator(".half").inner_text() not in ("", widest)


def test_a_click_shows_where_a_number_comes_from(visit: Callable[..., Any], tmp_path: Path):
    for name, training in (("a-s0", 0), ("a-s1", 1)):
        for seed, value in enumerate((0.25, 0.75)):
            write_run(tmp_path / "results", name, {"quality": value}, seed=seed, card={"train_seed": training})
    page = visit(tmp_path / "results")
    cell(page, "batchtopk").click()
    text = page.locator("dialog[open]").inner_text()
    for part in ("a-s0", "a-s1", "0.25", "0.75", "records/an_eval/", "n = 1", "a-text", "torch 2.13.0", "hook_resid_post", "a-model", "dtype float32", "eval version", "±0.01"):  # fmt: skip
        assert part in text, part
    assert page.locator("dialog tbody tr").count() == 4


def test_the_keyboard_is_enough(page: Any):
    page.locator("thead button").last.focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.at") == "0,0"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    at = page.evaluate("document.activeElement.dataset.at")
    assert at == "1,5"
    page.keyboard.press("Enter")
    assert page.locator("dialog[open]").count() == 1 and page.evaluate("document.activeElement.className") == "close"
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0 and page.evaluate("document.activeElement.dataset.at") == at
    page.keyboard.press("Control+End")
    assert page.evaluate("document.activeElement.dataset.at") == "4,6"
    page.keyboard.press("Control+Home")
    page.keyboard.press("Space")
    assert "Training seed".lower() in page.locator("dialog[open]").inner_text().lower()


def test_one_stop_of_the_tabulator_leads_into_the_table_and_the_next_out_of_it(page: Any):
    assert page.locator("tbody [tabindex='0']").count() == 1
    page.locator("tbody [tabindex='0']").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('tbody')") is None


def test_every_control_of_the_page_has_a_name(page: Any):
    page.click("#metrics summary")
    for control in page.locator("input, select, button").all():
        name = control.evaluate("e => e.getAttribute('aria-label') || e.textContent || e.labels?.[0]?.textContent")
        assert name.strip(), control.evaluate("e => e.outerHTML")


def test_a_metrics_card_has_formula_direction_chance_noise_and_paper(visit: Callable[..., Any]):
    rows = [{**row, "eval": "saebench_core", "metric": "cossim", "chance": 0.0} for row in ROWS[:12]]
    page = visit(table(rows))
    page.click("thead .info")
    text = page.locator("dialog[open]").inner_text()
    for part in ("mean cosine of x and x'", "higher is better", "chance", "SD over evaluation seeds", "SD over training seeds", "at 10 training seeds", "arXiv 2503.09532", "hedgebench 0.1.0", "eval version"):  # fmt: skip
        assert part in text, part


def test_the_view_is_kept_in_the_address_and_comes_back_from_it(visit: Callable[..., Any], page: Any):
    page.select_option("select[name=loss]", "snap")
    page.locator("thead th.metric button.sort").first.click()
    address = page.evaluate("location.hash")
    again = visit(table(ROWS), hash=address)
    assert names(again) == names(page)
    assert again.input_value("select[name=loss]") == "snap"
    assert again.locator("thead th.metric").first.get_attribute("aria-sort") == "descending"
    again.evaluate("location.hash = '#loss=l2'")
    again.wait_for_function("document.querySelector('select[name=loss]').value === 'l2'")
    assert "l2" in names(again)[0]


@pytest.mark.parametrize(
    "hash",
    ["#page=-3", "#page=x&columns=99.x.-1&sort=12&matched=7&width=q", "#low=x", "#constructor=1&__proto__=2", "#%"],
)
def test_an_odd_address_breaks_nothing(visit: Callable[..., Any], hash: str):
    page = visit(table(ROWS), hash=hash)
    assert page.locator("#status").inner_text() == "5 of 5 rows" and len(names(page)) == 5


def test_where_no_row_is_left_that_is_said_and_the_way_back_is_open(page: Any):
    page.fill("input[name=q]", "nothing is called so")
    assert page.locator("#status").inner_text() == "0 of 5 rows: none fits the filters"
    page.click("#reset")
    assert len(names(page)) == 5 and page.locator("tbody [tabindex='0']").count() == 1


def test_light_and_dark_follow_the_system_and_can_be_chosen(visit: Callable[..., Any]):
    ground = "getComputedStyle(document.body).backgroundColor"
    light, dark = (visit(table(ROWS), scheme=scheme) for scheme in ("light", "dark"))
    assert light.evaluate(ground) != dark.evaluate(ground)
    light.select_option("select[name=theme]", "dark")
    assert light.evaluate(ground) == dark.evaluate(ground)


TWO_VERSIONS = [
    {**row, "eval": "saebench_core", "metric": "cossim", "eval_version": version, "config": config}
    for row in ROWS[:12]
    for version, config in ((1, '{"n": 1}'), (2, '{"n": 10}'))
]


@pytest.fixture
def phone(visit: Callable[..., Any]) -> Any:
    return visit(table(TWO_VERSIONS), phone=True)


def seen(page: Any, selector: str) -> list[str]:
    """The texts that can be seen on the screen once scrolled to: whose middle nothing covers or cuts off."""
    found: list[str] = page.evaluate(
        """selector => [...document.querySelectorAll(selector)].filter(node => {
            node.scrollIntoView({ block: 'center' });
            const { x, y, width, height } = node.getBoundingClientRect(), top = document.elementFromPoint(x + width / 2, y + height / 2);
            return width > 0 && x >= 0 && x + width <= innerWidth && top !== null && (node.contains(top) || top.contains(node));
        }).map(node => node.innerText)""",
        selector,
    )
    return found


def test_on_a_phone_nothing_is_wider_than_the_screen(phone: Any):
    for summary in ("#filters summary", "#metrics summary"):
        phone.tap(summary)
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    box = cell(phone, "mse").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    for selector in ("td.metric .number", "td.metric .about", "tbody th.name"):
        phone.locator(selector).first.tap()
        dialog = phone.locator("dialog[open]")
        assert dialog.evaluate("e => e.scrollWidth") <= dialog.bounding_box()["width"] <= 390
        phone.tap("dialog .close")


def test_on_a_phone_each_number_says_its_metric_what_tells_it_from_others_of_its_name_and_the_better_end(phone: Any):
    heads = seen(phone, "tbody td.metric .about")
    assert len(heads) == 2 * 2
    for head, version, n in ((heads[0], 1, 1), (heads[1], 2, 10)):
        assert head.splitlines() == ["saebench_core", "cossimi", f"version {version}, n = {n}", "↑ higher is better"]
    assert phone.locator("thead").is_hidden()


def test_on_a_phone_a_tap_on_a_metrics_name_opens_its_card_and_one_on_a_number_its_origin(phone: Any):
    phone.locator("tbody td.metric .about").nth(1).tap()
    card = phone.locator("dialog[open]").inner_text()
    for part in ("mean cosine of x and x'", "higher is better", "chance", "SD over training seeds", "arXiv 2503.09532"):
        assert part in card, part
    phone.tap("dialog .close")
    phone.locator("tbody td.metric .number").nth(1).tap()
    origin = phone.locator("dialog[open]").inner_text()
    assert "Where it comes from" in origin and "version 2" in origin.splitlines()[0]
    phone.tap("dialog button:has-text('About cossim')")
    assert phone.locator("dialog[open] h2").inner_text() == "cossim"
    assert "mean cosine of x and x'" in phone.locator("dialog[open]").inner_text()
    phone.tap("dialog .close")
    assert phone.locator("dialog[open]").count() == 0


def test_on_a_phone_the_choice_of_metrics_leads_to_every_card(phone: Any):
    phone.tap("#metrics summary")
    choices = seen(phone, "#metrics .choice")
    assert ["version 1" in choices[0], "version 2" in choices[1]] == [True, True] and "higher is better" in choices[0]
    phone.locator("#metrics .info").nth(1).tap()
    assert "mean cosine of x and x'" in phone.locator("dialog[open]").inner_text()


def test_on_a_phone_whatever_can_be_tapped_is_large_enough(phone: Any):
    for summary in ("#filters summary", "#metrics summary"):
        phone.tap(summary)
    measure = """() => [...document.querySelectorAll('button, select, input, summary, [data-at]')]
        .map(node => [node.outerHTML.slice(0, 80), (node.type === 'checkbox' ? node.closest('label') : node).getBoundingClientRect()])
        .filter(([, box]) => box.width > 0 && (box.width < 24 || box.height < 24)).map(([text]) => text)"""
    assert phone.evaluate(measure) == []
    phone.locator("td.metric .number").first.tap()
    assert phone.evaluate(measure) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_text_stands_out_from_its_ground(visit: Callable[..., Any], scheme: str):
    page = visit(table(TWO_VERSIONS), phone=True, scheme=scheme)
    light = """selector => { const node = document.querySelector(selector), style = getComputedStyle(node);
        let ground = node; while (getComputedStyle(ground).backgroundColor === 'rgba(0, 0, 0, 0)') ground = ground.parentNode;
        const bright = color => color.match(/[\\d.]+/g).slice(0, 3).map(part => part / 255).map(part => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4)
            .reduce((sum, part, i) => sum + part * [.2126, .7152, .0722][i], 0);
        const [low, high] = [bright(style.color), bright(getComputedStyle(ground).backgroundColor)].sort((a, b) => a - b); return (high + .05) / (low + .05); }"""
    for selector in (".about", ".about small", ".number", ".half", ".notes", "th.name", "header p", "#note"):
        assert page.evaluate(light, selector) >= 4.5, selector


def test_a_page_that_becomes_narrow_or_wide_is_drawn_anew(page: Any):
    assert page.locator("td .about").count() == 0
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_selector("td .about")
    page.set_viewport_size({"width": 1400, "height": 900})
    page.wait_for_selector("td .about", state="detached")
    assert page.locator("thead .info").count() == 2


def test_the_keyboard_reaches_a_metrics_card_where_there_is_no_header(phone: Any):
    phone.locator("tbody [tabindex='0']").focus()
    phone.keyboard.press("End")
    phone.keyboard.press("Enter")
    phone.keyboard.press("Tab")
    phone.keyboard.press("Enter")
    assert phone.locator("dialog[open] h2").inner_text() == "cossim"
    phone.keyboard.press("Escape")
    assert phone.evaluate("document.activeElement.dataset.at") == "0,6"


def test_a_board_without_columns_says_why(visit: Callable[..., Any]):
    page = visit(table(alone("a", [2.0], slice_by="letter", slice_value="q")))
    assert page.locator("#note").inner_text().startswith("There is no column: no run gave a number of a whole SAE")
    assert names(page) == ["a"]


def test_numbers_as_large_as_numbers_can_be_are_drawn(visit: Callable[..., Any]):
    page = visit(table([*alone("a", [1.7e308, -1.7e308]), *alone("b", [-1.7e308, -1.6e308])]))
    assert "±" in cell(page, "a").inner_text() and "NaN" not in page.locator("#board").inner_html()
    cell(page, "b").click()
    assert "−1.65" in page.locator("dialog[open]").inner_text()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_text_and_does_nothing(visit: Callable[..., Any], tmp_path: Path, name: str):
    facts = dict.fromkeys(("architecture", "loss", "model", "hook", "release", "sae_id"), name)
    rows = alone(
        name, [1.0, 2.0], eval=name, metric=name, params=name, data=name, config=f'{{"n": "{len(name)}"}}', **facts
    )
    file = hedgebench.leaderboard(
        table([*rows, *alone("other", [1.0], config=name)]), tmp_path / "board.html", title=name
    )
    page = visit(None, file=file)
    assert page.locator("tbody th.name > bdi").filter(has_text=name.split("\n")[0].strip()).count() == 1
    page.locator("tbody td.metric").first.click()
    assert page.locator("dialog[open]").count() == 1
    page.keyboard.press("Escape")
    page.locator("tbody th.name").first.click()
    page.keyboard.press("Escape")
    page.locator("thead .info").first.click()
    assert page.evaluate("window.hacked") is None
    assert page.locator("a:not(.skip), img, iframe, script:not([type])").count() == 0


def test_of_five_thousand_rows_one_page_is_drawn_at_a_time_however_they_are_sorted_and_filtered(
    visit: Callable[..., Any],
):
    rng = np.random.default_rng(0)
    rows = [
        row
        for i in range(5000)
        for metric in ("a", "b", "c")
        for row in alone(
            f"sae-{i}", [float(rng.normal())], metric=metric, width=2 ** (8 + i % 6), l0=float(rng.uniform(5, 300))
        )
    ]
    page = visit(table(rows))
    drawn = """([selector, value]) => { const node = document.querySelector(selector), watch = new MutationObserver(() => {});
        watch.observe(document.body, {childList: true, subtree: true});
        if (value === null) node.click(); else { node.value = value; node.dispatchEvent(new Event(node.tagName === 'SELECT' ? 'change' : 'input')); }
        const added = watch.takeRecords().flatMap(record => [...record.addedNodes]).filter(one => one.nodeType === Node.ELEMENT_NODE);
        return added.reduce((sum, one) => sum + one.matches('tr') + one.querySelectorAll('tr').length, 0); }"""
    of = {
        "sort": page.evaluate(drawn, ["[data-sort='1']", None]),
        "search": page.evaluate(drawn, ["input[name=q]", "sae-4"]),
        "width": page.evaluate(drawn, ["select[name=width]", "512"]),
        "L0": page.evaluate(drawn, ["input[name=low]", "100"]),
        "reset": page.evaluate(drawn, ["#reset", None]),
        "matched L0": page.evaluate(drawn, ["select[name=matched]", "all"]),
        "next page": page.evaluate(drawn, ["#pager button:nth-child(3)", None]),
    }
    assert min(of.values()) > 50 and max(of.values()) < 150, of
    assert page.locator("tbody tr").count() < 150
    assert "page 2 of 50" in page.locator("#status").inner_text()
    page.click("#pager button:has-text('Last')")
    assert "page 50 of 50" in page.locator("#status").inner_text()


def test_where_nothing_is_ranked_the_page_says_why(visit: Callable[..., Any]):
    page = visit(table([*alone("a", [1.0]), *alone("b", [2.0])]))
    assert page.locator("#note").inner_text().startswith("Nothing is ranked: no two rows have several training seeds")


def test_the_interval_of_a_single_row_is_drawn(visit: Callable[..., Any]):
    line = cell(visit(table(alone("a", [1.0, 2.0]))), "a").locator("svg line.interval")
    assert float(line.get_attribute("x2")) - float(line.get_attribute("x1")) > 90


def test_all_columns_of_a_wide_board_can_be_shown(visit: Callable[..., Any]):
    page = visit(
        table([row for i in range(60) for m in range(90) for row in alone(f"sae-{i}", [float(m)], metric=f"m{m}")])
    )
    page.click("#metrics summary")
    page.click("#metrics button:text-is('All')")
    assert page.locator("thead th.metric").count() == 90 and page.locator("tbody tr").count() == 20


def test_a_column_of_equal_numbers_and_a_single_row_are_drawn(visit: Callable[..., Any]):
    page = visit(table(alone("a", [0.0])))
    assert cell(page, "a").locator("circle").get_attribute("cx") == "56"
