"""Numbers and dates as people in each language write them."""

from datetime import date

import pytest

from api_server.pages import formats
from api_server.pages.formats import DASH, MINUS
from api_server.pages.languages import load

EN, NL = load()["en"], load()["nl"]


@pytest.mark.parametrize(
    ("field", "value", "english", "dutch"),
    [
        ("pv_power_w", 0, "0 W", "0 W"),
        ("pv_power_w", 999.4, "999 W", "999 W"),
        ("pv_power_w", 999.5, "1.00 kW", "1,00 kW"),
        ("pv_power_w", 1905.0, "1.91 kW", "1,91 kW"),
        ("pv_power_w", 12345.0, "12.3 kW", "12,3 kW"),
        ("battery_power_w", -1520.0, f"{MINUS}1.52 kW", f"{MINUS}1,52 kW"),
        ("battery_power_w", -0.4, "0 W", "0 W"),
        ("pv_kwh", 0.25, "0.25 kWh", "0,25 kWh"),
        ("pv_kwh", 25.04, "25.0 kWh", "25,0 kWh"),
        ("pv_kwh", 12345.6, "12,346 kWh", "12.346 kWh"),
        ("self_sufficiency_pct", 63.4, "63%", "63 %"),
        ("total_eur", 1234.5, "€1,234.50", "€ 1.234,50"),
        ("export_eur", -3.2, f"{MINUS}€3.20", f"{MINUS}€ 3,20"),
        ("age_s", 4.094, "4 s", "4 s"),
        ("age_s", 119.9, "119 s", "119 s"),
        ("age_s", 720.0, "12 min", "12 min"),
        ("age_s", 7200.0, "2 h", "2 u"),
        ("age_s", 259_200.0, "3 days", "3 dagen"),
        ("sample_count", 17280, "17,280", "17.280"),
        ("coverage", 0.9333, "93%", "93 %"),
        ("pv_power_w", None, DASH, DASH),
    ],
)
def test_values_with_their_units(field, value, english, dutch):
    assert formats.write(EN, field, value).replace("\u00a0", " ") == english
    assert formats.write(NL, field, value).replace("\u00a0", " ") == dutch


def test_an_element_says_its_name_and_its_unrounded_value():
    shown = formats.element(EN, "pv_power_w", 1905.0, "roof")
    expected = 'data-field="pv_power_w" data-value="1905.0" data-device="roof"'
    assert shown == f"<span {expected}>1.91\u00a0kW</span>"


def test_what_is_not_known_is_a_dash_and_never_0():
    shown = formats.element(NL, "pv_kwh", None)
    assert shown == '<span data-field="pv_kwh" data-value="" title="niet bekend">\u2013</span>'


def test_a_sign_that_is_told_in_words_is_left_out_of_the_text_only():
    shown = formats.element(EN, "grid_power_w", -1500.0, plain=True)
    assert 'data-value="-1500.0"' in shown
    assert ">1.50\u00a0kW<" in shown


def test_no_name_leaves_its_attribute():
    shown = formats.element(EN, "age_s", 1, '"><script>')
    assert "<script" not in shown


def test_dates():
    when = date(2026, 11, 21)
    assert formats.day(EN, when) == "Saturday 21 November 2026"
    assert formats.day(NL, when) == "zaterdag 21 november 2026"
    assert formats.short_day(NL, when) == "za 21 nov"
    assert formats.month(NL, when) == "november 2026"
