"""All attacks on a service: hostile files in forms, and hostile requests."""

from collections.abc import Callable

from tests.service.hostile_files import (
    MARKER,
    Files,
    changed,
    of_other_kinds,
    of_two_kinds,
    shipped,
    truncated,
    whole,
)
from tests.service.hostile_forms import alike, forms, names
from tests.service.hostile_parts import bombs, broken_chunks
from tests.service.requests_sent import (
    BODY_LIMIT,
    CLOSED,
    FORM,
    POST,
    Attack,
    chunked,
    form,
    head,
    part,
    post,
)

GROUPS: dict[str, Callable[[], Files]] = {
    "shipped": shipped,
    "truncated": truncated,
    "changed": changed,
    "bombs": bombs,
    "of two kinds": of_two_kinds,
    "of other kinds": of_other_kinds,
    "broken chunks": broken_chunks,
}


def attacks() -> dict[str, Attack]:
    """All of them, by name."""
    groups = (forms(), names(), _sizes(), _protocol(), _addresses(), _unfinished())
    return {name: attack for group in groups for name, attack in group.items()}


def files() -> dict[str, Attack]:
    """All hostile files, each in a form."""
    return {
        f"{group}: {name}": as_file(content)
        for group, files_of in GROUPS.items()
        for name, content in files_of().items()
    }


def as_file(content: bytes) -> Attack:
    """A file in a form, which may be answered or refused."""
    return Attack(post(form(part(content))), frozenset({200, 415, 422}))


def _sizes() -> dict[str, Attack]:
    png = whole()["png"]
    large = png + bytes(BODY_LIMIT)
    limit, closed = frozenset({413}), frozenset({CLOSED, 400, 413})
    exact = png + bytes(BODY_LIMIT - len(png))
    return {
        "exactly the limit": Attack(post(exact, "image/png"), frozenset({200, 422})),
        "a byte above the limit": Attack(post(exact + b"\0", "image/png"), limit),
        "a form above the limit": Attack(post(form(part(large))), limit),
        "chunks above the limit": Attack(chunked(large), limit),
        "one chunk above the limit": Attack(chunked(large, len(large)), limit),
        "chunks of a byte": Attack(chunked(png[:2000], 1), frozenset({200, 422})),
        "a form in chunks": Attack(chunked(form(part(png)), kind=FORM), frozenset({200})),
        "a form in chunks above the limit": Attack(chunked(form(part(large)), kind=FORM), limit),
        "a length of 10^12": Attack(
            head(POST, Content_Type="image/png", Content_Length=str(10**12)) + png, limit
        ),
        "a length of 10^30": Attack(
            head(POST, Content_Type="image/png", Content_Length=str(10**30)) + png, closed
        ),
        "a length of 5,000 digits": Attack(
            head(POST, Content_Type="image/png", Content_Length=str(len(png)).zfill(5000)) + png,
            frozenset({200}),
        ),
        "a length below 0": Attack(
            head(POST, Content_Type="image/png", Content_Length="-1") + png, closed
        ),
        "a length that is a word": Attack(
            head(POST, Content_Type="image/png", Content_Length="many") + png, closed
        ),
        "a chunk of 2^64": Attack(
            head(POST, Content_Type="image/png", Transfer_Encoding="chunked")
            + b"ffffffffffffffff\r\n" + png, closed, is_waited_for=True,
        ),
        "a chunk with a word for its size": Attack(
            head(POST, Content_Type="image/png", Transfer_Encoding="chunked") + b"xyz\r\n", closed
        ),
        "a chunk with a long extension": Attack(
            head(POST, Content_Type="image/png", Transfer_Encoding="chunked")
            + b"1;" + b"a" * 200_000 + b"\r\na\r\n0\r\n\r\n", closed | {415},
        ),
    }  # fmt: skip


