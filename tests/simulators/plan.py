"""What happens in a simulated house beside its everyday life, also as options of a program."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone

from tests.simulators.day import Events

INVERTER_ZONE = timezone(timedelta(hours=1))  # it knows no summer time
ALARM_H = (10, 11)  # the hour of an alarm, by the inverter's clock


@dataclass(frozen=True)
class Plan:
    """What happens in a house beside its everyday life; a day begins at 05:00 of its date."""

    second_inverter: bool = False  # of the east roof, without a battery and without a meter
    shaded: bool = False  # string 2, every afternoon from 14:00
    string_dies: date | None = None  # string 2, at 11:00 and for good
    grid_charge: date | None = None  # the battery, from 21:30 to midnight
    battery_export: date | None = None  # from 18:00 to 19:30; bought in the morning of that day
    snow: tuple[date, ...] = ()  # on both strings
    alarms: Mapping[date, str] = field(default_factory=dict)  # in the hour from 10:00

    def events(self, day: date) -> Events:
        """What is not as every day on this day."""
        died = self.string_dies
        return Events(
            shaded=self.shaded,
            string="dies" if day == died else "dead" if died and day > died else "",
            charges=day == self.grid_charge,
            exports=day == self.battery_export,
            snow=day in self.snow,
            second=self.second_inverter,
        )

    def alarms_at(self, moment: datetime) -> str:
        """The alarms that are set at a time, as a sample has them."""
        local = moment.astimezone(INVERTER_ZONE)
        ringing = ALARM_H[0] <= local.hour < ALARM_H[1]
        return self.alarms.get(local.date(), "") if ringing else ""


NOTHING_SPECIAL = Plan()


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Give a simulator's program the options of a plan."""
    parser.add_argument("--second-inverter", action="store_true", help="the house has one")
    parser.add_argument("--shaded", action="store_true", help="string 2, every afternoon")
    for name in ("--string-dies", "--grid-charge", "--battery-export"):
        parser.add_argument(name, type=date.fromisoformat, metavar="DATE")
    parser.add_argument(
        "--snow", type=date.fromisoformat, action="append", default=[], metavar="DATE"
    )
    parser.add_argument("--alarm", type=_alarm, action="append", default=[], metavar="DATE=ALARMS")


def plan_of(options: argparse.Namespace) -> Plan:
    """The plan that the options ask for."""
    return Plan(
        second_inverter=options.second_inverter or getattr(options, "number", 1) == 2,
        shaded=options.shaded,
        string_dies=options.string_dies,
        grid_charge=options.grid_charge,
        battery_export=options.battery_export,
        snow=tuple(options.snow),
        alarms=dict(options.alarm),
    )


def _alarm(text: str) -> tuple[date, str]:
    day, _, alarms = text.partition("=")
    return date.fromisoformat(day), alarms
