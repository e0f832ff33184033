"""How gunicorn runs the API: threads, JSON logs, no start on wrong settings or an old schema."""

import os
import sys

from api_server.config import load
from api_server.migrate import SchemaProblem, check
from edge_agent.environment import InvalidSettings
from edge_agent.logs import JsonLines

worker_class = "api_server.worker.Worker"
workers = int(os.environ.get("WEB_CONCURRENCY") or 2)
threads = int(os.environ.get("GUNICORN_THREADS") or 8)
timeout = 30
graceful_timeout = 12
keepalive = 75
limit_request_line = 8190
worker_tmp_dir = "/dev/shm"  # noqa: S108 - its heartbeat file must not touch a disk
control_socket_disable = True
proc_name = "sunspool-api"
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": JsonLines}},
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": "json",
            "stream": "ext://sys.stderr",
        }
    },
    "root": {"level": os.environ.get("LOG_LEVEL") or "INFO", "handlers": ["stderr"]},
    "loggers": {
        "gunicorn.error": {"level": "INFO", "handlers": [], "propagate": True},
        "gunicorn.access": {"level": "WARNING", "handlers": [], "propagate": True},
    },
}


def on_starting(server):
    """In the master, before any worker: what can not work must end gunicorn, not its workers."""
    try:
        settings = load(os.environ)
        check(settings)
    except InvalidSettings as error:
        for problem in error.problems:
            server.log.error("%s", problem)
        sys.exit(78)
    except SchemaProblem as error:
        server.log.error("%s", error)
        sys.exit(78)
    server.log.info("settings: %s", settings.shown(), extra={"event": "start"})
