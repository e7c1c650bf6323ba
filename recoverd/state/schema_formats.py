"""What `format` asserts: checkers of our own, each for the text that the named RFC defines, and for nothing laxer.

All of them are pure and take time linear in the length of the text, which somebody hostile may have written: no
regular expression here has two ways to match the same characters. A format that is not listed asserts nothing, as
JSON Schema wants it; neither does a listed one of a value that is not text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from recoverd.state.ecma_patterns import is_pattern

_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_TIME = re.compile(r"([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]++)?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))")
_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_DATE_PART = r"(?:[0-9]++Y(?:[0-9]++M(?:[0-9]++D)?)?|[0-9]++M(?:[0-9]++D)?|[0-9]++D)"
_TIME_PART = r"T(?:[0-9]++H(?:[0-9]++M(?:[0-9]++S)?)?|[0-9]++M(?:[0-9]++S)?|[0-9]++S)"
_DURATION = re.compile(rf"P(?:[0-9]++W|{_DATE_PART}(?:{_TIME_PART})?|{_TIME_PART})")
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_MOST_HOST_NAME = 253  # RFC 1035, 2.3.4: 255 octets, of which one stands before the first label and one for the root
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]++(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]++)*+")
_QUOTED = re.compile(r'"(?:[ !#-\[\]-~]|\\[ -~])*+"')
_OCTET = re.compile(r"25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9]")
_GROUP = re.compile(r"[0-9A-Fa-f]{1,4}")
_UUID = re.compile(r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}")
_URI = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*+:(?://([^/?#]*+)(?=[/?#]|\Z))?([^?#]*+)(?:\?([^#]*+))?(?:#(.*+))?", re.DOTALL
)
_PERCENT = "%[0-9A-Fa-f]{2}"
_PATH = re.compile(rf"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|{_PERCENT})*+")
_QUERY = re.compile(rf"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|{_PERCENT})*+")
_USER = re.compile(rf"(?:[A-Za-z0-9._~!$&'()*+,;=:-]|{_PERCENT})*+")
_REG_NAME = re.compile(rf"(?:[A-Za-z0-9._~!$&'()*+,;=-]|{_PERCENT})*+")
_FUTURE = re.compile(r"[vV][0-9A-Fa-f]++\.[A-Za-z0-9._~!$&'()*+,;=:-]++")
_PORT = re.compile(r"[0-9]*+")


def is_date(text: str) -> bool:
    """`full-date` of RFC 3339, 5.6: a day that the calendar has."""
    match = _DATE.fullmatch(text)
    if match is None:
        return False
    year, month, day = map(int, match.groups())
    if not 1 <= month <= 12:
        return False
    leap = month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return 1 <= day <= _DAYS[month - 1] + leap


def is_time(text: str) -> bool:
    """`full-time` of RFC 3339, 5.6: with an offset; second 60 only at the end of a day in UTC (5.7)."""
    match = _TIME.fullmatch(text)
    if match is None:
        return False
    hour, minute, second = int(match[1]), int(match[2]), int(match[3])
    ahead = 0
    if match[4]:
        if int(match[5]) > 23 or int(match[6]) > 59:
            return False
        ahead = (int(match[5]) * 60 + int(match[6])) * (1 if match[4] == "+" else -1)
    if hour > 23 or minute > 59 or second > 60:
        return False
    return second < 60 or (hour * 60 + minute - ahead) % 1440 == 1439


def is_date_time(text: str) -> bool:
    """`date-time` of RFC 3339, 5.6."""
    return text[10:11] in ("T", "t") and is_date(text[:10]) and is_time(text[11:])


def is_duration(text: str) -> bool:
    """`duration` of RFC 3339, appendix A: no fractions, and no unit left out between two others."""
    return _DURATION.fullmatch(text) is not None


def is_hostname(text: str) -> bool:
    """A host name of RFC 1123, 2.1, without a dot at its end. What an `xn--` label stands for is not looked at."""
    return len(text) <= _MOST_HOST_NAME and all(_LABEL.fullmatch(label) for label in text.split("."))


def is_email(text: str) -> bool:
    """`Mailbox` of RFC 5321, 4.1.2: no display name and no comment; address literals are IPv4 and IPv6."""
    local, at, domain = text.rpartition("@")
    if not at or len(local) > 64:
        return False
    if _ATOMS.fullmatch(local) is None and _QUOTED.fullmatch(local) is None:
        return False
    if domain.startswith("[") and domain.endswith("]"):
        literal = domain[1:-1]
        return is_ipv6(literal[5:]) if literal[:5].lower() == "ipv6:" else is_ipv4(literal)
    return is_hostname(domain)


def is_ipv4(text: str) -> bool:
    """`dotted-quad` of RFC 2673, 3.2: decimal, without zeros in front."""
    return len(text) <= 15 and text.count(".") == 3 and all(_OCTET.fullmatch(part) for part in text.split("."))


def is_ipv6(text: str) -> bool:
    """An address as RFC 4291, 2.2, writes it, without a zone."""
    if len(text) > 45:
        return False
    head, double, tail = text.partition("::")
    left, right = (half.split(":") if half else [] for half in (head, tail))
    groups = left + right
    if not groups:
        return bool(double)
    count = len(groups)
    if "." in groups[-1]:
        if (double and not right) or not is_ipv4(groups.pop()):
            return False
        count += 1
    if not all(_GROUP.fullmatch(group) for group in groups):
        return False
    return count <= 7 if double else count == 8


def is_uri(text: str) -> bool:
    """`URI` of RFC 3986, appendix A: absolute, ASCII, everything else percent-encoded."""
    match = _URI.fullmatch(text)
    if match is None:
        return False
    authority, path, query, fragment = match.groups()
    if authority is None and path.startswith("//"):
        return False
    if not (authority is None or _is_authority(authority)):
        return False
    return (
        _PATH.fullmatch(path) is not None
        and _QUERY.fullmatch(query or "") is not None
        and _QUERY.fullmatch(fragment or "") is not None
    )


def _is_authority(text: str) -> bool:
    user, _, place = text.rpartition("@")
    if _USER.fullmatch(user) is None:
        return False
    if place.startswith("["):
        address, bracket, port = place[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return False
        return (is_ipv6(address) or _FUTURE.fullmatch(address) is not None) and _PORT.fullmatch(port[1:]) is not None
    host, _, port = place.partition(":")
    return _REG_NAME.fullmatch(host) is not None and _PORT.fullmatch(port) is not None


def is_uuid(text: str) -> bool:
    """The text form of RFC 4122, 3, of any version and variant (RFC 9562, 4)."""
    return _UUID.fullmatch(text) is not None


CHECKERS: Mapping[str, Callable[[str], bool]] = {
    "date": is_date,
    "date-time": is_date_time,
    "duration": is_duration,
    "email": is_email,
    "hostname": is_hostname,
    "ipv4": is_ipv4,
    "ipv6": is_ipv6,
    "regex": is_pattern,
    "time": is_time,
    "uri": is_uri,
    "uuid": is_uuid,
}
"""The formats that are asserted, in every draft but the third."""
_CHECKERS_OF_DRAFT_3 = {
    **{name: check for name, check in CHECKERS.items() if name not in ("hostname", "ipv4", "time")},
    "host-name": is_hostname,
    "ip-address": is_ipv4,
}


def checkers(draft: str) -> Mapping[str, Callable[[str], bool]]:
    """The checkers by the names that a draft has for them; its `time` is another one in draft 3, and not asserted."""
    return _CHECKERS_OF_DRAFT_3 if "draft-03" in draft else CHECKERS
