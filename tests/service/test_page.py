"""The page of the service, in a real browser: what each role does there, and what it never does."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, FilePayload, Locator, Page, Route, expect
from sklearn.datasets import load_digits
from tests.browser import opened, overflow, violations
from tests.conftest import train_in
from tests.dicom_files import dicom
from tests.served import Served, encoded, form, served

from strided.cli import main
from strided.pages.style import STYLE

pytestmark = pytest.mark.usefixtures("blank_figures")

DIGITS = [(pixels * 255 / 16).astype(np.uint8) for pixels in load_digits().images[-12:]]
HOSTILE = "</strong><img src=x onerror=\"document.title='owned'\">"
NOTICE = "Research use only. Not a medical device."
JPEG = encoded(DIGITS[0], "JPEG", quality=100)
FILES: list[FilePayload] = [
    {
        "name": "Jane Doe.jpg",
        "mimeType": "image/jpeg",
        "buffer": encoded(DIGITS[0], "JPEG", quality=100),
    },
    {"name": "Doe 1970-01-01", "mimeType": "", "buffer": dicom(DIGITS[1])},
    {"name": "<b>letter</b>.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7"},
]

# the names under which the page sends files
NOTE_NAMES = """() => {
  window.names = [];
  const append = FormData.prototype.append;
  FormData.prototype.append = function (field, file, name) {
    names.push(name);
    append.call(this, field, file, name);
  };
}"""

DROPPED = """() => {
  const transfer = new DataTransfer();
  transfer.items.add(new File(["text"], "dropped.txt"));
  return transfer;
}"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, blank_figures: None) -> Path:
    """A network that has heatmaps; the classes of version 2 have hostile names."""
    root = tmp_path_factory.mktemp("page")
    words = ["model=resnet_cifar", "model.depth=8", "evaluation.gate=mahalanobis"]
    words += ["evaluation.false_alarms=0.01"]
    run = train_in(root, *words, "triage.max_risk=0.2", "triage.urgent=[3]")
    bundle = root / "registry" / "digits"
    assert main(["export", f"checkpoint={run}", f"bundle={bundle}", f"log_dir={root}"]) == 0
    hostile = shutil.copytree(bundle / "1", bundle / "2") / "manifest.json"
    manifest = json.loads(hostile.read_text())
    manifest["classes"] = [f"{name}{HOSTILE}" for name in manifest["classes"]]
    hostile.write_text(json.dumps(manifest))
    return bundle


