"""Forms that must hurt no service."""

from tests.service.hostile_files import MARKER, whole
from tests.service.requests_sent import (
    BOUNDARY,
    FILES,
    FORM,
    POST,
    REFUSED,
    Attack,
    form,
    head,
    part,
    post,
)


def alike(expected: frozenset[int], **contents: bytes) -> dict[str, Attack]:
    """Attacks that may be answered alike, by name."""
    return {name.replace("_", " "): Attack(sent, expected) for name, sent in contents.items()}


def forms() -> dict[str, Attack]:
    """Forms that are damaged, odd, or have too much of something."""
    png = whole()["png"]
    good, text = part(png), MARKER.encode()
    closing = f"--{BOUNDARY}--\r\n".encode()
    inner = good.replace(BOUNDARY.encode(), b"inner") + b"--inner--\r\n"
    found = alike(
        REFUSED,
        no_boundary=post(form(good), "multipart/form-data"),
        an_empty_boundary=post(form(good), "multipart/form-data; boundary="),
        another_boundary=post(form(good), "multipart/form-data; boundary=other"),
        a_boundary_of_10000=post(form(good), "multipart/form-data; boundary=" + "a" * 10_000),
        a_boundary_of_line_ends=post(form(good), 'multipart/form-data; boundary="\\r\\n"'),
        a_boundary_with_bytes=post(form(good), "multipart/form-data; boundary=\xff\xfe"),
        a_charset_that_fails=post(
            form(part(png, 'form-data; name="é"; filename="x"')), FORM + "; charset=undefined"
        ),
        no_parts=post(form()),
        an_empty_body=post(b""),
        no_end=post(good),
        cut_off=post(form(good)[: len(good) // 2]),
        no_line_end_after_the_boundary=post(form(good).replace(b"\r\n", b"", 1)),
        line_feeds_alone=post(form(part(b"a")).replace(b"\r\n", b"\n")),
        no_headers_of_a_part=post(form(f"--{BOUNDARY}\r\n\r\n".encode() + png + b"\r\n")),
        no_disposition=post(form(good.replace(b"Content-Disposition", b"Content-Other"))),
        a_header_without_a_colon=post(form(good.replace(b"Disposition:", b"Disposition"))),
        a_header_with_bytes=post(form(good.replace(b"Content-", b"\x00\xff-", 1))),
        a_form_in_a_part=post(form(part(inner))),
        a_field_that_is_no_file=post(form(part(text, 'form-data; name="file"'))),
        a_file_and_a_field=post(form(good, part(text, 'form-data; name="class"'))),
        a_word=post(text),
        zeros=post(bytes(10_000)),
        boundaries_alone=post(f"--{BOUNDARY}\r\n".encode() * 10_000),
        json=post(b'{"file": "' + text + b'"}', "application/json"),
        a_form_of_pairs=post(b"file=" + text, "application/x-www-form-urlencoded"),
        text=post(png, "text/plain"),
        no_type=head(POST, Content_Length=str(len(png))) + png,
        any_image=post(png, "image/*"),
        a_type_of_100_bytes=post(png, "image/" + "a" * 100),
        seventeen_files=post(form(*[good] * (FILES + 1))),
        ten_thousand_parts=post(form(*[part(b"")] * 10_000)),
        ten_thousand_fields=post(form(*[part(b"", 'form-data; name="a"')] * 10_000)),
        a_huge_header=post(form(_with(good, b"X: " + b"a" * 900_000))),
        ten_thousand_headers_of_a_part=post(form(_with(good, b"\r\n".join([b"X: a"] * 10_000)))),
        a_huge_name_of_a_header=post(form(_with(good, b"a" * 900_000 + b": a"))),
        a_bad_file_alone=post(form(part(text))),
        packed_as_text=post(text, FORM, Content_Encoding="gzip"),
    )  # fmt: skip
    found |= alike(
        frozenset({200}),
        as_it_should_be=post(form(good)),
        an_epilogue=post(form(good) + text),
        sixteen_files=post(form(*[good] * FILES)),
        a_bad_file_and_a_good_one=post(form(part(text), good)),
        another_type_than_the_content=post(whole()["jpeg"], "image/png"),
    )
    found |= alike(
        frozenset({200}) | REFUSED,
        a_preamble=post(text + b"\r\n" + form(good)),
        two_ends=post(form(good) + closing + form(good)),
        encoded_as_base64=post(form(_with(good, b"Content-Transfer-Encoding: base64"))),
        a_part_with_a_length=post(form(_with(good, b"Content-Length: 999999999"))),
        another_charset=post(form(good), FORM + "; charset=utf-7"),
        an_unknown_charset=post(form(good), FORM + "; charset=" + "a" * 200),
        two_boundaries=post(form(good), FORM + "; boundary=other"),
    )
    return found


def _with(content: bytes, headers: bytes) -> bytes:
    """A part with more headers."""
    return content.replace(b"\r\n\r\n", b"\r\n" + headers + b"\r\n\r\n", 1)


def names() -> dict[str, Attack]:
    """Names of files and of parts."""
    png = whole()["png"]
    files = {
        "a path": f"../../../etc/{MARKER}",
        "a path of Windows": f"C:\\\\..\\\\{MARKER}",
        "a script": f"<img src=x onerror=alert('{MARKER}')>",
        "a command": f"$(touch {MARKER});`id`|id",
        "a format": "%s%n{0.__class__}" + MARKER,
        "nul": f"{MARKER}\0.png",
        "escapes": f"\x1b[2J{MARKER}\x07",
        "long": MARKER * 1000,
        "empty": "",
    }
    found = {
        f"a file named {name}": Attack(
            post(form(part(png, f'form-data; name="file"; filename="{text}"'))),
            frozenset({200, 400}),
        )
        for name, text in files.items()
    }
    fields = {
        "nothing": "form-data",
        "an empty name": 'form-data; name=""; filename="x"',
        "another name": f'form-data; name="{MARKER}"; filename="x"',
        "a long name": 'form-data; name="' + MARKER * 1000 + '"; filename="x"',
        "no quotes": "form-data; name=file; filename=x",
        "an open quote": 'form-data; name="file; filename=x',
        "an encoded name": "form-data; name=\"file\"; filename*=UTF-8''%00%ff%2e%2e%2f",
        "two names": 'form-data; name="file"; name="other"; filename="x"',
        "an attachment": 'attachment; name="file"; filename="x"',
        "a script": '"><script>; name="file"; filename="x"',
        "names of a class": 'form-data; name="__class__"; filename="x"',
        "an array": 'form-data; name="file[]"; filename="x"',
    }
    return found | {
        f"a part with {name}": Attack(
            post(form(part(png, disposition))), frozenset({200, 400, 415, 422})
        )
        for name, disposition in fields.items()
    }
