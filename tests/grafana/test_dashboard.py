"""The dashboard and its provisioning: well formed, and asking for nothing that is not there."""

import re

import yaml

from tests.support.grafana import dashboard, panels
from tests.support.servers import ROOT

FOLDER = ROOT / "grafana"
PLUGIN = "grafana-postgresql-datasource"
MACROS = {"__timeFilter", "__timeFrom", "__timeTo", "__timeGroup", "__timeGroupAlias", "__interval"}


def test_it_is_a_dashboard_of_the_classic_model() -> None:
    board = dashboard()
    assert (board["schemaVersion"], board["uid"], board["title"]) == (39, "sunspool", "Sunspool")
    assert "id" not in board  # which belongs to one Grafana
    rows = [panel["title"] for panel in board["panels"] if panel["type"] == "row"]
    assert rows == ["Now", "Energy", "Peaks", "Health"]
    identities = [panel["id"] for panel in board["panels"]]
    assert len(set(identities)) == len(identities)
    assert {panel["type"] for panel in panels()} == {"stat", "timeseries", "table"}


def test_no_panel_lies_over_another() -> None:
    taken = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_data_source_is_a_variable() -> None:
    source, *others = dashboard()["templating"]["list"]
    assert (source["type"], source["name"], source["query"]) == ("datasource", "datasource", PLUGIN)
    chosen = {"type": PLUGIN, "uid": "${datasource}"}
    assert [other["datasource"] for other in others] == [chosen] * len(others)
    for panel in panels():
        assert panel["datasource"] == chosen
        assert [target["datasource"] for target in panel["targets"]] == [chosen] * len(
            panel["targets"]
        )


def test_queries_use_variables_and_macros_that_there_are() -> None:
    variables = {one["name"] for one in dashboard()["templating"]["list"]}
    for panel in panels():
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references) > 0
        for target in panel["targets"]:
            assert (target["rawQuery"], target["editorMode"]) == (True, "code")
            assert target["format"] in ("time_series", "table")
            used = set(re.findall(r"\$\{?(\w+)", target["rawSql"]))
            assert used <= variables | MACROS, panel["title"]
            if target["format"] == "time_series":
                assert re.search(r'AS "time"|\$__timeGroupAlias', target["rawSql"])


def test_provisioning_brings_both_with_a_password_from_a_file() -> None:
    [source] = _yaml("provisioning/datasources/sunspool.yaml")["datasources"]
    assert (source["type"], source["user"]) == (PLUGIN, "sunspool_grafana")
    assert source["jsonData"]["database"] == "sunspool"
    assert source["jsonData"]["timescaledb"] is False
    password = source["secureJsonData"]["password"]
    unit = (FOLDER / "grafana-server.service.conf").read_text()
    name, _, file = re.search("^LoadCredential=(.*)$", unit, re.MULTILINE)[1].partition(":")
    assert password == f"$__file{{/run/credentials/grafana-server.service/{name}}}"
    assert file == "/etc/sunspool/credentials/grafana_password"
    assert "grafana_password" in (ROOT / "systemd/grafana.sh").read_text()
    [provider] = _yaml("provisioning/dashboards/sunspool.yaml")["providers"]
    assert provider["type"] == "file"
    assert f"{provider['options']['path']}/" in (ROOT / "README.md").read_text()


def _yaml(name: str) -> dict:
    read = yaml.safe_load((FOLDER / name).read_text())
    assert read["apiVersion"] == 1
    return read
