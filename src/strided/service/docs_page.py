"""/docs: the OpenAPI document as a page without scripts, so that it needs no other machine."""

from html import escape
from typing import Any

from strided.service.problems import CODES

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>strided: a prediction service</title>
<link rel="icon" href="/static/icon.svg">
<link rel="stylesheet" href="/static/style.css">
<h1>A prediction service</h1>
<p>{description} The whole description, for programs: <a href="/openapi.json">/openapi.json</a>.</p>
<pre>curl {key}-F file=@picture.png {at}/v1/predict</pre>
{routes}
<h2>Problems</h2>
<p>Each has one of these codes (<code>application/problem+json</code>, RFC 9457).</p>
<table><tr><th>code<th>status<th>is{codes}</table>
</html>
"""

_KEY = '-H "Authorization: Bearer strided_..." '


def page(document: dict[str, Any], at: str) -> str:
    """Return the page of an OpenAPI document, for a service `at` an address (without a path)."""
    routes = [
        _route(method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    codes = (
        f'<tr id="{code}"><td><code>{code}</code><td>{status}<td>{escape(title)}'
        for code, (status, title) in CODES.items()
    )
    return _PAGE.format(
        description=escape(document["info"]["description"]),
        at=escape(at),
        key=_KEY if "securitySchemes" in document["components"] else "",
        routes="\n".join(routes),
        codes="".join(codes),
    )


def _route(method: str, path: str, operation: dict[str, Any]) -> str:
    parameters = "".join(
        f"<li><code>{escape(found['name'])}</code> ({found['in']}): "
        f"{escape(found.get('description', ''))}"
        for found in operation.get("parameters", ())
    )
    body = ", ".join(operation.get("requestBody", {}).get("content", {}))
    answers = ", ".join(operation["responses"])
    return (
        f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
        f"<p>{escape(operation['description'])}"
        + (f" Body: {escape(body)}." if body else "")
        + f" Answers: {answers}.</p><ul>{parameters}</ul>"
    )