@pytest.fixture(scope="module")
def service(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("service")
    words = ["access.rate_per_minute=100000", "review.comments=true", "limits.body_mb=0.1"]
    with served(bundle, root, *words, f"review.export={root}/labels") as found:
        yield found


@pytest.fixture(scope="module")
def keys(service: Served) -> dict[str, str]:
    """A key of each role, and one of a second clinician."""
    with service.client(service.keys["admin"]) as admin:
        made = {
            name: admin.post("/v1/keys", json={"role": role}).json()["key"]
            for name, role in (("viewer",) * 2, ("auditor",) * 2, ("colleague", "clinician"))
        }
    return service.keys | made


@contextmanager
def signed_in(
    browser: Browser, service: Served, key: str, refused: str | None = None, **more: Any
) -> Iterator[Page]:
    """The page with somebody signed in. No address of a request has the key."""
    with opened(browser, service.url, refused=refused, **more) as page:
        addresses: list[str] = []
        page.on("request", lambda request: addresses.append(request.url))
        page.get_by_label("Key").fill(key)
        page.get_by_label("Key").press("Enter")
        expect(page.get_by_role("button", name="Sign out")).to_be_visible()
        yield page
        assert not [address for address in addresses if "strided_" in address]


def require_usable(page: Page) -> None:
    """Require that axe-core finds nothing, light and dark, wide and on a phone."""
    for width, scheme in ((1280, "light"), (360, "dark"), (390, "light")):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        assert overflow(page) <= 0, (page.title(), width)
        if width != 390:
            assert violations(page) == [], (page.title(), width, scheme)
        expect(page.get_by_text(NOTICE)).to_be_in_viewport(ratio=1)


def view(page: Page, name: str) -> None:
    page.get_by_role("link", name=name).click()
    expect(page.get_by_role("heading", name=name, level=2)).to_be_focused()


def send(page: Page, *given: FilePayload) -> Locator:
    """Choose files, and wait for all answers: an article a file."""
    page.get_by_label("Drop JPEG").set_input_files(list(given))
    expect(page.get_by_role("button", name="Clear")).to_be_visible()
    return page.get_by_role("article")


def asked(service: Served, key: str, content: bytes) -> dict[str, Any]:
    with service.client(key) as client:
        answer = client.post("/v1/predict", files=form(content))
    return dict(answer.json()["results"][0])


def test_who_is_not_known_is_asked_for_a_key(
    browser: Browser, service: Served, keys: dict[str, str]
) -> None:
    with opened(browser, service.url, refused="/v1/caller") as page:
        require_usable(page)
        for wrong in (f"strided_00000000_{'0' * 64}", "nonsense \N{BULLET}"):
            page.get_by_label("Key").fill(wrong)
            page.get_by_role("button", name="Sign in").click()
            expect(page.get_by_role("alert")).to_have_text(re.compile("key"))
            expect(page.get_by_label("Key")).to_have_value("")
        assert page.url == f"{service.url}/"
        page.get_by_label("Key").fill(keys["clinician"])
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", level=2)).to_have_text("Read pictures")
        kept = "[localStorage.length, sessionStorage.length, document.cookie, location.href]"
        assert page.evaluate(kept) == [0, 0, "", f"{service.url}/"]
        assert page.evaluate("indexedDB.databases()") == []
        assert keys["clinician"] not in page.content()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Key")).to_be_focused()
        expect(page.get_by_role("article")).to_have_count(0)


def test_a_key_that_ends_leads_back_to_the_sign_in(
    browser: Browser, service: Served, keys: dict[str, str]
) -> None:
    with service.client(keys["admin"]) as admin:
        made = admin.post("/v1/keys", json={"role": "viewer"}).json()
        with signed_in(browser, service, made["key"], refused="/v1/") as page:
            admin.delete(f"/v1/keys/{made['id']}")
            page.get_by_role("link", name="Model").click()
            expect(page.locator(".warning")).to_have_text(re.compile("no longer counts"))
            expect(page.get_by_label("Key")).to_be_focused()


def test_who_leaves_the_page_alone_is_signed_out(
    browser: Browser, service: Served, keys: dict[str, str]
) -> None:
    with opened(browser, service.url) as page:
        page.clock.install()
        page.get_by_label("Key").fill(keys["viewer"])
        page.get_by_label("Key").press("Enter")
        expect(page.get_by_role("heading", level=2)).to_have_text("History")
        page.clock.fast_forward("14:01")
        expect(page.get_by_role("dialog")).to_be_visible()
        page.get_by_role("button", name="Stay").click()
        page.clock.fast_forward("14:01")
        page.clock.fast_forward("01:01")
        expect(page.get_by_label("Key")).to_be_focused()
        expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_clinician_reads_pictures(
    browser: Browser, service: Served, keys: dict[str, str]
) -> None:
    with signed_in(browser, service, keys["clinician"], refused="/v1/predict") as page:
        page.evaluate(NOTE_NAMES)
        cases = send(page, *FILES)
        expect(page.locator("#said")).to_have_text("3 pictures read, 1 of them without an answer.")
        for case, file in zip(cases.all(), FILES, strict=True):
            expect(case.get_by_role("heading")).to_have_text(file["name"])
        assert page.evaluate("names") == ["picture"] * 3
        for case, file in zip(cases.all()[:2], FILES, strict=False):
            require_says(case, asked(service, keys["clinician"], file["buffer"]))
            assert case.locator("img").first.evaluate("image => image.naturalWidth") > 0
        expect(cases.nth(2)).to_contain_text("no JPEG, PNG or DICOM")
        expect(cases.nth(2).locator("img")).to_have_count(0)
        slider = cases.first.get_by_label("Heatmap")
        over = cases.first.locator("img.heatmap")
        expect(slider).to_have_value("0")
        expect(over).to_have_css("opacity", "0")
        slider.press("End")
        expect(over).to_have_css("opacity", "1")
        require_usable(page)
        page.get_by_role("button", name="Clear").click()
        expect(cases).to_have_count(0)


def require_says(case: Locator, result: dict[str, Any]) -> None:
    """Require what the service says of a picture, in the place of its file."""
    expect(case.locator(".answer strong")).to_have_text(result["class"])
    share = f"{100 * result['confidence']:.1f} %"
    expect(case.locator(".answer")).to_contain_text(share)
    expect(case.get_by_role("row", name=re.compile(f"^{result['class']} "))).to_contain_text(share)
    expect(case.locator(".mark")).to_have_text(result["route"])
    expect(case.get_by_role("listitem")).to_have_count(len(result["reasons"]))
    expect(case.get_by_text("Prediction set: ")).to_contain_text(
        " or ".join(result["prediction_set"]) or "no class fits"
    )


def test_a_class_is_never_shown_without_its_confidence(
    browser: Browser, service: Served, keys: dict[str, str]
) -> None:
    def without(route: Route) -> None:
        answer = route.fetch()
        said = answer.json()
        said["results"][0] |= {"confidence": None, "class": "Unsure"}
        route.fulfill(response=answer, json=said)

    with signed_in(browser, service, keys["clinician"]) as page:
        page.route("**/v1/predict*", without)
        (case,) = send(page, FILES[0]).all()
        expect(case).to_contain_text("a class without its confidence")
        expect(case).not_to_contain_text("Unsure")


def test_a_service_that_is_busy_is_asked_again(
    browser: Browser, service: Served, keys: dict[str, str]
) -> None:
    answers: list[int] = []

    def busy(route: Route) -> None:
        answers.append(0)
        if len(answers) > 1:
            route.continue_()
        else:
            problem = {"code": "queue_full", "detail": "wait"}
            route.fulfill(status=429, json=problem, headers={"Retry-After": "1"})

    large: FilePayload = {"name": "large", "mimeType": "", "buffer": bytes(2**18)}
    with signed_in(browser, service, keys["clinician"], refused="/v1/predict") as page:
        page.route("**/v1/predict*", busy)
        cases = send(page, FILES[0], large)
        expect(cases.first.locator(".answer")).to_contain_text("confidence")
        expect(cases.last).to_contain_text("larger than")
        page.dispatch_event(".drop", "drop", {"dataTransfer": page.evaluate_handle(DROPPED)})
        expect(cases.last.get_by_role("heading")).to_have_text("dropped.txt")
        expect(cases.last).to_contain_text("no JPEG, PNG or DICOM")
        assert len(answers) == 3  # what is too large is not sent
        page.route("**/v1/predictions*", lambda route: route.abort())
        view(page, "History")
        expect(page.get_by_role("alert")).to_have_text(re.compile("cannot be reached"))


def test_cases_are_decided_by_keyboard(
    browser: Browser, service: Served, keys: dict[str, str]
) -> None:
    with service.client(keys["clinician"]) as client:
        client.post("/v1/predict", files=form(*map(dicom, DIGITS[:4])))
        count = client.get("/v1/review").json()["open"]
    with signed_in(browser, service, keys["clinician"], refused="/v1/review/") as page:
        view(page, "Review")
        expect(page.get_by_text("to train other versions")).to_be_visible()
        case = page.get_by_role("article")
        expect(case.locator("img")).to_be_visible()
        require_usable(page)
        said = page.locator("#said")
        press_access_key(page, "c")
        expect(said).to_have_text(re.compile(f"^Recorded: .* {count - 1} cases? open"))
        expect(case.get_by_role("heading")).to_be_focused()
        ours = override_by_keyboard(page)
        expect(said).to_have_text(re.compile(f"^Recorded: {ours}\\."))
        expect(case.get_by_role("heading")).to_be_focused()
        require_told_who_was_first(page, service, keys["colleague"])
        page.get_by_text("Decided cases").click()
        decided = page.locator("details details.row, .row").filter(has_text=f"changed to {ours}")
        decided.first.locator("summary").first.click()
        expect(decided.first).to_contain_text(re.compile("A person .* chose another class"))
        expect(page.get_by_role("region", name="The model on reviewed cases")).to_be_visible()
        require_usable(page)


def press_access_key(page: Page, letter: str) -> None:
    """Alt and a letter as the browser gets it from a keyboard, which Playwright's press is not."""
    page.context.new_cdp_session(page).send(
        "Input.dispatchKeyEvent",
        {"type": "keyDown", "modifiers": 1, "key": letter, "text": letter,
         "unmodifiedText": letter, "windowsVirtualKeyCode": ord(letter.upper())},
    )  # fmt: skip


def override_by_keyboard(page: Page) -> str:
    """Go on from the heading of a case, and choose another class; return it."""
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "SELECT":
            break
    page.keyboard.press("ArrowDown")
    chosen: str = page.evaluate("document.activeElement.value")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    return chosen


def require_told_who_was_first(page: Page, service: Served, key: str) -> None:
    """A colleague decides what the page shows, before the page does."""
    with service.client(key) as other:
        found = other.get("/v1/review").json()["cases"][0]
        taken = {"decision": "override", "class": "9" if found["class"] != "9" else "8"}
        etag = found["review"]["etag"]
        assert other.post(f"/v1/review/{found['id']}", json={**taken, "etag": etag}).is_success
    page.get_by_label("Another class").select_option(index=1)
    page.get_by_role("button", name="Override").click()
    case = page.get_by_role("article")
    expect(case.get_by_role("alert").first).to_have_text(re.compile("was not recorded"))
    expect(case).to_contain_text(key.split("_")[1])
    page.keyboard.press("Enter")  # on the button that leads to the next case
    expect(case.get_by_role("button", name="Override")).to_be_visible()


def test_an_auditor_reads_the_audit_and_checks_it(
    browser: Browser, service: Served, keys: dict[str, str], tmp_path: Path
) -> None:
    result = asked(service, keys["clinician"], dicom(DIGITS[5], StudyInstanceUID="1.2.840.5"))
    with service.client(keys["clinician"]) as client:
        found = client.get(f"/v1/predictions/{result['id']}").json()
        decision = {"decision": "override", "class": "9" if result["class"] != "9" else "8"}
        etag = found["review"]["etag"]
        assert client.post(f"/v1/review/{result['id']}", json={**decision, "etag": etag}).is_success
    with signed_in(browser, service, keys["auditor"]) as page:
        page.get_by_label("Action").select_option("review")
        page.get_by_label("Actor").fill(keys["clinician"].split("_")[1])
        page.get_by_role("button", name="Filter").click()
        rows = page.get_by_role("region", name="Rows of the audit").locator("tbody tr")
        expect(rows.first.get_by_role("cell").nth(4)).to_have_text("review")
        expect(page.get_by_role("cell", name="predict")).to_have_count(0)
        page.get_by_label("Action").select_option("")
        page.get_by_role("textbox", name="Study").fill("1.2.840.5")
        page.get_by_role("button", name="Filter").click()
        expect(rows.locator("td:nth-child(5)")).to_have_text(["review", "predict"])
        rows.first.get_by_role("button").click()
        expect(rows.nth(1)).to_contain_text(result["id"])
        page.get_by_role("button", name="Verify").click()
        expect(page.locator(".good")).to_contain_text("each as it was written")
        require_usable(page)
        with page.expect_download() as saved:
            page.get_by_role("button", name="Export JSONL").click()
        saved.value.save_as(tmp_path / "audit.jsonl")
        assert result["id"] in (tmp_path / "audit.jsonl").read_text()
        view(page, "History")
        row = page.locator(".row").first
        row.locator("summary").first.click()
        expect(row.locator(".answer")).to_contain_text("confidence")
        expect(row.locator("img")).to_have_count(0)
        require_usable(page)


def test_an_admin_changes_the_version_and_a_name_is_no_markup(
    browser: Browser, service: Served, keys: dict[str, str]
) -> None:
    with signed_in(browser, service, keys["admin"]) as page:
        expect(page.get_by_text("digits, version 1")).to_be_visible()
        page.get_by_role("button", name="Activate").click()
        dialog = page.get_by_role("dialog")
        require_usable(page)
        dialog.get_by_role("button", name="Activate").press("Enter")
        expect(page.get_by_text("digits, version 2")).to_be_visible()
        try:
            require_text_alone(browser, service, keys["clinician"])
        finally:
            page.get_by_role("button", name="Roll back").click()
            dialog.get_by_role("button", name="Roll back").click()
            expect(page.get_by_text("digits, version 1")).to_be_visible()


def require_text_alone(browser: Browser, service: Served, key: str) -> None:
    """Names of classes that are markup are shown as they are, in each view."""
    with signed_in(browser, service, key) as page:
        (case,) = send(page, FILES[1]).all()
        expect(case.locator(".bars")).to_contain_text(HOSTILE)
        view(page, "Review")
        expect(page.get_by_label("Another class")).to_contain_text(HOSTILE)
        view(page, "Model")
        expect(page.get_by_role("main")).to_contain_text(HOSTILE)
        view(page, "History")
        expect(page.get_by_role("main")).to_contain_text(HOSTILE)
        expect(page.locator("img[src=x]")).to_have_count(0)
        expect(page).not_to_have_title("owned")


def test_a_file_of_the_page_is_sent_by_its_exact_name(service: Served) -> None:
    static = files("strided.service").joinpath("static")
    with service.client() as nobody:
        for file in static.iterdir():
            answer = nobody.get("/" if file.name == "index.html" else f"/static/{file.name}")
            assert answer.content == file.read_bytes(), file.name
            again = nobody.get(answer.url, headers={"If-None-Match": answer.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
        for other in ("index.html", "", "app.JS", "..%2fapp.py", "%2e%2e/app.py", "app.js/", "x"):
            assert nobody.get(f"/static/{other}").status_code == 404, other


def test_a_browser_is_told_what_it_may_do(service: Served, keys: dict[str, str]) -> None:
    with service.client(keys["clinician"]) as client:
        for path in ("/", "/static/app.js", "/docs", "/v1/model", "/v1/nothing"):
            said = client.get(path).headers
            policy = dict(
                part.split(" ", 1) for part in said["content-security-policy"].split("; ")
            )
            assert policy["default-src"] == "'self'" and "script-src" not in policy
            assert policy["frame-ancestors"] == policy["form-action"] == "'none'"
            assert policy["require-trusted-types-for"] == "'script'"
            assert said["x-content-type-options"] == "nosniff"
            assert said["referrer-policy"] == "no-referrer"
            kept = "no-cache" if path in ("/", "/static/app.js") else "no-store"
            assert said["cache-control"] == kept, path
    for file in files("strided.service").joinpath("static").iterdir():
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|Storage|cookie|eval\(| style=",
                             file.read_text()), file.name  # fmt: skip


def test_the_page_has_the_colours_of_the_reports() -> None:
    style = files("strided.service").joinpath("static", "style.css").read_text()
    own, theirs = (set(re.findall(r"(--\w+): (#\w+);", text)) for text in (style, STYLE))
    assert own and own < theirs


def test_where_no_key_is_asked_for_the_page_asks_for_none(
    browser: Browser, bundle: Path, tmp_path: Path
) -> None:
    with served(bundle, tmp_path) as free, opened(browser, free.url) as page:
        (case,) = send(page, FILES[0]).all()
        expect(case.locator(".answer")).to_contain_text("confidence")
        for name in ("Review", "Audit", "History", "Model", "Keys"):
            view(page, name)
        expect(page.get_by_role("button", name="Sign out")).to_have_count(0)
        page.goto(f"{free.url}/docs")
        expect(page.get_by_role("heading", level=1)).to_have_css("font-size", "20px")


def test_an_admin_makes_a_key_that_is_shown_once_and_ends_it(
    browser: Browser, service: Served, keys: dict[str, str]
) -> None:
    with signed_in(browser, service, keys["admin"]) as page:
        view(page, "Keys")
        page.get_by_label("Role").select_option("viewer")
        page.get_by_role("button", name="Make a key").click()
        text = page.locator("code").inner_text()
        with service.client(text) as viewer:
            assert viewer.get("/v1/caller").json()["role"] == "viewer"
        require_usable(page)
        view(page, "Model")
        view(page, "Keys")
        expect(page.locator("code")).to_have_count(0)
        name = f"End key {text.split('_')[1]}"
        page.get_by_role("button", name=name).click()
        page.get_by_role("dialog").get_by_role("button", name=name).click()
        expect(page.get_by_role("button", name=name)).to_have_count(0)
        with service.client(text) as viewer:
            assert viewer.get("/v1/caller").status_code == 401
