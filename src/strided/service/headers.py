"""Headers of every answer, which tell a browser what it may do with it."""

# The page takes scripts, styles and data from this service alone, and makes no markup of text
# (Trusted Types). No form is sent by the browser itself: a key would be in the address.
_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)
_YEAR = 31_536_000  # seconds
_ALWAYS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
_KEPT_NOWHERE = (b"cache-control", b"no-store")

Headers = list[tuple[bytes, bytes]]


def browser_headers(tls: bool) -> Headers:
    """What each answer has besides its own headers; with TLS, that there is no way without."""
    found = dict(_ALWAYS)
    if tls:
        found["strict-transport-security"] = f"max-age={_YEAR}"
    return [(name.encode(), value.encode()) for name, value in found.items()]


def with_browser_headers(own: Headers, common: Headers) -> Headers:
    """The headers of an answer, which no cache keeps unless it says that one may."""
    is_said = any(name.lower() == _KEPT_NOWHERE[0] for name, _ in own)
    return [*own, *common, *([] if is_said else [_KEPT_NOWHERE])]
