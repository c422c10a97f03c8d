"""Showing an URL without its secrets.

Rules:
    - A password never comes through, even from an URL that no parser would take.
    - In doubt too much is hidden, never too little.
"""

import re
from urllib.parse import unquote_plus

MASK = "***"

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://\S+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:/*(?=.)")
_SECRET_NAME = re.compile(r"pass|pwd|secret|token|key|auth|cred|sig", re.IGNORECASE)
_PORT_AND_REST = re.compile(r"\d*(?:[/?#].*)?", re.DOTALL)


def mask_url(url: str) -> str:
    """Show an URL with its credentials hidden, whatever its shape.

    Args:
        url: The whole of it is taken for an URL, also when it is not a well formed one.

    Returns:
        ``amqp://user:***@host/…``; a user without a password is hidden too, since it may be a
        token. Values in the query string whose names sound secret are hidden.
    """
    scheme, rest = _split_scheme(url)
    # The last "@" ends the credentials: a password that was not percent-encoded may hold others,
    # and "/", "?" and "#" as well.
    credentials, at, place = rest.rpartition("@")
    if at:
        user, colon, _ = credentials.partition(":")
        shown = f"{user}:{MASK}" if colon else MASK
        return f"{scheme}{shown}@{_mask_query(place)}"
    return f"{scheme}{_mask_query(_mask_odd_port(place))}"


def mask_text(text: str) -> str:
    """Show a text with the credentials of every URL in it hidden."""
    if "://" not in text:
        return text
    return _URL.sub(lambda found: mask_url(found.group()), text)


def sounds_secret(name: str) -> bool:
    """Say whether the value under this name is better not shown."""
    return _SECRET_NAME.search(unquote_plus(name)) is not None


def _split_scheme(url: str) -> tuple[str, str]:
    scheme = _SCHEME.match(url)
    # "user:password@host" has no scheme though it looks like one.
    if scheme is None or ("//" not in scheme.group() and "@" in url):
        return "", url
    return scheme.group(), url[scheme.end() :]


def _mask_odd_port(place: str) -> str:
    """Hide what stands where a port belongs and is none: the "@host" may have been forgotten."""
    host, colon, rest = place.partition(":")
    if place.startswith("[") or not colon or "/" in host:
        return place
    return place if _PORT_AND_REST.fullmatch(rest) else f"{host}:{MASK}"


def _mask_query(place: str) -> str:
    path, question, query = place.partition("?")
    if not question:
        return place
    return f"{path}?{'&'.join(_mask_pair(pair) for pair in query.split('&'))}"


def _mask_pair(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return f"{name}={MASK}" if equals and sounds_secret(name) else pair
