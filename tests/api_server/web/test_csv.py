"""CSV as RFC 4180 has it."""

from api_server.web import csv


def test_rows_with_every_kind_of_value():
    rows = [
        {"bucket": "2026-06-01", "pv_kwh": 1.5, "complete": True, "missing": ["a", "b"]},
        {"bucket": 'x,"y"\n', "pv_kwh": None, "complete": False, "missing": []},
    ]
    assert csv.write(["bucket", "pv_kwh", "complete", "missing"], rows) == (
        'bucket,pv_kwh,complete,missing\r\n2026-06-01,1.5,true,a; b\r\n"x,""y""\n",,false,\r\n'
    )


def test_without_rows_there_is_a_header():
    assert csv.write(["bucket", "pv_kwh"], []) == "bucket,pv_kwh\r\n"


def test_an_answer_names_its_file():
    answer = csv.answer(["a"], [{"a": 1}], "sunspool-home-2026.csv")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="sunspool-home-2026.csv"'
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.get_data() == b"a\r\n1\r\n"
