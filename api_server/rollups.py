"""`python -m api_server.rollups`: bring the kept rollups up to date, and drop old samples."""

import argparse
import logging
import os
import sys
from contextlib import closing
from datetime import date

import psycopg2

from api_server import config
from api_server.data import periods, refresh, retention
from api_server.data.capacity import kept
from api_server.data.postgres import NodeAway
from api_server.migrations import history, migrate
from edge_agent.shared import logs
from edge_agent.shared.environment import InvalidSettings

COMMAND = "python -m api_server.rollups"
log = logging.getLogger("api_server.rollups")


def main(arguments: list[str]) -> int:
    """Do what is due: 0, or 1 and one line why not."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument(
        "--since",
        type=date.fromisoformat,
        metavar="DATE",
        help="make them anew from this local day on, for samples that did not come through the API",
    )
    options = parser.parse_args(arguments)
    logs.set_up("INFO")
    try:
        settings = config.load_for_migration(os.environ)
        logs.set_up("INFO", [settings.migrate_database_url])
        with closing(migrate.connect(settings.migrate_database_url)) as connection:
            behind = history.pending(connection)
            if behind:
                raise history.SchemaProblem(
                    f"the database lacks {', '.join(behind)}: run `{history.COMMAND}`"
                )
            if options.since:
                since = periods.midnight(options.since, settings.site_timezone)
                refresh.forget(connection, since)
                kept.forget(connection, since)
            away = None
            try:
                refresh.refresh(connection)
            except NodeAway as error:
                away = error
            kept.keep(connection, settings.site_timezone)
            if away:
                raise away
            if settings.keep_samples_days is not None:
                retention.drop(connection, settings.keep_samples_days, settings.site_timezone)
    except (InvalidSettings, history.SchemaProblem, psycopg2.Error) as error:
        logs.event(log, logging.ERROR, "rollups_failed", " ".join(str(error).split()))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
