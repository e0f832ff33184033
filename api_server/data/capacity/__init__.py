"""The Belgian capacity tariff: the quarters of a month, twelve months, and the quarter that runs.

Every function returns the API's answer; `now` and `at` are instants in UTC.
"""

from api_server.data.capacity.months import month, year
from api_server.data.capacity.running import now, outdated

__all__ = ["month", "now", "outdated", "year"]
