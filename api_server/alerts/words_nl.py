"""The words of alerts in Dutch: a title for each rule, and its texts."""

TITLES = {
    "silence": "Geen gegevens",
    "fault": "Storing van de omvormer",
    "peak": "Nieuwe maandpiek op komst",
    "loss": "Metingen in gevaar",
    "string": "Zwakke string",
    "battery": "Batterij veroudert",
}
OPENED = {
    "silence": "{device} stuurt niets meer sinds {since}; meer dan {limit_min} minuten is niet"
    " normaal. {agent}",
    "agent_alive": "De agent meldt zich wel ({last_error}): kijk naar het toestel zelf en zijn"
    " netwerk.",
    "agent_silent": "Ook de agent zwijgt: kijk naar de Raspberry Pi, zijn voeding en netwerk.",
    "fault": "{device} meldt sinds {since}: {alarms}. Kijk op het scherm of in de app van de"
    " omvormer; gaat het niet vanzelf over, bel dan de installateur.",
    "peak": "{device}: het kwartier tot {quarter_end} gaat naar {projected_w} W, en de grens van"
    " de maand is {limit_w} W. Verbruik minder dan {headroom_w} W tot {quarter_end}: zet iets"
    " groots uit of stel het uit.",
    "counter": "{device}: volgens zijn verslag van {since} telt de agent {counts}; gewoon is"
    " geen. Kijk met `run-edge NAAM --spool` op de Raspberry Pi: daar staat wat geweigerd werd en"
    " waarom.",
    "spool": "{device}: volgens zijn verslag van {since} bewaart de agent {waiting} metingen die"
    " niet aankwamen, meer dan een uur ({hour}). Kijk naar zijn netwerk en naar de server; er"
    " gaat niets verloren zolang zijn schijf plaats heeft.",
    "string": "{device}: {strings}. Kijk naar schaduw, vuil of sneeuw; is er niets te zien, laat"
    " de installateur dan de string meten.",
    "battery": "{device}: in {month} is de gezondheid van de batterij {soh_pct} %, in de twaalf"
    " maanden ervoor was dat {best_pct} %; {limit:g} punten minder is niet gewoon. Bewaar de"
    " cijfers voor de garantie.",
}
CLOSED = {
    "silence": "{device} stuurt weer gegevens.",
    "fault": "{device} meldt geen storing meer.",
    "peak": "{device}: het kwartier tot {quarter_end} werd {became_w} W; de grens was {limit_w} W.",
    "peak_unknown": "{device}: het kwartier tot {quarter_end} is voorbij; wat het werd is niet"
    " bekend, want de metingen kwamen niet aan. De grens was {limit_w} W.",
    "counter": "{device}: de agent telt niets nieuws, {waiting} metingen wachten.",
    "spool": "{device}: er wachten nu {waiting} metingen.",
    "string": "{device}: alle strings gaven gisteren hun gewone deel.",
    "battery": "{device}: de gezondheid van de batterij is weer {soh_pct} %.",
}
STILL = "Nog altijd: {text}"
OVER = "Voorbij: {title}"
MANY = "{count} toestellen: {devices}. {hint}"
MANY_OPENED = {
    "silence": "Ze sturen niets: kijk eerst naar de server en zijn verbinding.",
}
WEAK = "string {string} geeft minder dan 70 % van het gewone deel, sinds {since}"
DEAD = "string {string} geeft niets terwijl een andere wel geeft, sinds {since}"
COUNTS = {
    "set_aside_count": "{n} opzijgezet",
    "dropped": "{n} verloren uit het geheugen",
    "lost": "{n} kwijt",
}
UNKNOWN = "een onbekende waarde"
NO_ERROR = "geen fout"
TEST = ("Sunspool: een test", "Als u dit leest, komen meldingen hier aan.")
