"""Whether a text is an address that can be asked. Pure; no sentence shows a password."""

from __future__ import annotations

import re
from urllib.parse import urlsplit


def why_no_url(url: str, *, such_as: str = "http://127.0.0.1:3000/health") -> str | None:
    """Why this can't be asked by HTTP."""
    wanted = f"is no URL such as {such_as}"
    shown = re.sub(r"(?<=://)[^/\s@]+@", "***@", url)
    if not re.match(r"https?://", url):
        return f'"{shown}" {wanted}: it starts with http:// or https://'
    if re.search(r"[\s\x00-\x1f\x7f]", url) or not url.isascii():
        return f'"{shown}" {wanted}: it holds spaces or letters that must be escaped'
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return f'"{shown}" {wanted}: its host or port is none'
    if not parts.hostname:
        return f'"{shown}" {wanted}: it names no host'
    return f'"{shown}" {wanted}: ports go from 1 to 65535' if port == 0 else None


def why_no_address(address: str) -> str | None:
    """Why nobody can connect to this."""
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%a-z]+)\]|([^\s:\[\]/]+)):([0-9]{1,5})", address, re.ASCII)
    if not found:
        return f'"{address}" is not HOST:PORT such as 127.0.0.1:1883 or [::1]:1883'
    return None if 1 <= int(found[3]) <= 65535 else f'"{address}": ports go from 1 to 65535'
