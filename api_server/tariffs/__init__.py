"""What electricity costs: dated rates as data, and what a month comes to with them."""
