"""Signs and units that may stand beside a number: currencies, per cent, and a list of units of measurement."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

SPACE = "[ \xa0\u202f]"
CODES = (  # ISO 4217, the most traded currencies
    "AED ARS AUD BGN BRL CAD CHF CLP CNY COP CZK DKK EGP EUR GBP HKD HUF IDR ILS INR ISK JPY KRW MXN MYR NGN NOK NZD "
    "PEN PHP PKR PLN RON RSD RUB SAR SEK SGD THB TRY TWD UAH USD VND ZAR"
)
DOLLARS = "A$ AU$ C$ CA$ HK$ MX$ NT$ NZ$ R$ S$ US$"
UNITS = (  # only behind a number
    "kr zł Kč Ft "
    "mg g kg t lb lbs oz "
    "mm cm m km in ft yd mi nm µm "
    "mm² cm² m² km² mm2 cm2 m2 km2 sqm sqft ft² ft2 ha "
    "ml cl dl l L cm³ m³ cm3 m3 "
    "ms s sec min h hr hrs "
    "°C °F ° K "
    "W kW MW GW Wh kWh MWh J kJ MJ kcal V mV kV A mA Ah mAh "
    "Hz kHz MHz GHz dB rpm "
    "Pa hPa kPa MPa bar mbar psi "
    "km/h m/s mph kph mpg "
    "B kB KB MB GB TB kbps Mbps Gbps "
    "px ppm ‰"
)
SYMBOL = "[$¢-¥\u058f\u060b\u0e3f\u17db\u20a0-\u20cf]"  # of a currency
NUMBER = (
    r"[\d.,](?:[\d.,'\u2019 \xa0\u202f]*[\d.,])?(?:[eE][+-]?\d+)?"  # in any notation, roughly: the notation decides
)


def _one_of(names: str) -> str:
    return "|".join(map(re.escape, sorted(names.split(), key=len, reverse=True)))


# Letters and a minus sign are the beginning of a code: USD-001. A capital letter is part of one: 12A, a house number.
_BEFORE = re.compile(
    rf"(?P<outer>[+-]?)(?:(?P<symbol>{_one_of(DOLLARS)}|{SYMBOL}|%){SPACE}?(?P<inner>[+-]?)"
    rf"|(?P<code>{_one_of(CODES)})(?:{SPACE}(?P<spaced>[+-]?))?)(?P<number>{NUMBER})",
    re.ASCII,
)
_CAPITALS = " ".join(unit for unit in UNITS.split() if len(unit) == 1 and unit.isupper())
_OTHERS = " ".join(unit for unit in UNITS.split() if unit not in _CAPITALS.split())
_AFTER = re.compile(
    rf"(?P<number>[+-]?{NUMBER})"
    rf"(?:{SPACE}?(?P<unit>{_one_of(f'{DOLLARS} {CODES} {_OTHERS}')}|{SYMBOL}|%)"
    rf"|{SPACE}(?P<capital>{_one_of(_CAPITALS)}))",
    re.ASCII,
)


def split_unit(cell: str) -> tuple[str, str]:
    """The unit of a stripped cell, and its number without it: ("$", "-5") of -$5; ("", the cell) if it has none.

    A sign of a currency or of per cent stands before or behind the number, a unit behind it, with a space or without;
    a unit of one capital letter with a space. Whether the rest is a number, its notation decides.
    """
    if found := _BEFORE.fullmatch(cell):
        signs = found["outer"] + (found["inner"] or found["spaced"] or "")
        return (found["symbol"] or found["code"], signs + found["number"]) if len(signs) <= 1 else ("", cell)
    if found := _AFTER.fullmatch(cell):
        return found["unit"] or found["capital"], found["number"]
    return "", cell


@cache
def is_unit(text: str) -> bool:
    """Whether numbers with this unit are known."""
    return split_unit(f"1 {text}") == (text, "1")


def stands_before(cell: str) -> bool:
    """Whether the unit of a cell that has one stands before the number."""
    return _BEFORE.fullmatch(cell) is not None


def without_common_unit(texts: Sequence[str]) -> list[str]:
    """Texts, none of them missing, without the unit that all of them have; unchanged if they have none in common."""
    unit = split_unit(texts[0])[0] if texts else ""
    if not unit:
        return list(texts)
    split = [split_unit(text) for text in texts]
    return [number for _, number in split] if all(own == unit for own, _ in split) else list(texts)
