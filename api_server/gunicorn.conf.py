"""How gunicorn runs the API: threads, JSON logs, no start on wrong settings or an old schema.

Where to bind and TLS are told on the command line.
"""

import ctypes
import gc
import logging
import os
import sys

from api_server.config import load
from api_server.migrations.migrate import SchemaProblem, check
from api_server.web.metrics import PLACES
from edge_agent.shared import logs
from edge_agent.shared.environment import InvalidSettings

WRONG_SETTINGS = 78  # EX_CONFIG of sysexits.h

worker_class = "api_server.web.worker.Worker"
workers = int(os.environ.get("WEB_CONCURRENCY") or 2)
threads = 8
timeout = 30
graceful_timeout = 10
keepalive = 75
limit_request_line = 8190
limit_request_fields = 64
forwarder_headers = ""  # no client moves the paths with a SCRIPT_NAME header
worker_tmp_dir = "/dev/shm"  # noqa: S108 - its heartbeat file must not touch a disk
control_socket_disable = True
logger_class = "api_server.web.worker.Logger"
proc_name = "sunspool-api"
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": logs.JsonLines}},
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": "json",
            "stream": "ext://sys.stderr",
        }
    },
    "root": {"level": "INFO", "handlers": ["stderr"]},
    "loggers": {
        "gunicorn.error": {"level": "INFO", "handlers": [], "propagate": True},
        "gunicorn.access": {"level": "WARNING", "handlers": [], "propagate": True},
    },
}

_log = logging.getLogger("api_server")


def on_starting(server):
    """In the master, before any worker: what can not work must end gunicorn, not its workers."""
    try:
        settings = load(os.environ)
        check(settings)
    except InvalidSettings as error:
        for problem in error.problems:
            logs.event(_log, logging.ERROR, "wrong_setting", problem)
        sys.exit(WRONG_SETTINGS)
    except SchemaProblem as error:
        logs.event(_log, logging.ERROR, "wrong_schema", str(error))
        sys.exit(WRONG_SETTINGS)
    _trim()  # what the workers are forked from
    PLACES.start()
    logs.event(_log, logging.INFO, "start", "the API starts", settings=settings.shown())


def pre_fork(server, worker):
    """In the master, before each worker."""
    PLACES.take(worker.age)


def post_fork(server, worker):
    """In the worker, before the app is made."""
    PLACES.settle(worker.age)


def post_worker_init(worker):
    """In the worker, when the app is made: what is there stays, and is never looked through for
    garbage again, which held a request up for 30 ms."""
    gc.collect()
    gc.freeze()
    _trim()


def child_exit(server, worker):
    """In the master, when a worker has ended."""
    PLACES.leave(worker.age)


def on_exit(server):
    """In the master, when all workers have ended."""
    PLACES.stop()
    logs.event(_log, logging.INFO, "stop", "the API has stopped")


def _trim():
    """Give back what was needed to read the tokens of many devices; C libraries but GNU's do."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
