"""The words of alerts in English: a title for each rule, and its texts."""

TITLES = {
    "silence": "No data",
    "fault": "Inverter fault",
    "peak": "New month peak ahead",
    "loss": "Readings at risk",
    "string": "Weak string",
    "battery": "Battery ageing",
}
OPENED = {
    "silence": "{device} has sent nothing since {since}; more than {limit_min} minutes is not"
    " usual. {agent}",
    "agent_alive": "Its agent reports ({last_error}): look at the device itself and its network.",
    "agent_silent": "Its agent is silent too: look at the Raspberry Pi, its power and network.",
    "fault": "{device} reports since {since}: {alarms}. Look at the inverter's display or app; if"
    " it does not clear by itself, call the installer.",
    "peak": "{device}: the quarter until {quarter_end} is heading for {projected_w} W, and the"
    " month's limit is {limit_w} W. Use less than {headroom_w} W until {quarter_end}: switch off"
    " or delay something large.",
    "counter": "{device}: by its agent's report of {since} it counts {counts}; none is usual."
    " Look at `run-edge NAME --spool` on the Raspberry Pi: it lists what was refused and why.",
    "spool": "{device}: by its agent's report of {since} it holds {waiting} readings that did not"
    " arrive, more than an hour's worth ({hour}). Look at its network and at the server; nothing"
    " is lost while its disk has room.",
    "string": "{device}: {strings}. Look for shade, dirt or snow; if nothing is to be seen, let"
    " the installer measure the string.",
    "battery": "{device}: in {month} the battery's state of health is {soh_pct} %, and it was"
    " {best_pct} % in the twelve months before; {limit:g} points less are not usual. Keep the"
    " figures for the manufacturer's warranty.",
}
CLOSED = {
    "silence": "{device} sends again.",
    "fault": "{device} reports no fault any more.",
    "peak": "{device}: the quarter until {quarter_end} became {became_w} W; the limit was"
    " {limit_w} W.",
    "peak_unknown": "{device}: the quarter until {quarter_end} is over; what it became is not"
    " known, for its readings did not arrive. The limit was {limit_w} W.",
    "counter": "{device}: its agent counts nothing new, {waiting} readings wait.",
    "spool": "{device}: {waiting} readings wait now.",
    "string": "{device}: all strings gave their usual share yesterday.",
    "battery": "{device}: the battery's state of health is {soh_pct} % again.",
}
STILL = "Still: {text}"
OVER = "Over: {title}"
MANY = "{count} devices: {devices}. {hint}"
MANY_OPENED = {
    "silence": "They send nothing: look at the server and its connection first.",
}
WEAK = "string {string} gives less than 70 % of its usual share, since {since}"
DEAD = "string {string} gives nothing while another does, since {since}"
COUNTS = {"set_aside_count": "{n} set aside", "dropped": "{n} dropped", "lost": "{n} lost"}
UNKNOWN = "an unknown value"
NO_ERROR = "no error"
TEST = ("Sunspool: a test", "If you can read this, alerts reach you here.")