def _protocol() -> dict[str, Attack]:
    png = whole()["png"]
    get = "GET /livez HTTP/1.1"
    closed = frozenset({CLOSED, 400, 431})
    many = "\r\n".join(f"X-{number}: a" for number in range(10_000))
    smuggled = head(POST, Content_Type="image/png", Content_Length="4", Transfer_Encoding="chunked")
    smuggled += b"0\r\n\r\nGET /livez HTTP/1.1\r\n\r\n"
    return {
        **alike(
            closed,
            no_http=b"\x16\x03\x01\x02\x00\x01\x00\x01" + bytes(200),
            http_2=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            a_word=MARKER.encode() + b"\r\n\r\n",
            no_host=b"GET /livez HTTP/9.9\r\n\r\n",
            a_header_with_nul=b"GET /livez HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
            a_header_without_a_name=b"GET /livez HTTP/1.1\r\nHost: x\r\n: a\r\n\r\n",
            a_space_before_the_colon=b"GET /livez HTTP/1.1\r\nHost: x\r\nX : a\r\n\r\n",
            a_header_of_1_MB=head(get, X="a" * 2**20),
            an_address_of_1_MB=head("GET /" + "a" * 2**20 + " HTTP/1.1"),
            ten_thousand_headers=f"{get}\r\nHost: x\r\n{many}\r\n\r\n".encode(),
        ),
        "both a length and chunks": Attack(smuggled, closed | {415, 422}),
        "two lengths": Attack(
            head(POST, Content_Type="image/png", Content_Length="4\r\nContent-Length: 5") + png,
            closed,
        ),
        "another version": Attack(head("GET /livez HTTP/1.0"), frozenset({200})),
        "expecting to go on": Attack(post(png, "image/png", Expect="100-continue"),
                                     frozenset({100, 200})),
        "an upgrade": Attack(
            head(get, Connection="Upgrade", Upgrade="websocket", Sec_WebSocket_Version="13"),
            frozenset({200, 400, 426}),
        ),
        "a method that is none": Attack(head("BREW /v1/predict HTTP/1.1"), closed | {405}),
        "a range": Attack(head(get, Range="bytes=0-99999999999"), frozenset({200})),
        "ids that are none": Attack(
            head(get, X_Request_ID=f"<{MARKER}>\x1b[2J"), frozenset({200, 400})
        ),
        "a page of another site": Attack(
            post(png, "image/png", Origin="http://evil.example"), frozenset({400})
        ),
        "a name that is led here": Attack(
            post(png, "image/png").replace(b"127.0.0.1", b"evil.example"), frozenset({400})
        ),
    }  # fmt: skip


def _addresses() -> dict[str, Attack]:
    png = whole()["png"]
    not_there = frozenset({400, 404, 405})
    paths = (
        "/../../etc/passwd", "/v1/%2e%2e/%2e%2e/etc/passwd", "/v1/predict/", "//v1/predict",
        "/v1/predict%00", "/%ff%fe", f"/{MARKER}", "/docs/../../", "/static/../app.py", "/v1",
        "/v1/models/1/activate", "/v1/models/rollback", "/openapi.json/", "/v1/predict?", "*",
    )  # fmt: skip
    found = {
        f"GET {path}": Attack(head(f"GET {path} HTTP/1.1"), not_there | {CLOSED}) for path in paths
    }
    for method in ("GET", "PUT", "PATCH", "DELETE", "TRACE", "OPTIONS", "HEAD"):
        found[f"{method} predict"] = Attack(
            head(f"{method} /v1/predict HTTP/1.1"), frozenset({400, 405, CLOSED})
        )
    versions = ("0", "-1", "999", "1e9", "9" * 400, "a", "%00", "1%2f..%2f..", "None", "1.0")
    for version in versions:
        path = f"/v1/models/{version}/activate"
        found[f"activate {version[:9]}"] = Attack(
            head(f"POST {path} HTTP/1.1", Content_Length="0"), frozenset({404})
        )
    queries = (
        "heatmap=maybe", "heatmap=true&heatmap=false&heatmap=", "class=", "class=%00", "class=%ff",
        f"class={MARKER}", "class=" + "a" * 10_000, "other=1", "heatmap[]=1", "class=0&class=nine",
    )  # fmt: skip
    for query in queries:
        request = head(
            f"POST /v1/predict?{query} HTTP/1.1",
            Content_Type="image/png", Content_Length=str(len(png)),
        )  # fmt: skip
        found[f"?{query[:20]}"] = Attack(request + png, frozenset({200, 400}))
    return found


def _unfinished() -> dict[str, Attack]:
    png = whole()["png"]
    sent = post(form(part(png)))
    left = frozenset({CLOSED})
    return {
        f"gone after {end} bytes": Attack(sent[:end], left, is_whole=False)
        for end in (0, 1, 10, 60, 150, 250, 400, len(sent) // 2, len(sent) - 1)
    } | {
        "gone within a chunk": Attack(chunked(png)[:900], left, is_whole=False),
        "gone before the answer": Attack(sent, left, is_whole=False),
    }
